"""Tiles (c2sp.org/tlog-tiles): the tree cut into files of up to 256 hashes, and the leaves' data in bundles.

A tile of level n holds hashes of the tree's level 8 * n: at level 0 leaf hashes, above the roots of full tiles. Tile
`index` begins with hash 256 * index of its level. What is full never changes; the last tile of a level may be partial,
and is then named by its width. Nothing here reads or writes files: `TileNodes` is given a function that does.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence

import msgspec

from standards.tlog.tree import HASH_BYTES, SIZE_MAX, root

TILE_HEIGHT = 8  # levels of the tree in one tile
TILE_WIDTH = 1 << TILE_HEIGHT
LEVEL_MAX = 63  # c2sp.org/tlog-tiles; a tree of SIZE_MAX leaves has no tile above level 7
ENTRIES = -1  # the level that stands for bundles of leaf data
ENTRY_MAX_BYTES = 65_535  # an entry's length is a uint16

_PATH = re.compile(
    r"tile/(?P<level>entries|0|[1-9][0-9]?)/(?P<index>(?:x[0-9]{3}/){0,6}[0-9]{3})(?:\.p/(?P<width>[1-9][0-9]{0,2}))?",
    re.ASCII,
)


class TileError(ValueError):
    """A path or the contents of a tile are not what they should be; `str()` says where and why."""


class Tile(msgspec.Struct, frozen=True):
    """Which tile: its level (ENTRIES for leaf data), its index in the level, and its width, 256 when it is full."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def path(self) -> str:
        """The path below the log's prefix, such as `tile/0/x001/x234/067.p/5`."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[at : at + 3] for at in range(0, len(digits), 3)]
        index = "/".join([f"x{group}" for group in groups[:-1]] + groups[-1:])
        partial = "" if self.width == TILE_WIDTH else f".p/{self.width}"
        return f"tile/{'entries' if self.level == ENTRIES else self.level}/{index}{partial}"


def parse_path(path: str) -> Tile:
    """The tile a path names. Raises TileError for anything that `Tile.path` would not have made."""
    found = _PATH.fullmatch(path)
    if found is None:
        raise TileError(f"{path[:100]!r} is no path of a tile")
    level = ENTRIES if found["level"] == "entries" else int(found["level"])
    index = int(found["index"].replace("x", "").replace("/", ""))
    width = TILE_WIDTH if found["width"] is None else int(found["width"])
    tile = Tile(level, index, width)
    if level > LEVEL_MAX or index > SIZE_MAX or tile.path() != path:
        raise TileError(f"{path[:100]!r} is no path of a tile")
    return tile


def tile_at(level: int, index: int, *, size: int) -> Tile:
    """The tile as it is in a tree of `size` leaves. Raises TileError when it would be empty."""
    width = min(TILE_WIDTH, _hashes(level, size) - index * TILE_WIDTH)
    if index < 0 or width <= 0:
        raise TileError(f"no tile {index} of level {level} in a tree of {size}")
    return Tile(level, index, width)


def tiles_of(size: int, *, since: int = 0) -> Iterator[Tile]:
    """The tiles of a tree of `size` leaves that a tree of `since` leaves does not have, level by level."""
    if not 0 <= since <= size <= SIZE_MAX:
        raise TileError(f"no tree of {size} leaves grows out of one of {since}")
    level = 0
    while (hashes := _hashes(level, size)) > 0:
        had = _hashes(level, since)
        if hashes > had:
            for index in range(had // TILE_WIDTH, -(-hashes // TILE_WIDTH)):
                yield tile_at(level, index, size=size)
        level += 1


def hashes_of(data: bytes, tile: Tile) -> list[bytes]:
    """The hashes in a tile's bytes, which must be exactly as many as its width says. Raises TileError."""
    if len(data) != tile.width * HASH_BYTES:
        raise TileError(f"{tile.path()}: {len(data)} bytes, expected {tile.width * HASH_BYTES}")
    return [data[at : at + HASH_BYTES] for at in range(0, len(data), HASH_BYTES)]


def bundle(entries: Sequence[bytes]) -> bytes:
    """The bytes of an entry bundle: each entry behind its length in two bytes, big-endian. Raises TileError."""
    for at, entry in enumerate(entries):
        if len(entry) > ENTRY_MAX_BYTES:
            raise TileError(f"entry {at}: {len(entry)} bytes, at most {ENTRY_MAX_BYTES}")
    return b"".join(len(entry).to_bytes(2, "big") + entry for entry in entries)


def entries_of(data: bytes, tile: Tile) -> list[bytes]:
    """The entries in a bundle's bytes, exactly as many as its width says. Raises TileError."""
    found = []
    at = 0
    for number in range(tile.width):
        begin = at + 2
        at = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or at > len(data):
            raise TileError(f"{tile.path()}: ends inside entry {number}")
        found.append(data[begin:at])
    if at != len(data):
        raise TileError(f"{tile.path()}: {len(data) - at} bytes behind the last entry")
    return found


class TileNodes:
    """The full subtrees of a tree of `size` leaves, from its tiles: `node` is what `proof.inclusion_proof` asks.

    `read` gives the bytes of a tile that this tree has. Each tile is asked for once and kept: make a new object for
    every task. What the tiles say is worth no more than their source; compare a root with a signed one.
    """

    def __init__(self, read: Callable[[Tile], bytes], size: int) -> None:
        self._read = read
        self._size = size
        self._kept: dict[Tile, list[bytes]] = {}

    def node(self, level: int, index: int) -> bytes:
        """The root over the leaves [index * 2**level, (index + 1) * 2**level). Raises TileError."""
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise TileError(f"no full subtree {index} of level {level} in a tree of {self._size}")
        tile_level, above = divmod(level, TILE_HEIGHT)
        first = index << above
        tile = tile_at(tile_level, first // TILE_WIDTH, size=self._size)
        if tile not in self._kept:
            self._kept[tile] = hashes_of(self._read(tile), tile)
        begin = first % TILE_WIDTH
        return root(self._kept[tile][begin : begin + (1 << above)])


def _hashes(level: int, size: int) -> int:
    """How many hashes the tree of `size` leaves has on a tile's level; entries are counted as leaves are."""
    return size >> (TILE_HEIGHT * max(level, 0))
