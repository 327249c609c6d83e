"""Tiles: their paths, which of them a tree has, and proofs made from nothing else."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from standards.tlog.proof import consistency_proof, inclusion_proof, range_root, verify_consistency, verify_inclusion
from standards.tlog.tile import (
    ENTRIES,
    TILE_WIDTH,
    Tile,
    TileError,
    TileNodes,
    bundle,
    entries_of,
    hashes_of,
    parse_path,
    tile_at,
    tiles_of,
)
from standards.tlog.tree import SIZE_MAX, Levels, leaf_hash, root

LEAVES = [leaf_hash(at.to_bytes(4, "big")) for at in range(70_000)]
TREE = Levels(LEAVES)
#: From the words of c2sp.org/tlog-tiles.
PATHS = {
    "tile/0/x001/x234/067": Tile(0, 1_234_067),
    "tile/0/000": Tile(0, 0),
    "tile/1/000.p/1": Tile(1, 0, 1),
    "tile/0/273.p/112": Tile(0, 273, 112),
    "tile/63/x001/000.p/255": Tile(63, 1000, 255),
    "tile/entries/x001/x234/067": Tile(ENTRIES, 1_234_067),
    "tile/entries/000.p/7": Tile(ENTRIES, 0, 7),
}


def stored(size: int) -> dict[str, bytes]:
    """What a log of this size has on its disk."""
    return {
        tile.path(): b"".join(
            TREE.node(8 * tile.level, at) for at in range(tile.index * 256, tile.index * 256 + tile.width)
        )
        for tile in tiles_of(size)
    }


@pytest.mark.parametrize("path", PATHS)
def test_paths_are_those_of_the_specification(path: str) -> None:
    assert parse_path(path) == PATHS[path]
    assert PATHS[path].path() == path


@given(st.integers(-1, 63), st.integers(0, SIZE_MAX), st.integers(1, 256))
def test_paths_read_back(level: int, index: int, width: int) -> None:
    tile = Tile(level, index, width)
    assert parse_path(tile.path()) == tile


@pytest.mark.parametrize(
    "path",
    [
        "",
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/x000/001",
        "tile/0/x001",
        "tile/0/001/002",
        "tile/0/1000",
        "tile/00/000",
        "tile/64/000",
        "tile/-1/000",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/01",
        "tile/0/000.p/",
        "tile/0/000/",
        "/tile/0/000",
        "tile/0/000\n",
        "tile/0/\u0660\u0660\u0660",
        "tile/0/../000",
        "tile/0/" + "x999/" * 6 + "999",
        "tile/0/" + "x001/" * 1000 + "000",
    ],
)
def test_other_paths_are_refused(path: str) -> None:
    with pytest.raises(TileError, match="no path of a tile"):
        parse_path(path)


def test_tree_of_70000_has_the_tiles_the_specification_counts() -> None:
    tiles = list(tiles_of(70_000))
    assert [tile.index for tile in tiles if tile.level == 0] == list(range(274))
    assert [tile for tile in tiles if tile.width < TILE_WIDTH] == [Tile(0, 273, 112), Tile(1, 1, 17), Tile(2, 0, 1)]
    assert Tile(1, 0) in tiles
    assert len(tiles) == 277
    assert list(tiles_of(256)) == [Tile(0, 0), Tile(1, 0, 1)]
    assert list(tiles_of(0)) == []


@pytest.mark.parametrize(("since", "size"), [(0, 1), (1, 2), (255, 256), (256, 257), (256, 511), (300, 70_000), (9, 9)])
def test_growth_names_the_tiles_to_write_and_no_other(since: int, size: int) -> None:
    before, after = stored(since), stored(size)
    assert {tile.path() for tile in tiles_of(size, since=since)} == set(after) - set(before)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.integers(1, 70_000), st.data())
def test_proofs_are_made_from_tiles_alone(size: int, data: st.DataObject) -> None:
    index, size1 = data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return b"".join(TREE.node(8 * tile.level, tile.index * 256 + at) for at in range(tile.width))

    nodes = TileNodes(read, size)
    top = root(LEAVES[:size])
    assert range_root(nodes.node, 0, size) == top
    verify_inclusion(LEAVES[index], index=index, size=size, proof=inclusion_proof(nodes.node, index, size), root=top)
    growth = consistency_proof(nodes.node, size1, size)
    verify_consistency(size1=size1, size2=size, root1=root(LEAVES[:size1]), root2=top, proof=growth)
    assert set(asked) <= set(tiles_of(size))
    assert len(asked) == len(set(asked)) <= 12


def test_tiles_of_wrong_length_are_refused() -> None:
    for data in (b"", bytes(32), bytes(95), bytes(97)):
        with pytest.raises(TileError, match=r"tile/0/000.p/3: \d+ bytes, expected 96"):
            hashes_of(data, Tile(0, 0, 3))
    with pytest.raises(TileError, match="expected 96"):
        TileNodes(lambda _: bytes(95), 3).node(0, 0)


def test_what_a_tree_does_not_have_is_refused() -> None:
    for level, index in ((0, 2), (1, 1), (2, 0), (0, -1), (-2, 2)):
        with pytest.raises(TileError, match="no tile"):
            tile_at(level, index, size=300)
    nodes = TileNodes(lambda _: b"", 300)
    for level, index in ((0, 300), (9, 0), (-1, 0), (0, -1)):
        with pytest.raises(TileError, match="no full subtree"):
            nodes.node(level, index)
    for size, since in ((1, 2), (-1, 0), (SIZE_MAX + 1, 0)):
        with pytest.raises(TileError, match="grows out of"):
            list(tiles_of(size, since=since))


def test_bundles_hold_their_entries() -> None:
    entries = [b"", b"one", bytes(65_535)]
    data = bundle(entries)
    tile = Tile(ENTRIES, 0, 3)
    assert entries_of(data, tile) == entries
    for at in (0, 1, 2, 3, 6, len(data) - 1):
        with pytest.raises(TileError, match="ends inside entry"):
            entries_of(data[:at], tile)
    with pytest.raises(TileError, match="2 bytes behind the last"):
        entries_of(data + b"\0\0", tile)
    with pytest.raises(TileError, match="entry 1: 65536 bytes"):
        bundle([b"", bytes(65_536)])
