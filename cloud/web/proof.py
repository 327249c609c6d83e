"""What stands behind the readings of a lot: signed packs, their leaves in the ledger, and numbers that are missing."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import Connection, func, select

from cloud.db.tables import finding, gateway, pack, settled
from cloud.ingest.finding import CHAIN_BROKEN, HASH_DIFFERS
from cloud.ledger import log

_AT_ONCE = 500  # SQLite takes at least 999 parameters in one statement


@dataclass(frozen=True, slots=True)
class GatewayProof:
    """One gateway's share. Of the pack numbers between its first and last one here, per stream: `missing` never came,
    `declared` are not here because the gateway declared them thinned or lost, `broken` don't hang on the one before."""

    name: str
    simulated: bool
    readings: int
    packs: int
    first_seq: int
    last_seq: int
    missing: int
    declared: int
    broken: int


@dataclass(frozen=True, slots=True)
class Proof:
    """Readings, the packs they came in, and the log these stand in. first/last_leaf are None without packs."""

    readings: int
    packs: int
    gateways: list[GatewayProof]
    first_leaf: int | None
    last_leaf: int | None
    last_received_ms: int | None
    log_size: int
    log_root: str

    @property
    def missing(self) -> int:
        """Pack numbers that never came, of all gateways."""
        return sum(one.missing for one in self.gateways)

    @property
    def declared(self) -> int:
        """Pack numbers that were declared thinned or lost."""
        return sum(one.declared for one in self.gateways)

    @property
    def broken(self) -> int:
        """Packs that name another one before them than there is."""
        return sum(one.broken for one in self.gateways)


@dataclass(frozen=True, slots=True)
class _Pack:
    gateway: str
    stream: bytes
    seq: int
    leaf: int
    received_ms: int
    readings: int


def proof_of(conn: Connection, readings_by_pack: Mapping[int, int]) -> Proof:
    """The proof behind readings, given how many of them came in each pack (by pack id)."""
    packs = _packs(conn, readings_by_pack)
    head = log.head(conn)
    leaves = [one.leaf for one in packs]
    return Proof(
        readings=sum(readings_by_pack.values()),
        packs=len(packs),
        gateways=_by_gateway(conn, packs),
        first_leaf=min(leaves, default=None),
        last_leaf=max(leaves, default=None),
        last_received_ms=max((one.received_ms for one in packs), default=None),
        log_size=head.size,
        log_root=head.root.hex(),
    )


def _packs(conn: Connection, readings_by_pack: Mapping[int, int]) -> list[_Pack]:
    wanted = sorted(readings_by_pack)
    columns = (pack.c.id, pack.c.gateway, pack.c.stream, pack.c.seq, pack.c.leaf_index, pack.c.received_ms)
    found: list[_Pack] = []
    for start in range(0, len(wanted), _AT_ONCE):
        query = select(*columns).where(pack.c.id.in_(wanted[start : start + _AT_ONCE]))
        found += [
            _Pack(row.gateway, row.stream, row.seq, row.leaf_index, row.received_ms, readings_by_pack[row.id])
            for row in conn.execute(query)
        ]
    return found


def _by_gateway(conn: Connection, packs: list[_Pack]) -> list[GatewayProof]:
    simulated = {row.name: row.simulated for row in conn.execute(select(gateway.c.name, gateway.c.simulated))}
    spans: dict[tuple[str, bytes], list[int]] = defaultdict(list)
    readings: Counter[str] = Counter()
    for one in packs:
        spans[(one.gateway, one.stream)].append(one.seq)
        readings[one.gateway] += one.readings
    missing: Counter[str] = Counter()
    declared: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for (name, stream), seqs in spans.items():
        span = (min(seqs), max(seqs))
        missing[name] += _missing(conn, name, stream, *span)
        declared[name] += span[1] - span[0] + 1 - _missing(conn, name, stream, *span) - _here(conn, name, stream, *span)
        broken[name] += _broken(conn, name, stream, *span)
    return [
        GatewayProof(
            name=name,
            simulated=bool(simulated.get(name)),
            readings=readings[name],
            packs=sum(len(seqs) for (owner, _), seqs in spans.items() if owner == name),
            first_seq=min(seq for (owner, _), seqs in spans.items() if owner == name for seq in seqs),
            last_seq=max(seq for (owner, _), seqs in spans.items() if owner == name for seq in seqs),
            missing=missing[name],
            declared=declared[name],
            broken=broken[name],
        )
        for name in sorted(readings)
    ]


def _missing(conn: Connection, name: str, stream: bytes, first: int, last: int) -> int:
    """Numbers in [first, last] that are not settled: neither came nor were declared lost nor finally refused."""
    query = select(settled.c.first_seq, settled.c.last_seq).where(
        settled.c.gateway == name,
        settled.c.stream == stream,
        settled.c.first_seq <= last,
        settled.c.last_seq >= first,
    )
    there: int = sum(min(last, row.last_seq) - max(first, row.first_seq) + 1 for row in conn.execute(query))
    return last - first + 1 - there


def _here(conn: Connection, name: str, stream: bytes, first: int, last: int) -> int:
    """Packs of [first, last] in the record."""
    span = (pack.c.gateway == name, pack.c.stream == stream, pack.c.seq.between(first, last))
    return int(conn.scalar(select(func.count()).select_from(pack).where(*span)) or 0)


def _broken(conn: Connection, name: str, stream: bytes, first: int, last: int) -> int:
    """Packs of [first, last] with a link that does not hold."""
    kinds = finding.c.kind.in_((CHAIN_BROKEN, HASH_DIFFERS))
    span = (finding.c.gateway == name, finding.c.stream == stream, finding.c.seq.between(first, last))
    return int(conn.scalar(select(func.count(finding.c.seq.distinct())).where(kinds, *span)) or 0)
