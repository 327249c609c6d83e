"""Everything a bundle's records prove, in two passes over them (docs/bundle.md §6). Pure but for reading the file.

The first pass holds every record against the ledger's checkpoint, each pack against its gateway's key, and takes in
what packs say of each other; the second one computes the readings again. Broken is raised where nothing behind can be
believed or read any more: a record that is not the ledger's, a signature that does not hold, another form.
What a sound record says against another one is a finding; reading goes on.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import BinaryIO

import msgspec

from standards.gs1.digital_link import CANONICAL_STEM, escape
from standards.tlog.note import SIGNATURES_MAX
from wire import pack as wire_pack
from wire.bundle import anchor, claim, document, form, gap, subject, tree
from wire.bundle.finding import Finding, pack_name
from wire.bundle.form import LEAF_KINDS, Broken, Record
from wire.bundle.keys import Keys
from wire.bundle.series import Corrections, Measured, Meter, Wanted
from wire.bundle.stream import Streams
from wire.bundle.subject import Subject, Window, windows_of
from wire.envelope import WireError, decode, envelope_hash, inflate, open_envelope
from wire.event_id import event_id_of
from wire.pack import Pack

Progress = Callable[[float], None]  # the share that is done, 0–1

SCANS_MAX = 1_000_000  # whose events are recognised


class Content(msgspec.Struct, frozen=True):
    """What a bundle holds and proves. summary: as it stands in the file, not compared with anything yet."""

    summary: bytes
    subject: Subject
    ledger: anchor.Ledger
    counts: dict[str, int]
    keys: list[tuple[str, str]]
    readings: int
    scans: int
    simulated: bool
    events: list[document.Event]
    signed_events: int
    frozen: list[tuple[int, document.Frozen]]
    decisions: list[document.Decision]
    windows: list[tuple[Window, Measured]]
    wrong: list[Finding]
    missing: list[Finding]


def examine(file: BinaryIO, *, size: int, progress: Progress = lambda _: None) -> Content:
    """Read a bundle of `size` bytes from behind its first line. Raises Broken."""
    first = _FirstPass()
    begin = file.tell()
    for record in form.records(file, size=size):
        first.take(record)
        progress(record.at / size / 2)
    first.close()
    windows = windows_of(first.subject)
    wanted = [_wanted(first.subject, one) for one in windows]
    claims = claim.of_versions(first.frozen, first.subject)
    told = [one for some in claims for one in some.wanted]
    meter = Meter([*wanted, *told], first.streams, first.corrections)
    file.seek(begin)
    for record in form.records(file, size=size):
        if record.letter == form.PACK:
            meter.add(_again(record, first), record.leaf)
        progress((1 + record.at / size) / 2)
    meter.close()
    of_windows = list(zip(windows, meter.measured, strict=False))
    wrong, doubtful = claim.compared(claims, meter.measured[len(windows) :])
    return Content(
        summary=first.summary,
        subject=first.subject,
        ledger=first.ledger,
        counts={form.NAMES[letter]: first.counts[letter] for letter in LEAF_KINDS},
        keys=[(key.gateway, key.kid.hex()) for key in first.keys.all],
        readings=first.readings,
        scans=first.scans,
        simulated=first.simulated,
        events=first.events,
        signed_events=sum(one.event_id in first.scan_ids for one in first.events),
        frozen=first.frozen,
        decisions=first.decisions,
        windows=of_windows,
        wrong=[*first.streams.wrong, *first.keys.findings(first.streams), *first.wrong, *wrong],
        missing=[
            *gap.numbers(first.streams, of_windows),
            *gap.readings(first.subject, of_windows),
            *doubtful,
            *first.missing(),
        ],
    )


def _wanted(about: Subject, window: Window) -> Wanted:
    one = about.series[window.series]
    return Wanted(
        gateway=one.gateway,
        channel=one.channel,
        unit=one.unit,
        from_ms=window.from_ms,
        until_ms=window.until_ms,
        log_interval_ms=one.log_interval_ms,
    )


def _again(record: Record, first: _FirstPass) -> Pack:
    """A pack that was examined before; the file may have been changed since. Raises Broken."""
    try:
        message = open_envelope(record.payload)
        pack = decode(inflate(message.payload), Pack, "pack")
    except WireError as error:
        raise Broken(record.name, f"was changed while it was read: {error}") from error
    if first.streams.leaf_of(pack.gateway, pack.stream, pack.seq, envelope_hash(record.payload)) != record.leaf:
        raise Broken(record.name, "was changed while it was read")
    return pack


def _lot_uri(about: Subject) -> str:
    """What events call a lot; the rules for the numbers need a library that readers of bundles don't have."""
    if not about.is_lot:
        return ""
    return f"{CANONICAL_STEM}/01/{about.gtin}/10/{escape(about.lot)}"


