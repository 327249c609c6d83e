"""The broker link: no message is let go of, however slow we are and however much the broker sends at once."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from cloud.ingest import subscriber as module
from cloud.ingest.subscriber import RECEIVE_MAXIMUM, Delivery, Link, Subscriber
from firmware_sim.tcp_proxy import DEAF, GOOD, TcpProxy
from wire.topics import up_pack, up_status

TOPIC = up_pack("gw-1")
MANY = 5 * RECEIVE_MAXIMUM


@pytest.fixture
def subscriber(broker: Any, until: Callable[..., None]) -> Iterator[Subscriber]:
    """A subscribed link."""
    opened = Subscriber(Link(broker.host, broker.port, "ingest"))
    opened.open()
    until(lambda: opened.connected)
    yield opened
    opened.close()


def _collect(subscriber: Subscriber, count: int, *, pause_s: float = 0) -> list[Delivery]:
    """Collect and acknowledge until `count` came or the line is quiet."""
    came: list[Delivery] = []
    while len(came) < count:
        group = subscriber.collect(most=50, window_s=0.001, patience_s=2)
        if not group:
            break
        time.sleep(pause_s)
        for delivery in group:
            subscriber.acknowledge(delivery)
        came += group
    return came


def test_slow_reader_gets_everything_in_order(subscriber: Subscriber, broker: Any, connect: Any):
    field = connect(broker.host, broker.port)
    for at in range(MANY):
        field.publish(TOPIC, str(at).encode())
    came = _collect(subscriber, MANY, pause_s=0.01)
    assert [one.payload for one in came] == [str(at).encode() for at in range(MANY)]


def test_group_ends_with_its_window_or_its_size(subscriber: Subscriber, broker: Any, connect: Any):
    assert subscriber.collect(most=5, window_s=0, patience_s=0.01) == []
    field = connect(broker.host, broker.port)
    for at in range(8):
        field.publish(TOPIC, str(at).encode())
    sizes = [len(subscriber.collect(most=5, window_s=0.3, patience_s=2)) for _ in range(2)]
    assert sizes == [5, 3]


def test_unacknowledged_message_comes_again_on_the_next_connection(
    subscriber: Subscriber, broker: Any, connect: Any, until: Callable[..., None]
):
    field = connect(broker.host, broker.port)
    field.publish(TOPIC, b"one")
    (first,) = subscriber.collect(most=1, window_s=0, patience_s=5)
    taker = Subscriber(Link(broker.host, broker.port, "ingest"))  # the same client id: the broker ends our connection
    taker.open()
    (again,) = taker.collect(most=1, window_s=0, patience_s=5)
    assert again.payload == first.payload
    taker.close()


def test_close_ends_a_thread_that_waits_for_room(broker: Any, connect: Any, until: Callable[..., None]):
    opened = Subscriber(Link(broker.host, broker.port, "ingest-2"))
    opened.open()
    until(lambda: opened.connected)
    field = connect(broker.host, broker.port)
    for _ in range(MANY):
        field.publish(TOPIC, b"x")
    _collect(opened, 100)  # acknowledgements make the broker send more than fits
    time.sleep(0.2)
    closer = threading.Thread(target=opened.close)
    closer.start()
    closer.join(5)
    assert not closer.is_alive()


@pytest.mark.parametrize("way", ["up", "down"])
async def test_a_silent_link_is_noticed_and_made_anew(broker: Any, way: str) -> None:
    async with TcpProxy(broker.host, broker.port) as line:
        opened = Subscriber(Link("127.0.0.1", line.port, "ingest-3"))
        opened.open()
        try:
            await _until(lambda: opened.connected)
            setattr(line, way, DEAF)
            began_s = time.monotonic()
            await _until(lambda: not opened.connected)
            assert time.monotonic() - began_s < 12, "10 s, and what a busy machine takes"
            line.change(GOOD)
            await _until(lambda: opened.connected)
            assert line.accepted >= 2
        finally:
            await asyncio.to_thread(opened.close)


async def test_an_absent_broker_is_tried_more_than_once_a_second_for_ever(broker: Any) -> None:
    async with TcpProxy(broker.host, broker.port) as line:
        opened = Subscriber(Link("127.0.0.1", line.port, "ingest-4"))
        opened.open()
        try:
            await _until(lambda: opened.connected)
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(3)  # a delay that doubles would have doubled
            before = line.accepted
            await asyncio.sleep(5)
            assert line.accepted - before >= 5
            await asyncio.to_thread(broker.start)
            await _until(lambda: opened.connected)
        finally:
            await asyncio.to_thread(opened.close)


async def _until(claim: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not claim():
            await asyncio.sleep(0.01)


def test_nothing_is_published_without_a_connection():
    assert not Subscriber(Link("127.0.0.1", 1, "ingest")).publish("t", b"x")


def _cut_off(subscriber: Subscriber) -> None:
    """As if its process had been killed: the connection ends without a goodbye, and nobody makes it anew."""
    subscriber._client.loop_stop()
    subscriber._client._sock_close()


@pytest.fixture
def two(broker: Any, until: Callable[..., None]) -> Iterator[tuple[Subscriber, Subscriber]]:
    """Two of several workers, both subscribed."""
    both = tuple(Subscriber(Link(broker.host, broker.port, f"ingest-{at}", one_of_several=True)) for at in (1, 2))
    for one in both:
        one.open()
        until(lambda one=one: one.connected)
    yield both
    for one in both:
        one.close()


def test_one_that_leaves_is_given_no_more_and_keeps_nothing(
    two: tuple[Subscriber, Subscriber], broker: Any, connect: Any
):
    leaving, staying = two
    field = connect(broker.host, broker.port)
    for at in range(100):
        field.publish(TOPIC, str(at).encode())
    first = staying.collect(most=100, window_s=0.5, patience_s=2)
    for one in first:
        staying.acknowledge(one)
    leaving.leave()
    taken = _collect(leaving, 100)  # what it was given before it left
    leaving.close()
    for at in range(100, 200):
        field.publish(TOPIC, str(at).encode())
    rest = _collect(staying, 200 - len(first) - len(taken))
    assert len(taken) > 0
    assert sorted(int(one.payload) for one in [*first, *taken, *rest]) == list(range(200))


def test_one_that_never_comes_back_takes_its_share_no_longer_than_its_session_lasts(
    broker: Any, connect: Any, until: Callable[..., None], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(module, "ALONE_S", 1)
    gone, staying = (Subscriber(Link(broker.host, broker.port, f"w-{at}", one_of_several=True)) for at in (1, 2))
    for one in (gone, staying):
        one.open()
        until(lambda one=one: one.connected)
    _cut_off(gone)
    field = connect(broker.host, broker.port)
    ends_s = time.monotonic() + 15
    whole = 0
    while whole < 3 and time.monotonic() < ends_s:  # the broker looks for sessions that are over once in a while
        for at in range(20):
            field.publish(TOPIC, str(at).encode())
        whole = whole + 1 if len(_collect(staying, 20)) == 20 else 0
    assert whole == 3
    staying.close()


def test_worker_without_statuses_hears_packs_only(broker: Any, connect: Any, until: Callable[..., None]):
    opened = Subscriber(Link(broker.host, broker.port, "ingest-3", statuses=False))
    opened.open()
    until(lambda: opened.connected)
    field = connect(broker.host, broker.port)
    field.publish(up_status("gw-1"), b"hello")
    field.publish(TOPIC, b"pack")
    assert [one.topic for one in opened.collect(most=2, window_s=0.2, patience_s=5)] == [TOPIC]
    opened.close()


def test_who_is_pushed_out_by_another_of_its_name_says_so(subscriber: Subscriber, broker: Any, until: Any):
    other = Subscriber(Link(broker.host, broker.port, "ingest"))
    other.open()
    try:
        until(lambda: subscriber.state.startswith("pushed out, it seems by another client named ingest"))
    finally:
        other.close()
