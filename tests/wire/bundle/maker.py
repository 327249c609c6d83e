"""A small ledger with packs, an event, evidence and a decision, and bundles over it. Same input, same bytes."""

from __future__ import annotations

import hashlib
import io
from dataclasses import dataclass, field

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards import cose
from standards.gs1 import digital_link
from standards.tlog import note
from standards.tlog.checkpoint import Checkpoint
from standards.tlog.key import Cosigner, LogSigner, VerifierKey
from standards.tlog.proof import range_root
from standards.tlog.tree import Levels
from wire import pack as wire_pack
from wire.bundle import anchor, form, tree
from wire.bundle.examine import Content
from wire.bundle.subject import Series, Stay, Subject
from wire.bundle.verify import Report, verify
from wire.bundle.write import Frame, Item, write
from wire.envelope import envelope_hash
from wire.event_id import event_id_of
from wire.observation import ClockState, Observation, Reading, Scan, Stamp
from wire.pack import Pack, build_blocks

START_MS = 1_760_000_000_000
MINUTE_MS = 60_000
BOOT = b"b" * 16
STREAM = b"s" * 16
GATEWAY = "gw-kho-01"
GTIN, LOT = "08930000000019", "L1"
PLACE = "8930000000125"
CHANNEL = "room-1/air"
ORIGIN = "ledger.example/kho-lanh"

LETTERS = {b"key": form.KEY, b"pack": form.PACK, b"event": form.EVENT, b"evidence": form.EVIDENCE}
LETTERS |= {b"decision": form.DECISION}


def key_of(name: str) -> Ed25519PrivateKey:
    """A key made from a name."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


LOG = LogSigner(ORIGIN, key_of("log"))
WITNESS = Cosigner("witness.example/chi-cuc", key_of("witness"), at_s=1_760_100_000)
LOG_KEY: VerifierKey = LOG.verifier


def sealed(pack: Pack, key: Ed25519PrivateKey) -> bytes:
    """A pack signed by a key."""
    return wire_pack.seal(pack, key=key, kid=cose.key_id(key.public_key()))


def stamp(at_ms: int) -> Stamp:
    """A look at a clock that is right and began with the boot."""
    return Stamp(START_MS + at_ms, at_ms, BOOT, ClockState.SYNCED)


def reading(minute: int, mantissa: int = -1800, channel: str = CHANNEL) -> Reading:
    """A reading this many minutes after the start."""
    return Reading(channel, "CEL", mantissa, -2, stamp(minute * MINUTE_MS))


@dataclass
class Book:
    """A ledger in memory: what was recorded, and in what order."""

    items: list[tuple[int, bytes]] = field(default_factory=list)
    levels: Levels = field(default_factory=Levels)

    def record(self, letter: int, payload: bytes) -> int:
        """Record bytes; the index of their leaf."""
        self.items.append((letter, payload))
        self.levels.append(tree.leaf_of(form.LEAF_KINDS[letter], payload))
        return len(self.items) - 1

    def root(self, start: int, end: int) -> bytes:
        """The root over some leaves."""
        return range_root(self.levels.node, start, end)

    def checkpoint(self, *signers: note.Signer) -> bytes:
        """A signed checkpoint over all of it."""
        head = Checkpoint(ORIGIN, len(self.items), self.root(0, len(self.items)))
        return str(note.sign(head.text(), signers or (LOG,))).encode()


class Gateway:
    """A gateway with a stream, whose packs go into a book."""

    def __init__(self, book: Book, name: str = GATEWAY, *, stream: bytes = STREAM, key: str = "gateway") -> None:
        self.book, self.name, self.stream = book, name, stream
        self.key = key_of(key)
        self.prev: bytes | None = None
        self.seq = 0

    def admit(self) -> int:
        """Record its key."""
        payload = self.name.encode() + b"\x00" + self.key.public_key().public_bytes_raw()
        return self.book.record(form.KEY, payload)

    def pack(self, observed: list[Observation], **more: object) -> Pack:
        """The next pack."""
        self.seq += 1
        fields: dict[str, object] = {
            "gateway": self.name,
            "stream": self.stream,
            "seq": self.seq,
            "prev": self.prev,
            "sealed": stamp(self.seq * MINUTE_MS),
            "simulated": False,
            "blocks": build_blocks(one for one in observed if isinstance(one, Reading)),
            "scans": [one for one in observed if isinstance(one, Scan)],
        }
        return Pack(**(fields | more))  # type: ignore[arg-type]

    def send(self, observed: list[Observation], **more: object) -> int:
        """Seal the next pack and have it recorded; its leaf."""
        envelope = self.seal(observed, **more)
        return self.book.record(form.PACK, envelope)

    def seal(self, observed: list[Observation], **more: object) -> bytes:
        """Seal the next pack."""
        envelope = sealed(self.pack(observed, **more), self.key)
        self.prev = envelope_hash(envelope)
        return envelope


def subject(minutes: int, **more: object) -> Subject:
    """A lot that lay in a cold room for so many minutes."""
    until_ms = START_MS + minutes * MINUTE_MS
    about = Subject(
        gtin=GTIN,
        lot=LOT,
        product="Tôm đông lạnh",
        product_en="Frozen shrimps",
        from_ms=START_MS,
        to_ms=until_ms,
        gateways=[GATEWAY],
        stays=[Stay(PLACE, "Kho lạnh 1", "Cold room 1", True, START_MS, until_ms, until_ms)],
        series=[Series(PLACE, GATEWAY, CHANNEL, "Temperature", "T-room", "CEL", MINUTE_MS, 0, None)],
    )
    return msgspec.structs.replace(about, **more)


def event(event_id: str) -> bytes:
    """An event that names the lot."""
    named = digital_link.lot(GTIN, LOT)
    body = {"type": "ObjectEvent", "eventID": event_id, "action": "ADD", "eventTime": "2025-10-09T15:53:20+07:00"}
    return msgspec.json.encode(body | {"bizStep": "commissioning", "quantityList": [{"epcClass": named}]})


def evidence(minutes: int, *, count: int, low: float, high: float) -> bytes:
    """A frozen version of evidence, with what a reader needs of it."""
    series = {"gateway": GATEWAY, "channel": CHANNEL, "measurement": "Temperature", "unit": "CEL"}
    series |= {"sensor": "T-room", "log_interval_s": 60, "count": count, "min": low, "max": high}
    until_ms = START_MS + minutes * MINUTE_MS
    stay = {"place": PLACE, "place_name": "Kho lạnh 1", "from_ms": START_MS, "to_ms": until_ms, "until_ms": until_ms}
    stay |= {"series": [series], "verdict": "pass"}
    return msgspec.json.encode({"gtin": GTIN, "lot": LOT, "stays": [stay], "verdict": "pass"})


def decision(frozen: bytes) -> bytes:
    """A decision on a version of evidence."""
    made = {"gtin": GTIN, "lot": LOT, "kind": "approved", "reason": "", "person": "lan", "decided_ms": START_MS}
    digest = hashlib.sha256(frozen).hexdigest()
    return msgspec.json.encode(made | {"evidence_version": 1, "evidence_sha256": digest})


def small(packs: int = 4, per_pack: int = 2) -> tuple[Book, Subject]:
    """A lot's life: key, packs, an event from a scan in the first one, evidence, decision; leaves of others between."""
    book = Book()
    gateway = Gateway(book)
    book.record(form.KEY, b"gw-xe-01\x00" + key_of("other").public_key().public_bytes_raw())
    gateway.admit()
    other = Gateway(book, "gw-xe-01", key="other")
    for number in range(packs):
        observed: list[Observation] = [reading(number * per_pack + at, -1800 - at) for at in range(per_pack)]
        if number == 0:
            observed.append(Scan("packing/scan", f"01{GTIN}10{LOT}", "C1", stamp(0)))
        gateway.send(observed)
        if number % 3 == 0:
            other.send([reading(number)])
    book.record(form.EVENT, event(event_id_of(GATEWAY, STREAM, 1, per_pack)))
    minutes = packs * per_pack
    frozen = evidence(minutes, count=minutes, low=(-1800 - per_pack + 1) / 100, high=-18.0)
    book.record(form.EVIDENCE, frozen)
    book.record(form.DECISION, decision(frozen))
    return book, subject(minutes)


