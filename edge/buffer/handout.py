"""Handing packs out to whoever sends them, and the head file beside the buffer.

Keeps "a seq is signed once": nothing leaves before the head file says that it may have left. And "sealed packs never
change": only bytes that still have their hash are handed out.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from edge.buffer.base import PackName, SealedPack
from edge.buffer.books import Books
from edge.buffer.damage import give_up
from edge.buffer.head import HeadFile
from edge.buffer.packs import read_pack
from edge.buffer.ranges import contains, unite
from edge.buffer.stream import Stream, wanted
from wire.pack import StreamHead


class Handout:
    """The only way out of the file."""

    def __init__(self, books: Books, head_file: HeadFile) -> None:
        self._books = books
        self._head_file = head_file

    def unsent(self, *, newest_first: bool, limit: int, exclude: Collection[PackName]) -> list[SealedPack]:
        """Up to `limit` packs to send; a pack that is damaged here is shelved, and its loss declared."""
        streams = self._books.streams
        packs: list[SealedPack] = []
        for stream in reversed(streams) if newest_first else streams:
            for seq in wanted(stream, newest_first=newest_first):
                if len(packs) < limit and (stream.name, seq) not in exclude:
                    packs += self._read(stream, seq)
        return self._hand_out(packs)

    def fetch(self, names: Sequence[PackName]) -> list[SealedPack]:
        """Those of the named packs that are here and whole."""
        by_name = {stream.name: stream for stream in self._books.streams}
        packs = [pack for name, seq in names if name in by_name for pack in self._read(by_name[name], seq)]
        return self._hand_out(packs)

    @property
    def flowing(self) -> bool:
        """Packs leave as they are sealed: the head is recorded when the next one leaves, and need not be before."""
        current = self._books.current
        return bool(current.last_seq) and contains(current.handed_out, current.last_seq)

    def record_head(self, *, offered: int = 0) -> None:
        """Bring the head file up to the current stream's head, and to `offered`, the highest seq about to leave.

        Raises BufferFull.
        """
        self._record_left_streams()
        stream = self._books.current
        if stream.head is not None and not self._head_file.covers(stream.head, offered):
            self._write(stream.head, stream, offered)

    def _record_left_streams(self) -> None:
        """A stream may be left before its last packs were recorded; while the new one has none, the file names it."""
        for stream in self._books.streams[:-1]:
            if stream.head is not None and self._head_file.lags(stream.head):
                self._write(stream.head, stream, stream.last_seq)

    def _write(self, head: StreamHead, stream: Stream, offered: int) -> None:
        """Name this stream, and every other whose packs still wait: they would be lost with the file, too."""
        others = [each for each in self._books.streams if each is not stream]
        waiting = [(each.head, each.released_through) for each in others if each.head and each.unsent]
        self._head_file.write(head, stream.released_through, offered, waiting, last_group=self._books.last_group)

    def _read(self, stream: Stream, seq: int) -> list[SealedPack]:
        pack = read_pack(self._books.db, stream, seq)
        if pack is None:
            if contains(stream.unsent, seq):
                give_up(self._books, stream, seq)
            return []
        return [pack]

    def _hand_out(self, packs: list[SealedPack]) -> list[SealedPack]:
        """Nothing leaves before the head file says that it may have left."""
        current = self._books.current
        offered = max((pack.seq for pack in packs if pack.stream == current.name), default=0)
        if packs:
            self.record_head(offered=offered)
        for stream in self._books.streams:
            seqs = [(pack.seq, pack.seq) for pack in packs if pack.stream == stream.name]
            stream.handed_out = unite(stream.handed_out, seqs) if seqs else stream.handed_out
        return packs
