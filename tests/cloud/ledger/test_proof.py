"""Tiles and proofs of the log: those of its leaves, stored or computed, and pymerkle's."""

from __future__ import annotations

import random
import threading

import pymerkle
import pytest
from sqlalchemy import Engine, delete, func, select, update

from cloud.db.engine import reading, writing
from cloud.db.tables import leaf, ledger_tile
from cloud.ledger import log, proof, tile
from standards.tlog.proof import ProofError, verify_consistency, verify_inclusion
from standards.tlog.tile import ENTRIES, Tile, entries_of, hashes_of, tile_at, tiles_of
from standards.tlog.tree import Levels, leaf_hash, root
from tests.cloud.ledger.conftest import grow, hashes, leaves

SIZE = 70_000  # 273 full tiles: two levels of them, and a third partial one


@pytest.fixture(scope="module")
def levels() -> Levels:
    return Levels(hashes(SIZE))


def store(engine: Engine) -> int:
    return tile.store_all(engine, threading.Event())


def stored(engine: Engine) -> int:
    with reading(engine) as conn:
        return conn.scalar(select(func.count()).select_from(ledger_tile)) or 0


def test_tiles_and_proofs_are_those_of_the_leaves_stored_or_not(engine: Engine, levels: Levels):
    grow(engine, SIZE)
    rng = random.Random(5)
    asked = sorted(rng.sample(range(SIZE), 40))
    sizes = [1, 255, 256, 257, 65_535, 65_536, 65_537, SIZE]
    assert store(engine) == 273 + 1
    with writing(engine) as conn:  # as if the chore lagged behind: a few in the middle are computed
        conn.execute(delete(ledger_tile).where(ledger_tile.c.level == 1))
        conn.execute(delete(ledger_tile).where(ledger_tile.c.tile_index > 250))
    with reading(engine) as conn:
        for index, path in zip(asked, proof.inclusion_many(conn, asked, SIZE), strict=True):
            verify_inclusion(levels.node(0, index), index=index, size=SIZE, proof=path, root=proof.root_at(conn, SIZE))
        roots = {size: proof.root_at(conn, size) for size in sizes}
        for size in sizes:
            path = proof.consistency(conn, size, SIZE)
            verify_consistency(size1=size, size2=SIZE, root1=roots[size], root2=roots[SIZE], proof=path)
        assert roots[SIZE] == log.head(conn).root
        assert roots[257] == root([levels.node(0, index) for index in range(257)])
    assert store(engine) == 274 - 251


def test_storing_changes_nothing_and_is_done_once(engine: Engine):
    grow(engine, 700)
    with reading(engine) as conn:
        before = {one: tile.read(conn, one) for one in tiles_of(700)}
    assert store(engine) == 2
    assert store(engine) == 0
    with reading(engine) as conn:
        assert {one: tile.read(conn, one) for one in tiles_of(700)} == before
    grow(engine, 68, first=700)
    assert store(engine) == 1
    assert stored(engine) == 3


def test_bundles_hold_the_data_of_leaves(engine: Engine):
    grow(engine, 300)
    wanted = tile_at(ENTRIES, 1, size=300)
    with reading(engine) as conn:
        data = entries_of(tile.read(conn, wanted), wanted)
        level = Tile(0, 1, 44)
        assert [leaf_hash(one) for one in data] == hashes_of(tile.read(conn, level), level) == hashes(300)[256:]
    assert data[0] == b"pack\x00" + leaves(300)[256].hash


@pytest.mark.parametrize("seed", range(3))
def test_pymerkle_agrees_on_random_logs(engine: Engine, seed: int):
    size = random.Random(seed).randrange(2, 600)
    grow(engine, size)
    store(engine)
    peer = pymerkle.InmemoryTree(algorithm="sha256")
    peer.append_entries([log.leaf_data(one.kind, one.hash) for one in leaves(size)])
    every = hashes(size)
    with reading(engine) as conn:
        assert proof.root_at(conn, size) == peer.get_root()
        for index in random.Random(seed).sample(range(size), min(size, 20)):
            root2, earlier = peer.get_root(), peer.get_root(index + 1)
            assert proof.root_at(conn, index + 1) == earlier
            verify_inclusion(every[index], index=index, size=size, proof=proof.inclusion(conn, index, size), root=root2)
            growth = proof.consistency(conn, index + 1, size)
            verify_consistency(size1=index + 1, size2=size, root1=earlier, root2=root2, proof=growth)


def test_changed_kind_or_missing_leaf_is_named(engine: Engine):
    grow(engine, 20)
    with writing(engine) as conn:
        conn.execute(update(leaf).where(leaf.c.leaf_index == 7).values(kind="gossip"))
    with reading(engine) as conn, pytest.raises(log.LeafDamaged, match="leaf 7: leaf kind 'gossip'"):
        proof.inclusion(conn, 3, 20)
    with writing(engine) as conn:
        conn.execute(delete(leaf).where(leaf.c.leaf_index == 7))
    with reading(engine) as conn, pytest.raises(log.LeafDamaged, match="leaf 7: is missing"):
        proof.inclusion(conn, 3, 20)


def test_what_is_not_there_has_no_proof(engine: Engine):
    grow(engine, 5)
    with reading(engine) as conn:
        for ask in (
            lambda: proof.inclusion(conn, 5, 5),
            lambda: proof.inclusion(conn, 0, 6),
            lambda: proof.consistency(conn, 0, 5),
            lambda: proof.consistency(conn, 5, 4),
            lambda: proof.root_at(conn, 6),
        ):
            with pytest.raises(ProofError):
                ask()