_ORDER = (form.KEY, form.REVOCATION, form.PACK, form.EVENT, form.EVIDENCE, form.DECISION)


def identity(payload: bytes) -> tuple[str, bytes, int]:
    """Gateway, stream and number of a sealed pack."""
    _, pack = wire_pack.unseal(payload)
    return pack.gateway, pack.stream, pack.seq


def items(book: Book, gateway: str = GATEWAY) -> list[Item]:
    """The records of one gateway and of the lot, in the order of a bundle."""
    chosen = [Item(letter, leaf, payload) for leaf, (letter, payload) in enumerate(book.items)]
    chosen = [one for one in chosen if not _is_others(one, gateway)]
    return sorted(chosen, key=lambda one: (_ORDER.index(one.letter), _key(one)))


def _key(one: Item) -> tuple[object, ...]:
    return identity(one.payload) if one.letter == form.PACK else (one.leaf,)


def _is_others(one: Item, gateway: str) -> bool:
    if one.letter == form.PACK:
        return identity(one.payload)[0] != gateway
    return one.letter == form.KEY and not one.payload.startswith(gateway.encode() + b"\x00")


def bundle(
    book: Book, about: Subject, chosen: list[Item] | None = None, *, witnessed: bool = True
) -> tuple[bytes, Content]:
    """A bundle over a book, and what it holds."""
    chosen = items(book) if chosen is None else chosen
    leaves = sorted(one.leaf for one in chosen)
    signers: tuple[note.Signer, ...] = (LOG, WITNESS) if witnessed else (LOG,)
    vkeys = [str(LOG.verifier), str(WITNESS.verifier)][: len(signers)]
    proof = tree.make(book.root, leaves, len(book.items))
    out = io.BytesIO()
    content = write(out, Frame(about, book.checkpoint(*signers), vkeys, leaves, proof), chosen)
    return out.getvalue(), content


def judged(data: bytes, *trusted: VerifierKey) -> Report:
    """What a reader says of it."""
    return verify(io.BytesIO(data), size=len(data), trusted=trusted)


def framed(data: bytes) -> list[form.Record]:
    """The records of a bundle."""
    file = io.BytesIO(data)
    file.seek(len(form.FIRST_LINE))
    return list(form.records(file, size=len(data)))


def joined(records: list[tuple[int, bytes]]) -> bytes:
    """A file of records as they are given, whatever they say."""
    framed_all = (bytes([letter]) + len(body).to_bytes(4, "big") + body for letter, body in records)
    return form.FIRST_LINE + b"".join(framed_all)


INDICES = anchor.encode_indices
