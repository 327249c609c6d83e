"""Frozen versions of a lot's evidence: what a decision was made on stays readable, unchanged, and in the ledger.

A version's bytes are its evidence as JSON, in the order of the fields; their SHA-256 is in the row and in the leaf.
"""

from __future__ import annotations

import hashlib

import msgspec
from sqlalchemy import ColumnElement, Connection, insert, select

from cloud.db.tables import evidence_version
from cloud.evidence.model import Gap, LotEvidence, Stay
from cloud.ledger.log import append


class Version(msgspec.Struct, frozen=True):
    """One frozen version. computed_ms: when it was frozen; hash: SHA-256 of its bytes; leaf_index: in the ledger."""

    version: int
    computed_ms: int
    evidence: LotEvidence
    hash: bytes
    leaf_index: int


def freeze(conn: Connection, evidence: LotEvidence, now_ms: int) -> int:
    """Keep this evidence as a version, in the caller's write transaction; returns its number.

    When it equals the newest version, that one's number is returned and nothing is written.
    """
    body = msgspec.json.encode(evidence)
    digest = hashlib.sha256(body).digest()
    newest = latest(conn, evidence.gtin, evidence.lot)
    if newest is not None and newest.hash == digest:
        return newest.version
    number = 1 if newest is None else newest.version + 1
    leaf_index = append(conn, "evidence", payload=body, ref=f"{evidence.gtin}/{evidence.lot}/{number}")
    conn.execute(
        insert(evidence_version).values(
            gtin=evidence.gtin,
            lot=evidence.lot,
            version=number,
            computed_ms=now_ms,
            body=body.decode(),
            hash=digest,
            leaf_index=leaf_index,
        )
    )
    return number


def read(conn: Connection, gtin: str, lot: str, version: int) -> Version | None:
    """A version by its number, None when there is none."""
    return _first(conn, gtin, lot, evidence_version.c.version == version)


def latest(conn: Connection, gtin: str, lot: str) -> Version | None:
    """The newest version, None when nothing was ever frozen."""
    return _first(conn, gtin, lot)


def still_holds(frozen: LotEvidence, current: LotEvidence) -> bool:
    """Whether what was frozen still says what is known now.

    Stays that had ended must be the same to the last number. A stay that goes on has new readings every minute: there
    it is enough that it still goes on and is judged alike, for the same kinds of reasons. That the cause of a gap
    became known changes no number; what a gateway declares of it stands among the reasons.
    """
    if len(frozen.stays) != len(current.stays):
        return False
    stays = zip(frozen.stays, current.stays, strict=True)
    return _without_stays(frozen) == _without_stays(current) and all(_stay_holds(old, new) for old, new in stays)


def _without_stays(evidence: LotEvidence) -> LotEvidence:
    """What a lot says of itself: its reasons repeat those of its stays, and a name is not evidence."""
    return msgspec.structs.replace(evidence, stays=[], reasons=[], product_name="", product_name_en="")


def _stay_holds(old: Stay, new: Stay) -> bool:
    if old.to_ms is not None or new.to_ms is not None:
        return _without_names(old) == _without_names(new)
    codes = [{reason.code for reason in stay.reasons} for stay in (old, new)]
    return (old.place, old.from_ms, old.verdict, codes[0]) == (new.place, new.from_ms, new.verdict, codes[1])


def _without_names(stay: Stay) -> Stay:
    series = [msgspec.structs.replace(one, gaps=[_uncaused(gap) for gap in one.gaps]) for one in stay.series]
    return msgspec.structs.replace(stay, place_name="", place_name_en="", series=series)


def _uncaused(gap: Gap) -> Gap:
    return msgspec.structs.replace(gap, cause="", reason="")


def _first(conn: Connection, gtin: str, lot: str, *where: ColumnElement[bool]) -> Version | None:
    query = (
        select(evidence_version)
        .where(evidence_version.c.gtin == gtin, evidence_version.c.lot == lot, *where)
        .order_by(evidence_version.c.version.desc())
        .limit(1)
    )
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    evidence = msgspec.json.decode(row.body, type=LotEvidence)
    return Version(row.version, row.computed_ms, evidence, row.hash, row.leaf_index)