class _FirstPass:
    """Takes the records in their order; the form has them in it."""

    def __init__(self) -> None:
        self.counts: Counter[int] = Counter()
        self.keys, self.streams = Keys(), Streams()
        self.corrections = Corrections(self.streams)
        self.readings = self.scans = 0
        self.simulated = False
        self.events: list[document.Event] = []
        self.scan_ids: set[str] = set()
        self.frozen: list[tuple[int, document.Frozen]] = []
        self.decisions: list[document.Decision] = []
        self.wrong: list[Finding] = []
        self.hashes: set[str] = set()
        self.summary = b""
        self._vkeys: list[bytes] = []
        self._checkpoint: Record | None = None
        self._indices: list[int] = []
        self._leaves: dict[int, bytes] = {}
        self._last: tuple[int, int] = (0, -1)  # letter and leaf of the record before
        self._names_lot = False
        self._lot_uri = ""

    def take(self, record: Record) -> None:
        """One record. Raises Broken."""
        self.counts[record.letter] += 1
        if record.letter in LEAF_KINDS:
            self._take_recorded(record)
        elif record.letter == form.SUMMARY:
            self.summary = record.body
        elif record.letter == form.SUBJECT:
            self.subject = subject.decode(record.body, record.name)
            self._lot_uri = _lot_uri(self.subject)
            self._gateways = frozenset(self.subject.gateways)
        elif record.letter == form.CHECKPOINT:
            self._checkpoint = record
        elif record.letter == form.VKEY:
            if len(self._vkeys) == SIGNATURES_MAX:
                raise Broken(record.name, f"more than {SIGNATURES_MAX} verifier keys")
            self._vkeys.append(record.body)
        elif record.letter == form.INDICES:
            self._take_anchor(record)
        else:
            self._take_proof(record)

    def _take_anchor(self, record: Record) -> None:
        """The checkpoint is read when its keys are there, which stand between it and the list of leaves."""
        assert self._checkpoint is not None, "the form has it before"
        self.ledger = anchor.ledger(self._checkpoint.body, self._vkeys, self._checkpoint.name)
        self._indices = anchor.indices(record.body, record.name)

    def _take_proof(self, record: Record) -> None:
        try:
            self._leaves = tree.leaves(record.body, self._indices, size=self.ledger.size, root=self.ledger.root)
        except tree.TreeProofError as error:
            raise Broken(record.name, f"the proof {error}") from error

    def _take_recorded(self, record: Record) -> None:
        """A record with a leaf: the one that the ledger holds there, and none is taken twice."""
        leaf = record.leaf
        expected = self._leaves.pop(leaf, None)
        if expected is None:
            again = leaf in self._indices
            why = "stands here a second time" if again else f"says it is leaf {leaf}, which the proof does not have"
            raise Broken(self._called(record), why)
        if tree.leaf_of(LEAF_KINDS[record.letter], record.payload) != expected:
            why = f"is not what the ledger recorded as leaf {leaf}: it was changed, or put in another one's place"
            raise Broken(self._called(record), why)
        if record.letter == form.PACK:
            self._take_pack(record)
            return
        if self._last[0] == record.letter and self._last[1] >= leaf:
            raise Broken(record.name, "stands behind one with a later leaf")
        self._last = record.letter, leaf
        if record.letter == form.KEY:
            self.keys.add(record)
        elif record.letter == form.REVOCATION:
            self.keys.revoke(record)
        elif record.letter == form.EVENT:
            self._take_event(record)
        elif record.letter == form.EVIDENCE:
            self._take_evidence(record)
        else:
            self._take_decision(record)

    def _called(self, record: Record) -> str:
        """The record's name, and of a pack that can still be read whose it says it is."""
        if record.letter == form.PACK:
            try:
                _, pack = wire_pack.unseal(record.payload)
            except WireError:
                return record.name
            return f"pack {pack_name(pack.gateway, pack.stream, pack.seq)}, {record.name}"
        return record.name

    def _take_pack(self, record: Record) -> None:
        try:
            message = open_envelope(record.payload)
            self.keys.require_signed(message, record.name)  # before anything is inflated
            pack = wire_pack.read_payload(message)
        except WireError as error:
            raise Broken(record.name, f"is no pack that may be: {error}") from error
        where = f"pack {pack_name(pack.gateway, pack.stream, pack.seq)}, {record.name}"
        if pack.gateway not in self._gateways:
            raise Broken(where, f"is of gateway {pack.gateway}, which this bundle is not about")
        key = self.keys.signer(pack.gateway, message.kid, where)
        if not self.streams.add(pack, record.leaf, key.place, envelope_hash(record.payload)):
            raise Broken(where, "stands behind a pack that it must stand before, or stands here twice")
        self.keys.note(key, pack, record.leaf)
        self.corrections.add(pack, record.leaf)
        self.readings += pack.count - len(pack.scans)
        self.scans += len(pack.scans)
        self.simulated = self.simulated or pack.simulated
        for ordinal in range(pack.count - len(pack.scans), pack.count):
            if len(self.scan_ids) < SCANS_MAX:
                self.scan_ids.add(event_id_of(pack.gateway, pack.stream, pack.seq, ordinal))

    def _take_event(self, record: Record) -> None:
        event = document.read(record, document.Event)
        self.events.append(event)
        self._names_lot = self._names_lot or bool(self._lot_uri and document.names(record, self._lot_uri))

    def _take_evidence(self, record: Record) -> None:
        frozen = document.read(record, document.Frozen)
        self._require_lot(record, frozen.gtin, frozen.lot)
        self.frozen.append((record.leaf, frozen))
        self.hashes.add(hashlib.sha256(record.payload).hexdigest())

    def _take_decision(self, record: Record) -> None:
        decision = document.read(record, document.Decision)
        self._require_lot(record, decision.gtin, decision.lot)
        self.decisions.append(decision)
        if decision.evidence_sha256 not in self.hashes:
            self.wrong.append(
                Finding("no_evidence", f"decision of leaf {record.leaf}", {"sha256": decision.evidence_sha256[:16]})
            )

    def _require_lot(self, record: Record, gtin: str, lot: str) -> None:
        if (gtin, lot) != (self.subject.gtin, self.subject.lot):
            self.wrong.append(
                Finding(
                    "other_lot", f"{form.NAMES[record.letter]} of leaf {record.leaf}", {"lot": f"{gtin}/{lot}"[:200]}
                )
            )

    def close(self) -> None:
        """Nothing may be left of the proof. Raises Broken."""
        stand_in = next((form.NAMES[one] for one in form.LIMITS if one in _NEEDED and not self.counts[one]), None)
        if stand_in is not None:
            raise Broken("the end of the file", f"the bundle has no {stand_in}: it is truncated")
        if self._leaves:
            leaf, more = min(self._leaves), len(self._leaves)
            raise Broken(f"leaf {leaf} of the ledger", f"the record is missing, of {more} that the proof is about")
        if self.subject.is_lot and not self._names_lot:
            raise Broken("subject", f"no event in the bundle speaks of lot {self.subject.gtin}/{self.subject.lot}")
        self.streams.close()

    def missing(self) -> list[Finding]:
        """What a bundle of a lot may lack without being wrong."""
        return [Finding("no_frozen", "evidence")] if self.subject.is_lot and not self.frozen else []


_NEEDED = frozenset({form.SUMMARY, form.SUBJECT, form.CHECKPOINT, form.VKEY, form.INDICES, form.NODES})
