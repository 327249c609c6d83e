"""Making a bundle of a lot or a period: what it needs of the record, against one checkpoint, written as a stream."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

import msgspec
from sqlalchemy import Connection, Engine, select

from cloud.bundle import packs, recorded, subject
from cloud.bundle.packs import Chosen, Wanted
from cloud.db.engine import reading, writing
from cloud.db.tables import cosignature, pack
from cloud.errors import Rejected
from cloud.evidence.lot import evidence_with_events
from cloud.ledger import checkpoint, keys, log, tile
from cloud.ledger.checkpoint import Signed
from standards.tlog import note
from standards.tlog.proof import range_root
from wire.bundle import form, tree
from wire.bundle.document import Frozen
from wire.bundle.examine import Content, Progress
from wire.bundle.form import Broken
from wire.bundle.subject import Subject, windows_of
from wire.bundle.write import Frame, Item, write

_AT_ONCE = 200  # envelopes read at once: 50 MiB at most


class NotMade(Rejected):
    """No bundle can be made of this; `str()` says why and what to do."""


class Ledger(msgspec.Struct, frozen=True):
    """Where checkpoints are signed: the cloud's data folder, and the log's name if it was never signed before.

    packs_max: a bundle with more is not made.
    """

    data_dir: Path
    origin: str
    packs_max: int = packs.PACKS_MAX


class _Plan(msgspec.Struct, frozen=True):
    subject: Subject
    before: list[Item]
    packs: list[Chosen]
    behind: list[Item]

    def leaves(self) -> list[int]:
        items = (*self.before, *self.behind)
        return sorted([*(one.leaf for one in items), *(one.leaf for one in self.packs)])


def lot_bundle(
    engine: Engine,
    ledger: Ledger,
    lot: tuple[str, str],
    out: BinaryIO,
    *,
    now_ms: int,
    progress: Progress = lambda _: None,
) -> Content:
    """Write the bundle of a lot, (GTIN-14, lot number), as known now. Raises Rejected.

    Returns what it holds; a bundle in which something is wrong was written, too: it says what.
    """
    _sign(engine, ledger, now_ms)
    with reading(engine) as conn:
        signed = _signed(conn)
        return _write(
            conn, _lot_plan(conn, lot, now_ms, size=signed.size, packs_max=ledger.packs_max), signed, out, progress
        )


def period_bundle(
    engine: Engine,
    ledger: Ledger,
    gateways: Sequence[str],
    span: tuple[int, int],
    out: BinaryIO,
    *,
    now_ms: int,
    progress: Progress = lambda _: None,
) -> Content:
    """Write the bundle of everything that gateways observed in the span [from, to). Raises Rejected."""
    _sign(engine, ledger, now_ms)
    with reading(engine) as conn:
        signed = _signed(conn)
        return _write(
            conn,
            _period_plan(conn, gateways, span, size=signed.size, packs_max=ledger.packs_max),
            signed,
            out,
            progress,
        )


def _sign(engine: Engine, ledger: Ledger, now_ms: int) -> None:
    """See to it that a checkpoint covers what is recorded. Raises NotMade."""
    with reading(engine) as conn:
        last, head = checkpoint.latest(conn), log.head(conn)
    if head.size and (last is None or last.size < head.size):
        with writing(engine) as conn:
            last = checkpoint.sign(conn, ledger.data_dir, origin=ledger.origin, now_ms=now_ms)
        if last is None or last.size < head.size:
            raise NotMade("after a restore the ledger signs nothing until its new epoch is open: try again in a minute")


def _signed(conn: Connection) -> Signed:
    signed = checkpoint.latest(conn)
    if signed is None:
        raise NotMade("the ledger is empty: nothing was recorded yet, so nothing can be proven")
    return signed


def _lot_plan(conn: Connection, named: tuple[str, str], now_ms: int, *, size: int, packs_max: int) -> _Plan:
    gtin, lot = named
    found = evidence_with_events(conn, gtin, lot, now_ms)
    if found is None:
        raise NotMade(f"lot {lot} of GTIN {gtin}: no event speaks of it; check both numbers")
    current, moving = found
    about = subject.of_lot(conn, current)
    frozen = recorded.evidence(conn, current.gtin, current.lot, size)
    wanted = {*_windows(about), *_frozen_windows(frozen)}
    scans = [_scan_pack(one.origin) for one in moving if one.origin.startswith("scan:")]
    chosen = packs.choose(conn, wanted, scans, size=size, packs_max=packs_max)
    gateways = sorted({one.gateway for one in chosen} | set(about.gateways))
    about = msgspec.structs.replace(about, gateways=gateways)
    behind = [*recorded.events(moving, size), *frozen, *recorded.decisions(conn, current.gtin, current.lot, size)]
    return _Plan(about, recorded.keys(conn, gateways, size), chosen, behind)


def _period_plan(
    conn: Connection, gateways: Sequence[str], span: tuple[int, int], *, size: int, packs_max: int
) -> _Plan:
    from_ms, to_ms = span
    if not from_ms < to_ms:
        raise NotMade("the period ends before it begins")
    about = subject.of_period(conn, gateways, from_ms, to_ms)
    scans = packs.named_by_scans(conn, about.gateways, from_ms, to_ms)
    chosen = packs.choose(conn, _windows(about), scans, size=size, packs_max=packs_max)
    if not chosen:
        raise NotMade(f"gateways {', '.join(about.gateways)}: nothing was observed in this period")
    events = recorded.events_of_period(conn, about.gateways, from_ms, to_ms, size)
    return _Plan(about, recorded.keys(conn, about.gateways, size), chosen, events)


def _windows(about: Subject) -> list[Wanted]:
    return [
        Wanted(series.gateway, series.channel, one.from_ms, one.until_ms)
        for one in windows_of(about)
        for series in (about.series[one.series],)
    ]


def _frozen_windows(frozen: Sequence[Item]) -> list[Wanted]:
    """What frozen versions were computed over: a version of before may have other stays."""
    versions = [msgspec.json.decode(one.payload, type=Frozen) for one in frozen]
    return [
        Wanted(series.gateway, series.channel, stay.from_ms, stay.until_ms)
        for version in versions
        for stay in version.stays
        for series in stay.series
        if stay.from_ms < stay.until_ms
    ]


def _scan_pack(origin: str) -> tuple[str, bytes, int]:
    gateway, stream, seq, _ = origin.removeprefix("scan:").split("/")
    return gateway, bytes.fromhex(stream), int(seq)


def _witnessed(conn: Connection, leaves: Sequence[int], newest: Signed) -> Signed:
    """The newest checkpoint that holds all of these leaves and that a witness has seen; without one the newest."""
    query = select(cosignature.c.size).where(cosignature.c.size > leaves[-1], cosignature.c.size <= newest.size)
    size = conn.scalar(query.order_by(cosignature.c.size.desc()).limit(1))
    seen = None if size is None else checkpoint.at_size(conn, size)
    return newest if seen is None else seen


def _write(conn: Connection, plan: _Plan, newest: Signed, out: BinaryIO, progress: Progress) -> Content:
    leaves = plan.leaves()
    signed = _witnessed(conn, leaves, newest)
    if len(leaves) > form.LEAVES_MAX:
        raise NotMade(f"{len(leaves)} records are too many for one bundle ({form.LEAVES_MAX}); ask for shorter periods")
    text, vkeys = _note(conn, signed)
    node = tile.nodes(conn, signed.size).node
    proof = tree.make(lambda start, end: range_root(node, start, end), leaves, signed.size)
    frame = Frame(plan.subject, text.encode(), vkeys, leaves, proof)
    try:
        return write(out, frame, _items(conn, plan), progress)
    except Broken as broken:
        raise NotMade(f"the record itself is damaged: {broken}; run `coldproof cloud fsck`") from broken


def _note(conn: Connection, signed: Signed) -> tuple[str, list[str]]:
    """The checkpoint with the signatures whose keys are known, and these keys in the same order."""
    known = {(one.name, one.key_id): str(one) for one in keys.verifiers(conn)}
    parsed = note.parse(signed.note)
    own = [one for one in parsed.signatures if (one.name, one.key_id) in known]
    query = select(cosignature.c.vkey, cosignature.c.line).where(cosignature.c.size == signed.size)
    watching = conn.execute(query.order_by(cosignature.c.vkey)).all()
    text = str(note.Note(parsed.text, tuple(own))) + "".join(row.line for row in watching)
    return text, [*(known[one.name, one.key_id] for one in own), *(row.vkey for row in watching)]


def _items(conn: Connection, plan: _Plan) -> Iterator[Item]:
    yield from plan.before
    for at in range(0, len(plan.packs), _AT_ONCE):
        some = plan.packs[at : at + _AT_ONCE]
        query = select(pack.c.id, pack.c.envelope).where(pack.c.id.in_([one.id for one in some]))
        envelopes = {row.id: row.envelope for row in conn.execute(query)}
        for one in some:
            yield Item(form.PACK, one.leaf, envelopes[one.id])
    yield from plan.behind
