"""The sender: decides which pack goes to the broker next, over whatever connection there is.

Order of a round: the newest packs (live lane), packs whose receipt is overdue, packs the cloud asked for again, then
history, oldest first and at its rate (backfill lane). Nothing but live packs goes while the broker owes answers for
more than UNANSWERED_MAX_BYTES: on a slow line live packs would queue behind them, and the line would seem dead.
After an outage history starts at a moment of its own, so that a thousand gateways don't bring theirs at once.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter, deque
from collections.abc import Sequence

from edge.buffer.base import Buffer, BufferFull, PackName, SealedPack
from edge.buffer.ranges import gaps
from edge.uplink.base import BrokerUnavailable, UplinkOptions
from edge.uplink.lanes import LIVE_PACKS, Pace, Window, history_wait_s
from edge.uplink.mqtt import Connection
from wire.pack import Loss, StreamHead, unseal
from wire.receipt import Receipt

BURST = 8  # packs read from the buffer at a time
REQUESTS_MAX = 1024  # ranges that were asked for again and wait: four commands
DECLARATIONS_MAX = 256  # losses that one command may bring about; packs leave the archive in a row, oldest first
GONE = "was receipted and has left the archive"
SHORTEST_WAIT_S = 0.01
PAUSE_S = 2.0  # after a failure that no news may end: a full disk, a broker that takes nothing more
UNANSWERED_MAX_BYTES = 128 * 1024  # 1 s of a 1 Mbit/s line, 16 s of the slowest we serve
START_COUNTS_AS_S = 10.0  # a start may be one of many, after a power cut: history then waits like after an outage

log = logging.getLogger(__name__)


class Sender:
    """Packs out. One of these lives as long as its uplink; connections come and go."""

    def __init__(
        self, options: UplinkOptions, buffer: Buffer, *, topic: str, rng: random.Random, counts: Counter[str]
    ) -> None:
        self._options = options
        self._buffer = buffer
        self._topic = topic
        self._counts = counts
        self._rng = rng
        self._window = Window(options.window, options.retry_s, rng)
        self._pace = Pace(options.backfill_readings_per_s)
        self._requests: deque[tuple[bytes, int, int]] = deque(maxlen=REQUESTS_MAX)
        self._declarations_left = 0
        self._published: dict[int, PackName] = {}
        self._live_through: PackName = (b"", 0)  # what the live lane has looked at
        self._link: Connection | None = None
        self._detached_at_s: float | None = None
        self._history_from_s = 0.0
        self._sent_before: set[PackName] = set()  # on an earlier connection, and not since
        self._unanswered_since_s: float | None = None
        self._choked = False  # the broker owes too many answers
        self._wake = asyncio.Event()
        self._complaint = ""

    @property
    def in_flight(self) -> int:
        """How many packs are on their way."""
        return len(self._window)

    @property
    def unanswered_s(self) -> float:
        """For how long the broker has been taking packs while no receipt comes; 0 when none is missing."""
        since_s = self._unanswered_since_s
        return 0.0 if since_s is None else asyncio.get_running_loop().time() - since_s

    async def run(self) -> None:
        """Send for ever. Raises BufferUnusable."""
        while True:
            self._wake.clear()
            wait_s: float | None = None
            if self._link is not None:
                try:
                    wait_s = await self._round(self._link)
                    self._complaint = ""
                except BrokerUnavailable as error:
                    wait_s = PAUSE_S
                    log.debug("a round of sending ended: %s", error)
                except BufferFull as error:
                    wait_s = PAUSE_S
                    if str(error) != self._complaint:
                        log.error("sending pauses: %s", error)
                    self._complaint = str(error)
            try:
                async with asyncio.timeout(wait_s):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def attach(self, link: Connection) -> None:
        """There is a connection: what was on its way may be lost, and is sent anew, newest first."""
        now_s = asyncio.get_running_loop().time()
        self._window.limit(min(self._options.window, link.receive_maximum - 1))
        self._sent_before.update(self._window.reconnect())
        outage_s = START_COUNTS_AS_S if self._detached_at_s is None else now_s - self._detached_at_s
        self._history_from_s = now_s + history_wait_s(outage_s, self._rng)
        self._live_through = (b"", 0)
        self._link = link
        self._wake.set()

    def detach(self) -> None:
        """The connection is gone."""
        if self._link is not None:
            self._detached_at_s = asyncio.get_running_loop().time()
        self._link = None
        self._unanswered_since_s = None
        self._published.clear()

    def wake(self) -> None:
        """There may be more to send."""
        self._wake.set()

    def heard(self) -> None:
        """The cloud's own word came over this connection."""
        self._sent_before.update(self._window.heard(asyncio.get_running_loop().time()))
        self._wake.set()

    def land(self, receipt: Receipt) -> None:
        """A receipt was verified and taken into the buffer."""
        self._window.land(receipt)
        self._unanswered_since_s = asyncio.get_running_loop().time() if self._window.names else None
        self.heard()

    def abandon(self, stream: bytes) -> None:
        """Receipts of this stream settle nothing: wait for none, or its packs would fill the window for ever."""
        for name in self._window.names:
            if name[0] == stream:
                self._window.drop(name)
        self.heard()

    def puback(self, mid: int) -> None:
        """The broker took message `mid` over, which ends nothing but a repeat that was asked for."""
        name = self._published.pop(mid, None)
        if name is not None:
            self._window.puback(name)
            if self._requests or self._choked:
                self._wake.set()

    def nobody(self, mid: int) -> None:
        """The broker took message `mid`, and has nobody to give it to."""
        name = self._published.pop(mid, None)
        if name is not None:
            self._window.nobody(name, asyncio.get_running_loop().time())
            self._wake.set()

    def request(self, stream: bytes, ranges: Sequence[tuple[int, int]]) -> None:
        """The cloud wants these packs again, settled or not."""
        self._requests.extend((stream, first, last) for first, last in ranges)
        self._declarations_left = DECLARATIONS_MAX
        self._wake.set()

    async def _round(self, link: Connection) -> float | None:
        """Send what may go now; how long until more may, None when only news can change that."""
        loop = asyncio.get_running_loop()
        await self._send_live(link)
        await self._send_late(link, self._window.due(loop.time()))
        waits = [await self._send_requested(link), await self._send_backfill(link)]
        self._choked = _chokes(link)
        if self._choked:
            return None  # an answer wakes us
        if self._window.next_due_s is not None:
            waits.append(max(SHORTEST_WAIT_S, self._window.next_due_s - loop.time()))
        return min((wait_s for wait_s in waits if wait_s is not None), default=None)

    async def _send_live(self, link: Connection) -> None:
        state = self._buffer.state()
        head = (state.stream, state.head_seq)
        seen = self._live_through[1] if self._live_through[0] == state.stream else 0
        fresh = {(state.stream, seq) for seq in range(max(seen, state.head_seq - LIVE_PACKS) + 1, state.head_seq + 1)}
        # Something has to go for the doubt to end; when all that is new is settled, then something old.
        seeking = self._window.in_doubt and not self._window.names and state.unsent_packs > 0
        if not (fresh or seeking) or self._window.live_room == 0:
            return
        room = min(self._window.live_room, LIVE_PACKS)
        for pack in await self._buffer.unsent(newest_first=True, limit=room, exclude=self._window.names):
            if seeking or pack.name in fresh:
                self._publish(link, pack)
        self._live_through = head

    async def _send_late(self, link: Connection, due: Sequence[PackName]) -> None:
        for at in range(0, len(due), BURST):
            if _chokes(link):
                return
            names = due[at : at + BURST]
            packs = await self._buffer.fetch(names)
            for name in set(names) - {pack.name for pack in packs}:
                self._window.drop(name)
            for pack in packs:
                if pack.name in self._window.names:  # no receipt came while it was read
                    self._publish(link, pack)

    async def _send_requested(self, link: Connection) -> float | None:
        """One burst, like history."""
        room = self._room(link)
        if not (self._requests and room):
            return None
        stream, first, last = self._requests.popleft()
        try:
            names = await self._buffer.held(stream, [(first, last)], limit=room)
            head = await self._buffer.head_of(stream)
            through = min(last, names[-1][1] if names else 0 if head is None else head.last_seq)
            for pack in await self._buffer.fetch([name for name in names if name not in self._window.names]):
                self._publish(link, pack, until_puback=True)
            await self._declare_missing(stream, first, through, [seq for _, seq in names], head)
        except BaseException:
            self._requests.appendleft((stream, first, last))  # once more, from its beginning: repeats do no harm
            raise
        if names and through < last:
            self._requests.appendleft((stream, through + 1, last))
        return 0.0

    async def _declare_missing(
        self, stream: bytes, first: int, through: int, held: Sequence[int], head: StreamHead | None
    ) -> None:
        """Say of every asked-for seq that is no longer here that it will never come."""
        for gap_first, gap_last in gaps([(seq, seq) for seq in held], first, through):
            if self._declarations_left == 0:
                log.warning("more packs are asked for and gone than one command may have declared lost")
                return
            self._declarations_left -= 1
            self._counts["asked_for_and_gone"] += gap_last - gap_first + 1
            log.warning("the cloud asks for packs that are gone: first=%d last=%d", gap_first, gap_last)
            last_hash = await self._hash_of(stream, gap_last, head)
            await self._buffer.declare(Loss(stream, gap_first, gap_last, last_hash, "lost", GONE))

    async def _hash_of(self, stream: bytes, seq: int, head: StreamHead | None) -> bytes | None:
        """The hash of a pack that is gone, so that the chain can be followed across: the next one names it."""
        if head is not None and head.last_seq == seq:
            return head.hash
        for following in await self._buffer.fetch([(stream, seq + 1)]):
            return unseal(following.envelope)[1].prev
        return None

    async def _send_backfill(self, link: Connection) -> float | None:
        """One burst: on a slow machine receipts make room as fast as it is filled, and live packs must get between."""
        loop = asyncio.get_running_loop()
        room = self._room(link)
        if not room:
            return None  # a receipt makes room, and wakes us
        wait_s = max(self._pace.wait_s(loop.time()), self._history_from_s - loop.time())
        if wait_s > 0:
            return wait_s
        if self._buffer.state().unsent_packs == 0:
            return None
        packs = await self._buffer.unsent(newest_first=False, limit=room, exclude=self._window.names)
        for pack in packs:
            self._publish(link, pack)
            self._pace.spend(pack.count)
        return 0.0 if packs else None

    def _room(self, link: Connection) -> int:
        """How many packs of history may be read and sent now; an answer of the broker or a receipt makes room."""
        return 0 if _chokes(link) else min(BURST, self._window.backfill_room)

    def _publish(self, link: Connection, pack: SealedPack, *, until_puback: bool = False) -> None:
        now_s = asyncio.get_running_loop().time()
        again = pack.name in self._window.names or pack.name in self._sent_before
        self._sent_before.discard(pack.name)
        self._published[link.publish(self._topic, pack.envelope)] = pack.name
        self._window.launch(pack.name, now_s, until_puback=until_puback)
        if self._unanswered_since_s is None and not until_puback:
            self._unanswered_since_s = now_s
        self._counts["packs_sent_again" if again else "packs_sent"] += 1


def _chokes(link: Connection) -> bool:
    return link.unanswered_bytes > UNANSWERED_MAX_BYTES
