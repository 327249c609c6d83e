"""The uplink against a real mosquitto: a pack leaves on the cloud's signed receipt, and on nothing else."""

from __future__ import annotations

import asyncio
import random
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from edge.buffer.base import BufferFull
from edge.clock import SystemClock
from tests.edge.buffer.material import reading, receipt, stamp
from tests.edge.uplink.conftest import run_gateway
from tests.edge.uplink.fake_cloud import FakeCloud
from wire import topics
from wire.envelope import ENVELOPE_MAX_BYTES, envelope_hash


def all_of(count: int) -> Counter[Any]:
    return Counter(reading(n) for n in range(count))


async def test_packs_arrive_once_and_are_released(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    async with run_gateway(tmp_path, broker.port) as gateway:
        for _ in range(5):
            await gateway.produce(10)
        await gateway.all_released()
        state = gateway.uplink.state()
        assert (state.connected, state.last_error, state.counts["packs_sent"]) == (True, "", 50)
        assert state.last_receipt_ms is not None
        assert state.checkpoint_size > 0
    assert cloud.contents() == all_of(50)
    assert set(cloud.copies.values()) == {1}


async def test_broker_down_at_start_is_waited_for(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    broker.stop()
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(3)
        await gateway.until(lambda: "cannot be reached" in gateway.uplink.state().last_error)
        cloud.ready.clear()
        broker.start()
        assert await asyncio.to_thread(cloud.ready.wait, 5)
        await gateway.all_released()
    assert cloud.contents() == all_of(3)


async def test_delivery_resumes_within_2_s_after_the_broker_was_killed(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(5)
        await gateway.all_released()
        broker.kill()
        await gateway.produce(20)
        await gateway.until(lambda: not gateway.uplink.state().connected)
        cloud.ready.clear()
        broker.start()
        began = time.monotonic()
        await gateway.until(lambda: len(cloud.packs) > 5)
        resumed_s = time.monotonic() - began
        await gateway.produce(5)
        await gateway.all_released()
    assert resumed_s < 2.5, "2 s and the poll of this test"
    assert cloud.contents() == all_of(30)


async def test_a_lost_receipt_means_sending_again_and_no_double_in_the_record(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    cloud.lose_receipts = 3
    async with run_gateway(tmp_path, broker.port, retry_s=1) as gateway:
        await gateway.produce(3)
        await gateway.all_released()
        assert gateway.uplink.state().counts["packs_sent_again"] >= 1
    assert max(cloud.copies.values()) == 2
    assert cloud.contents() == all_of(3)


async def test_a_full_disk_is_waited_for_and_stops_nothing(
    tmp_path: Path, broker: Any, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge.uplink.sender.PAUSE_S", 0.05)

    def full(*_: object, **__: object) -> None:
        raise BufferFull("the disk is full")

    async with run_gateway(tmp_path, broker.port, retry_s=1) as gateway:
        with monkeypatch.context() as patched:
            patched.setattr("edge.buffer.head.HeadFile.write", full)
            await gateway.buffer.append([reading(0)])
            with pytest.raises(BufferFull):
                await gateway.buffer.seal(stamp(0))
            gateway.uplink.notify()
            await gateway.until(lambda: gateway.uplink.state().connected)
            await asyncio.sleep(0.2)
            assert cloud.order == []
        with monkeypatch.context() as patched:
            patched.setattr("edge.buffer.settlement.save_settled", full)
            await gateway.until(lambda: gateway.uplink.state().counts.get("letters_unkept", 0) > 0)
            assert "full" in gateway.uplink.state().last_error
            assert gateway.buffer.state().unsent_packs == 1
        await gateway.all_released()
        await gateway.until(lambda: gateway.uplink.state().last_error == "")
    assert cloud.contents() == all_of(1)


async def test_puback_alone_releases_nothing(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    cloud.mute = True
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(4)
        await gateway.until(lambda: len(cloud.packs) == 4)
        await asyncio.sleep(0.3)
        assert gateway.buffer.state().unsent_packs == 4
        assert gateway.uplink.state().in_flight == 4
    cloud.mute = False
    async with run_gateway(tmp_path, broker.port) as gateway:  # after a restart they go out again
        await gateway.all_released()
    assert cloud.contents() == all_of(4)


async def test_the_clock_is_told_what_time_a_verified_receipt_says_has_passed(
    tmp_path: Path, broker: Any, cloud: FakeCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    monkeypatch.setattr(SystemClock, "has_passed", lambda _self, true_ms: told.append(true_ms))
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(1)
        await gateway.all_released()
        stream = gateway.buffer.state().stream
        before = len(told)
        cloud.key = Ed25519PrivateKey.generate()
        cloud.send_receipt(cloud.receipt_for(stream))
        await gateway.until(lambda: gateway.uplink.state().counts.get("letters_forged", 0) == 1)
        assert len(told) == before > 0
        assert told[0] == cloud.receipt_for(stream).issued_at_ms


async def test_only_the_pinned_cloud_key_is_believed(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    cloud.key = Ed25519PrivateKey.generate()
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(4)
        await gateway.until(lambda: gateway.uplink.state().counts.get("letters_forged", 0) >= 4)
        assert gateway.buffer.state().unsent_packs == 4
        assert gateway.uplink.state().counts.get("packs_released", 0) == 0


async def test_hostile_letters_are_counted_and_change_nothing(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    cloud.mute = True
    rng = random.Random(11)
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(4)
        await gateway.until(lambda: len(cloud.packs) == 4)
        stream = gateway.buffer.state().stream
        for topic in (topics.down_receipt("gw-1"), topics.down_command("gw-1")):
            for junk in (b"", b"\x00", rng.randbytes(500), bytes(ENVELOPE_MAX_BYTES + 10)):
                cloud.send(topic, junk)
        good = receipt(stream, 1)
        cloud.send_receipt(msgspec.structs.replace(receipt(stream, 4), gateway="gw-2"))  # not for us
        cloud.send_receipt(receipt(bytes(16), 4))  # a stream that is not ours
        cloud.send_receipt(receipt(stream, 900))  # beyond our head: and a new stream begins
        cloud.send_again(stream, 1, 2, counter=1, expires_at_ms=2)  # expired
        cloud.send_receipt(good)
        cloud.send_receipt(good)
        await gateway.until(lambda: gateway.uplink.state().counts.get("receipts", 0) == 2)
        counts = gateway.uplink.state().counts
        assert gateway.buffer.state().unsent_packs == 3
        assert counts["letters_malformed"] == 8
        assert counts["letters_foreign"] == 2
        assert counts["letters_beyond_head"] == 1
        assert counts["letters_expired"] == 1
        assert counts["packs_released"] == 1


async def test_a_stream_that_a_copy_has_carried_on_does_not_hold_up_the_next_one(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    async with run_gateway(tmp_path, broker.port, window=8) as gateway:
        old = gateway.buffer.state().stream
        cloud.ahead = {old: 900}
        await gateway.produce(12)
        await gateway.until(lambda: gateway.buffer.state().stream != old)
        await gateway.produce(20)
        await gateway.until(lambda: gateway.buffer.state().released_through == 21)  # one of them carries old ones over
        await gateway.until(lambda: gateway.uplink.state().in_flight == 0)
        assert gateway.buffer.state().unsent_packs == 0
    assert set(cloud.contents()) == set(all_of(32))


async def test_receipts_release_in_any_order(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    cloud.mute = True
    async with run_gateway(tmp_path, broker.port) as gateway:
        for so_far in (3, 6, 9):  # few enough to be live: history waits for the first receipt
            await gateway.produce(3)
            await gateway.until(lambda so_far=so_far: len(cloud.packs) == so_far)
        stream = gateway.buffer.state().stream
        letters = [receipt(stream, 0, (8, 9)), receipt(stream, 3), receipt(stream, 1), receipt(stream, 0, (5, 6))]
        for letter in letters:
            cloud.send_receipt(letter)
        await gateway.until(lambda: gateway.uplink.state().counts.get("receipts", 0) == 4)
        left = await gateway.buffer.unsent(newest_first=False, limit=9)
        assert [pack.seq for pack in left] == [4, 7]
        assert gateway.uplink.state().in_flight == 2


async def test_a_refused_pack_is_shelved_and_sent_again_on_command(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    cloud.refuse = {2}
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(3)
        await gateway.all_released()
        await gateway.until(lambda: gateway.buffer.state().refused_packs == 1)
        stream = gateway.buffer.state().stream
        cloud.send_again(stream, 1, 2, counter=1)
        await gateway.until(lambda: cloud.copies[stream, 1] == cloud.copies[stream, 2] == 2)
        cloud.send_again(stream, 1, 3, counter=1)  # used
        cloud.send_again(bytes(16), 1, 3, counter=2)  # not our stream
        counts = gateway.uplink.state().counts
        await gateway.until(lambda: gateway.uplink.state().counts.get("letters_foreign", 0) == 1)
        counts = gateway.uplink.state().counts
        assert (counts["commands"], counts["letters_replayed"]) == (1, 1)
        await gateway.until(lambda: gateway.uplink.state().in_flight == 0)
        assert cloud.copies[stream, 3] == 1


async def test_what_has_left_the_archive_is_declared_lost_when_it_is_asked_for(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(12)
        await gateway.all_released()
        stream = gateway.buffer.state().stream
    with sqlite3.connect(tmp_path / "buffer.db") as archive:  # as the byte bound does it, but for 7
        archive.execute("DELETE FROM pack WHERE seq <= 4 OR seq = 7")
    archive.close()
    async with run_gateway(tmp_path, broker.port) as gateway:
        gateway.produced = 12
        await gateway.until(lambda: gateway.uplink.state().connected)
        cloud.send_again(stream, 1, 900, counter=1)
        await gateway.until(lambda: gateway.buffer.state().pending_declarations == 2)
        await gateway.produce(1)
        await gateway.all_released()
        await gateway.until(lambda: gateway.uplink.state().in_flight == 0)
        losses = cloud.packs[stream, 13][1].losses
        assert [(loss.first_seq, loss.last_seq, loss.kind) for loss in losses] == [(1, 4, "lost"), (7, 7, "lost")]
        assert {loss.reason for loss in losses} == {"was receipted and has left the archive"}
        assert [loss.last_hash for loss in losses] == [cloud.packs[stream, seq][1].prev for seq in (5, 8)]
        assert [cloud.copies[stream, seq] for seq in range(1, 13)] == [1, 1, 1, 1, 2, 2, 1, 2, 2, 2, 2, 2]
        assert gateway.uplink.state().counts["asked_for_and_gone"] == 5
        assert gateway.buffer.state().unsent_packs == 0


@pytest.mark.parametrize("gone", ["all", "tail", "head"])
async def test_what_is_gone_of_a_stream_that_was_left_is_declared_too(
    tmp_path: Path, broker: Any, cloud: FakeCloud, gone: str
) -> None:
    seqs = {"all": range(1, 7), "tail": range(4, 7), "head": range(1, 4)}[gone]
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(6)
        await gateway.all_released()
        stream = gateway.buffer.state().stream
    with sqlite3.connect(tmp_path / "buffer.db") as archive:
        archive.execute("DELETE FROM pack WHERE seq BETWEEN ? AND ?", (seqs[0], seqs[-1]))
        archive.execute("UPDATE stream SET kid = x'00'")  # as if another key had signed it: a new stream begins
    archive.close()
    async with run_gateway(tmp_path, broker.port) as gateway:
        gateway.produced = 6
        assert gateway.buffer.state().stream != stream
        await gateway.produce(1)
        await gateway.all_released()
        cloud.send_again(stream, 1, 900, counter=1)
        await gateway.until(lambda: gateway.buffer.state().pending_declarations == 1)
        await gateway.produce(1)
        await gateway.all_released()
        (loss,) = cloud.packs[gateway.buffer.state().stream, 2][1].losses
        assert (loss.stream, loss.first_seq, loss.last_seq) == (stream, seqs[0], seqs[-1])
        assert loss.last_hash == envelope_hash(cloud.packs[stream, seqs[-1]][0])
        assert gateway.uplink.state().counts["asked_for_and_gone"] == len(seqs)


async def test_replayed_receipts_and_commands_do_no_harm(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.produce(6)
        await gateway.all_released()
        stream = gateway.buffer.state().stream
        old = cloud.receipt_for(stream)
        await gateway.produce(6)
        await gateway.all_released()
        cloud.send_again(stream, 1, 2, counter=7)
        await gateway.until(lambda: cloud.copies[stream, 2] == 2)
        before, through = gateway.uplink.state().counts, gateway.buffer.state().released_through
        for _ in range(20):
            cloud.send_receipt(old)
            cloud.send_again(stream, 1, 12, counter=7)
            cloud.send_again(stream, 1, 12, counter=6)
        await gateway.until(lambda: gateway.uplink.state().counts.get("letters_replayed", 0) == 40)
        await gateway.until(lambda: gateway.uplink.state().counts["receipts"] >= before["receipts"] + 20)
        counts = gateway.uplink.state().counts
        assert gateway.buffer.state().released_through == through == 12
        assert counts["packs_released"] == before["packs_released"]
        assert counts["commands"] == 1
        assert cloud.copies[stream, 12] == 1
    async with run_gateway(tmp_path, broker.port) as gateway:  # the counter is on the disk
        await gateway.until(lambda: gateway.uplink.state().connected)
        cloud.send_again(stream, 1, 12, counter=7)
        await gateway.until(lambda: gateway.uplink.state().counts.get("letters_replayed", 0) == 1)
        assert gateway.uplink.state().counts.get("commands", 0) == 0


async def test_the_newest_pack_goes_first_and_backfill_keeps_its_rate(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    broker.stop()
    async with run_gateway(tmp_path, broker.port, backfill_readings_per_s=100) as gateway:
        await gateway.produce(250)
        cloud.ready.clear()
        broker.start()
        assert await asyncio.to_thread(cloud.ready.wait, 5)
        began = time.monotonic()
        await gateway.until(lambda: len(cloud.packs) >= 20)
        await gateway.produce(1)
        await gateway.until(lambda: 251 in cloud.order, 2)
        assert len(cloud.packs) < 240, "the live pack did not wait for history"
        await gateway.all_released()
        took_s = time.monotonic() - began
    history = [seq for seq in cloud.order if seq <= 246]
    assert cloud.contents() == all_of(251)
    assert sorted(set(history)) == list(range(1, 247))
    assert took_s > 1.2, "one second's worth at once, the rest at 100 readings/s"


async def test_live_packs_get_between_history_at_any_rate(tmp_path: Path, broker: Any, cloud: FakeCloud) -> None:
    """Receipts make room as fast as history fills it: there is no pause for live packs to slip into."""
    broker.stop()
    async with run_gateway(tmp_path, broker.port, backfill_readings_per_s=1_000_000) as gateway:
        await gateway.produce(700)
        cloud.ready.clear()
        broker.start()
        await gateway.until(lambda: len(cloud.packs) >= 40, 20)
        await gateway.produce(1)
        await gateway.until(lambda: 701 in cloud.order, 20)
        assert cloud.order.index(701) < 500
        await gateway.all_released(40)


async def test_the_status_is_retained_and_the_farewell_says_offline(
    tmp_path: Path, broker: Any, cloud: FakeCloud
) -> None:
    async with run_gateway(tmp_path, broker.port) as gateway:
        await gateway.until(lambda: any(status.online for status in cloud.statuses))
        online = cloud.statuses[-1]
        assert (online.gateway, online.version, online.devices) == ("gw-1", "0-test", {"room-1": "up"})
        assert online.stream == gateway.buffer.state().stream.hex()
        for _ in range(10):  # changes of head do not make a status each
            await gateway.produce(1)
        await gateway.all_released()
        assert sum(status.online for status in cloud.statuses) <= 2
    deadline = time.monotonic() + 5
    while cloud.statuses[-1].online and time.monotonic() < deadline:
        await asyncio.sleep(0.01)
    assert not cloud.statuses[-1].online
    assert cloud.statuses[-1].head_seq == 10


async def test_another_client_of_our_name_does_not_start_a_fight(
    tmp_path: Path, broker: Any, cloud: FakeCloud, free_port: Callable[[], int]
) -> None:
    async with run_gateway(tmp_path / "one", broker.port) as gateway:
        await gateway.until(lambda: gateway.uplink.state().connected)
        async with run_gateway(tmp_path / "two", broker.port) as other:
            await other.until(lambda: other.uplink.state().connected)
            await asyncio.sleep(1)
            both = gateway.uplink.state().counts["connections"] + other.uplink.state().counts["connections"]
            assert both <= 4
