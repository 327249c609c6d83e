"""The ledger: numbered without holes, and its root is the RFC 6962 root over exactly its rows."""

from __future__ import annotations

import hashlib

import pytest
from sqlalchemy import Connection, Engine, select, update

from cloud.db.engine import reading, writing
from cloud.db.tables import leaf, ledger_state
from cloud.ledger import log
from standards.tlog import tree


def rederived(conn: Connection) -> log.Head:
    """Size and root computed from the rows alone."""
    rows = conn.execute(select(leaf).order_by(leaf.c.leaf_index)).all()
    assert [row.leaf_index for row in rows] == list(range(len(rows)))
    hashes = [tree.leaf_hash(row.kind.encode() + b"\x00" + row.hash) for row in rows]
    return log.Head(len(rows), tree.root(hashes))


def test_empty_log_has_the_root_of_nothing(engine: Engine):
    with reading(engine) as conn:
        assert log.head(conn) == log.Head(0, hashlib.sha256(b"").digest())


def test_root_is_rederived_from_the_rows_at_every_size(engine: Engine):
    for index in range(17):
        with writing(engine) as conn:
            assert log.append(conn, "event", payload=f"event {index}".encode(), ref=str(index)) == index
        with reading(engine) as conn:
            assert log.head(conn) == rederived(conn)


def test_many_at_once_equal_one_after_the_other(engine: Engine):
    leaves = [log.Leaf("pack", hashlib.sha256(bytes([at])).digest(), str(at)) for at in range(100)]
    with writing(engine) as conn:
        assert log.append_many(conn, leaves[:63]) == 0
        assert log.append_many(conn, []) == 63
        assert log.append_many(conn, leaves[63:]) == 63
    with reading(engine) as conn:
        assert log.head(conn) == rederived(conn)
        assert log.read_leaf(conn, 63) == leaves[63]
        assert log.read_leaf(conn, 100) is None


def test_rolled_back_leaf_leaves_no_hole(engine: Engine):
    with pytest.raises(ZeroDivisionError):
        _append_and_fail(engine)
    with writing(engine) as conn:
        assert log.append(conn, "event", payload=b"kept", ref="") == 0
    with reading(engine) as conn:
        assert log.head(conn) == rederived(conn)


def _append_and_fail(engine: Engine) -> None:
    with writing(engine) as conn:
        log.append(conn, "event", payload=b"never", ref="")
        raise ZeroDivisionError


def test_kind_is_part_of_the_leaf(engine: Engine):
    digest = hashlib.sha256(b"same").digest()
    assert log.leaf_data("event", digest) != log.leaf_data("decision", digest)


@pytest.mark.parametrize(("kind", "digest"), [("gossip", b"\x00" * 32), ("pack", b"short")])
def test_unknown_kind_or_short_hash_is_refused(engine: Engine, kind: str, digest: bytes):
    with pytest.raises(ValueError, match="leaf"), writing(engine) as conn:
        log.append_many(conn, [log.Leaf(kind, digest, "")])


def test_damaged_edge_stops_the_recording(engine: Engine):
    with writing(engine) as conn:
        log.append(conn, "event", payload=b"one", ref="")
        conn.execute(update(ledger_state).values(frontier=b"\x00" * 7))
    with pytest.raises(log.LedgerDamaged, match="restore the database"), reading(engine) as conn:
        log.head(conn)
