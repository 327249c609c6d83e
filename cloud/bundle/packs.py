"""Which packs a bundle needs: those with the readings it is about, all between them, and what explains them.

Between the first and the last pack of a stream with readings of one series at one stay every pack is taken, so that a
reader sees that no number is missing; and its neighbours, so that the chain holds at both ends. Beside them: packs that
correct the clocks of these boots, declare losses among these numbers, are the originals of copies, begin a stream that
went on from another one, or end a key.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec
from sqlalchemy import ColumnElement, Connection, func, select

from cloud.db import names
from cloud.db.tables import carried, correction, declared_loss, key_end, key_older_stream, pack, scan, succession
from cloud.errors import Rejected
from cloud.telemetry.query import readings
from wire.bundle.form import LEAVES_MAX
from wire.observation import INT64_MAX
from wire.pack import unseal

PACKS_MAX = LEAVES_MAX // 2  # half of what a bundle may hold: events and others want room
SLICE_MS = 6 * 3_600_000  # readings looked at at once: a few hundred of a probe that logs every minute
_AT_ONCE = 500  # values in one IN list
_STEP = 100  # packs looked through at once for the one that ends a key


class Wanted(msgspec.Struct, frozen=True, order=True):
    """Readings of a channel in [from_ms, until_ms)."""

    gateway: str
    channel: str
    from_ms: int
    until_ms: int


class Chosen(msgspec.Struct, frozen=True, order=True):
    """A pack that goes into a bundle; ordered as bundles have them."""

    gateway: str
    stream: bytes
    seq: int
    id: int
    leaf: int


class TooMany(Rejected):
    """A bundle would have more packs than one may."""


def choose(
    conn: Connection, wanted: Iterable[Wanted], scans: Iterable[names.Name], *, size: int, packs_max: int
) -> list[Chosen]:
    """The packs among the ledger's first `size` leaves that a bundle about these readings and scans needs, in order.

    Raises TooMany.
    """
    choice = _Choice(conn, size, packs_max)
    for one in _merged(wanted):
        choice.take_readings(one)
    choice.take_named(scans)
    choice.take_helpers()
    return sorted(choice.packs.values())


def _merged(wanted: Iterable[Wanted]) -> list[Wanted]:
    """The same readings, each asked for once: the stays of a lot's parts overlap."""
    joined: list[Wanted] = []
    for one in sorted(wanted):
        last = joined[-1] if joined else None
        if (
            last is not None
            and (last.gateway, last.channel) == (one.gateway, one.channel)
            and one.from_ms <= last.until_ms
        ):
            joined[-1] = msgspec.structs.replace(last, until_ms=max(last.until_ms, one.until_ms))
        else:
            joined.append(one)
    return joined


