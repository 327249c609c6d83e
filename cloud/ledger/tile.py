"""The tree as tiles (c2sp.org/tlog-tiles): full ones are stored as they complete, with their root.

Invariant: what is read is the same whether it is stored or not; storing only makes it cheap, so that a proof reads a
few rows however many leaves there are.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence

from sqlalchemy import Connection, Engine, func, insert, select

from cloud.db.engine import reading, writing
from cloud.db.tables import ledger_tile
from cloud.ledger import log
from standards.tlog import tree
from standards.tlog.tile import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, TileNodes, bundle, hashes_of
from standards.tlog.tree import leaf_hash

STORED_AT_ONCE = 64  # tiles of a transaction: 0.5 MiB, some 10 ms


def nodes(conn: Connection, size: int) -> TileNodes:
    """The full subtrees of the log's first `size` leaves, for making proofs; each tile is read once."""
    return TileNodes(lambda tile: read(conn, tile), size)


def read(conn: Connection, tile: Tile) -> bytes:
    """The bytes of a tile or bundle of which all leaves must be in the log. Raises LeafDamaged."""
    first = tile.index * TILE_WIDTH
    if tile.level == ENTRIES:
        return bundle(log.read_data(conn, first, first + tile.width))
    if tile.width == TILE_WIDTH:
        table = ledger_tile
        here = (table.c.level == tile.level, table.c.tile_index == tile.index)
        stored = conn.scalar(select(table.c.hashes).where(*here))
        if stored is not None:
            return bytes(stored)
    return b"".join(_hashes(conn, tile.level, first, first + tile.width))


def store_step(engine: Engine) -> int:
    """Store some of the tiles that have completed; returns how many, 0 when all are stored."""
    with reading(engine) as conn:
        size = log.head(conn).size
        level, wanted = _missing(conn, size)
        rows = [_row(conn, level, index) for index in wanted]
    if not rows:
        return 0
    with writing(engine) as conn:
        if _stored(conn, level) == wanted.start:  # nobody else was faster
            conn.execute(insert(ledger_tile), rows)
    return len(rows)


def store_all(engine: Engine, stop: threading.Event) -> int:
    """Store all tiles that have completed, or those until the stop; returns how many."""
    total = 0
    while not stop.is_set() and (stored := store_step(engine)):
        total += stored
    return total


def _missing(conn: Connection, size: int) -> tuple[int, range]:
    """The next tiles to store, of the lowest level that lacks some."""
    level = 0
    while complete := size >> (TILE_HEIGHT * (level + 1)):
        stored = _stored(conn, level)
        if stored < complete:
            return level, range(stored, min(complete, stored + STORED_AT_ONCE))
        level += 1
    return level, range(0)


def _row(conn: Connection, level: int, index: int) -> dict[str, int | bytes]:
    hashes = _hashes(conn, level, index * TILE_WIDTH, (index + 1) * TILE_WIDTH)
    return {"level": level, "tile_index": index, "hashes": b"".join(hashes), "root": tree.root(hashes)}


def _stored(conn: Connection, level: int) -> int:
    """How many tiles of a level are stored: they are stored in order."""
    highest = conn.scalar(select(func.max(ledger_tile.c.tile_index)).where(ledger_tile.c.level == level))
    return 0 if highest is None else int(highest) + 1


def _hashes(conn: Connection, level: int, start: int, end: int) -> Sequence[bytes]:
    """The hashes [start, end) of a tile level: leaf hashes, or the roots of full tiles of the level below."""
    if level == 0:
        return [leaf_hash(data) for data in log.read_data(conn, start, end)]
    table = ledger_tile
    here = (table.c.level == level - 1, table.c.tile_index >= start, table.c.tile_index < end)
    found = {row.tile_index: row.root for row in conn.execute(select(table.c.tile_index, table.c.root).where(*here))}
    return [found.get(index) or _root(conn, level - 1, index) for index in range(start, end)]


def _root(conn: Connection, level: int, index: int) -> bytes:
    tile = Tile(level, index)
    return tree.root(hashes_of(read(conn, tile), tile))