class _Choice:
    """Gathers packs. Invariant: `packs` has everything taken so far, by id, each below the size."""

    def __init__(self, conn: Connection, size: int, packs_max: int) -> None:
        self._conn, self._size, self._packs_max = conn, size, packs_max
        self.packs: dict[int, Chosen] = {}
        self._boots: set[tuple[str, bytes]] = set()
        self._spans: dict[tuple[str, bytes], list[tuple[int, int]]] = {}

    def take_readings(self, wanted: Wanted) -> None:
        """The packs with these readings, and all between them."""
        spans: dict[bytes, tuple[int, int]] = {}
        ids: set[int] = set()
        for begin in range(wanted.from_ms, wanted.until_ms, SLICE_MS):
            end = min(begin + SLICE_MS, wanted.until_ms)
            rows = readings(self._conn, wanted.gateway, wanted.channel, begin, end)
            copied = self._copied({row.pack_id for row in rows})
            for row in rows:
                self._boots.add((wanted.gateway, row.boot_id))
                ids.add(row.pack_id)
                if not any(first <= row.ordinal < last for first, last in copied.get(row.pack_id, ())):
                    low, high = spans.get(row.stream, (row.seq, row.seq))
                    spans[row.stream] = (min(low, row.seq), max(high, row.seq))
        self._take_ids(ids)
        for stream, (low, high) in spans.items():
            self._spans.setdefault((wanted.gateway, stream), []).append((low, high))
            between = pack.c.seq.between(low - 1, min(high, INT64_MAX - 1) + 1)
            self._take(pack.c.gateway == wanted.gateway, pack.c.stream == stream, between)

    def take_named(self, found: Iterable[tuple[str, bytes, int]]) -> None:
        """Packs by name."""
        for some in names.some(found):
            self._take(names.named(some, pack.c.gateway, pack.c.stream, pack.c.seq))

    def take_helpers(self) -> None:
        """What those taken so far cannot be read without."""
        self._take_corrections()
        gateways = sorted({one.gateway for one in self.packs.values()})
        for some in _some(gateways):
            self._take_ids(self._conn.scalars(select(succession.c.pack_id).where(succession.c.gateway.in_(some))))
        for (gateway, stream), spans in self._spans.items():
            self._take_losses(gateway, stream, spans)
        for gateway in gateways:
            self._take_key_ends(gateway)
        self._take_originals()

    def _take_corrections(self) -> None:
        by_gateway: dict[str, set[bytes]] = {}
        for gateway, boot_id in self._boots:
            by_gateway.setdefault(gateway, set()).add(boot_id)
        for gateway, boots in by_gateway.items():
            for some in _some(sorted(boots)):
                of_these = (correction.c.gateway == gateway, correction.c.boot_id.in_(some))
                self._take_ids(self._conn.scalars(select(correction.c.pack_id).where(*of_these).distinct()))

    def _take_losses(self, gateway: str, stream: bytes, spans: list[tuple[int, int]]) -> None:
        told = declared_loss.c
        query = select(told.pack_id, told.first_seq, told.last_seq).where(
            told.gateway == gateway, told.stream == stream
        )
        ids = {
            row.pack_id
            for row in self._conn.execute(query)
            for low, high in spans
            if row.first_seq <= high and (row.last_seq is None or low <= row.last_seq)
        }
        self._take_ids(ids)

    def _take_key_ends(self, gateway: str) -> None:
        ends = select(key_end).where(key_end.c.gateway == gateway, key_end.c.cause == "changed")
        for end in self._conn.execute(ends).all():
            self._take_ids(self._ending(gateway, end.stream, end.first_seq))
        streams = {one.stream for one in self.packs.values() if one.gateway == gateway}
        older = select(key_older_stream.c.stream, key_older_stream.c.last_seq).where(
            key_older_stream.c.gateway == gateway
        )
        rows = self._conn.execute(older).all()
        self.take_named([(gateway, row.stream, row.last_seq) for row in rows if row.stream in streams])

    def _ending(self, gateway: str, stream: bytes, first_seq: int) -> list[int]:
        """The pack in which a key names its successor, which begins with this seq: as a rule the one before."""
        below = first_seq
        while below > 1:
            query = (
                select(pack.c.id, pack.c.seq, pack.c.envelope)
                .where(pack.c.gateway == gateway, pack.c.stream == stream, pack.c.seq < below)
                .order_by(pack.c.seq.desc())
                .limit(_STEP)
            )
            rows = self._conn.execute(query).all()
            for row in rows:
                change = unseal(row.envelope)[1].key_change if row.envelope else None
                if change is not None and change.first_seq == first_seq:
                    return [row.id]
            below = rows[-1].seq if rows else 0
        return []

    def _take_originals(self) -> None:
        """The originals of copies, as far as they are here; they may be copies of others."""
        fresh = set(self.packs)
        while fresh:
            known = set(self.packs)
            for some in _some(sorted(fresh)):
                query = (
                    select(pack.c.id)
                    .join_from(carried, pack, pack.c.gateway == carried.c.gateway)
                    .where(
                        pack.c.stream == carried.c.stream, pack.c.seq == carried.c.seq, pack.c.hash == carried.c.hash
                    )
                    .where(carried.c.pack_id.in_(some))
                )
                self._take_ids(self._conn.scalars(query))
            fresh = set(self.packs) - known

    def _copied(self, ids: set[int]) -> dict[int, list[tuple[int, int]]]:
        """Pack → the ordinals that were carried over into it."""
        found: dict[int, list[tuple[int, int]]] = {}
        for some in _some(sorted(ids)):
            for row in self._conn.execute(select(carried).where(carried.c.pack_id.in_(some))):
                found.setdefault(row.pack_id, []).append((row.first_ordinal, row.first_ordinal + row.count))
        return found

    def _take_ids(self, ids: Iterable[int]) -> None:
        for some in _some(sorted(set(ids) - set(self.packs))):
            self._take(pack.c.id.in_(some))

    def _take(self, *where: ColumnElement[bool]) -> None:
        columns = (pack.c.gateway, pack.c.stream, pack.c.seq, pack.c.id, pack.c.leaf_index)
        here = (pack.c.leaf_index < self._size, func.length(pack.c.envelope) > 0)  # empty: removed by retention
        for row in self._conn.execute(select(*columns).where(*where, *here)):
            self.packs[row.id] = Chosen(*row)
            if len(self.packs) > self._packs_max:
                raise TooMany(
                    f"more than {self._packs_max} packs: too many for one bundle; ask for periods with "
                    "`coldproof cloud bundle --from … --to …`"
                )


def named_by_scans(conn: Connection, gateways: list[str], from_ms: int, to_ms: int) -> list[tuple[str, bytes, int]]:
    """The packs of gateways with scans of a period."""
    seen = (scan.c.gateway.in_(gateways), scan.c.observed_ms >= from_ms, scan.c.observed_ms < to_ms)
    rows = conn.execute(select(scan.c.gateway, scan.c.stream, scan.c.seq).where(*seen))
    return sorted({(row.gateway, row.stream, row.seq) for row in rows})


def _some(values: Iterable[object]) -> Iterator[list[object]]:
    ordered = list(values)
    for at in range(0, len(ordered), _AT_ONCE):
        yield ordered[at : at + _AT_ONCE]
