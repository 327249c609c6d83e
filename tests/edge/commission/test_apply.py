"""A running gateway takes over another configuration: real devices, a real broker, the real control socket."""

from __future__ import annotations

import asyncio
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from coldproof.demo.broker import LocalBroker
from edge.commission import letters
from edge.commission.client import NotRunning, asking
from edge.commission.kept import GOOD_NAME, TRIAL_NAME, begin_trial, digest, settle_trial
from edge.config import load_config
from edge.health import read_health
from tests.edge.test_agent import Site, until
from wire.observation import Quality, Scan


@pytest.fixture
def site(tmp_path: Path, broker: LocalBroker) -> Iterator[Site]:
    site = Site(tmp_path, broker)
    site.configure()
    site.cloud.start()
    yield site
    site.cloud.stop()


@asynccontextmanager
async def running(site: Site) -> AsyncIterator[None]:
    async with site.devices(), site.gateway():
        await until(lambda: (site.folder / "data" / letters.SOCKET_NAME).exists() and site.readings)
        yield


async def ask(site: Site, request: letters.Request, *, first_only: bool = False) -> list[letters.Answer]:
    def work() -> list[letters.Answer]:
        with asking(site.folder / "data", request) as line:
            return [line.one()] if first_only else list(line.answers(within_s=30))

    return await asyncio.to_thread(work)


async def apply(site: Site, *, within_s: float = 10, may_be_silent: list[str] | None = None) -> letters.Answer:
    text = site.config_path.read_text()
    request = letters.Apply(str(site.config_path), digest(text), within_s, may_be_silent or [])
    return (await ask(site, request))[-1]


def another(site: Site, name: str = "room-1b", unit_id: int = 1) -> str:
    """A second device on the same line; only unit 1 is there."""
    return (
        f'[[device]]\nname = "{name}"\ndriver = "modbus"\nprofile = "xy-md02"\nport = "{site.folder / "bus"}"\n'
        f"unit_id = {unit_id}\ninterval_s = 0.05\ntimeout_s = 0.2\n"
    )


def states(site: Site) -> dict[str, str]:
    return {device.name: device.state for device in read_health(site.folder / "data").devices}


async def test_new_name_takes_over_and_no_answer_is_lost(site: Site) -> None:
    async with running(site):
        site.config_path.write_text(site.config_path.read_text().replace('"room-1"', '"cold-room"'))
        answer = await apply(site)
        assert isinstance(answer, letters.Done), answer
        await until(lambda: [r for r in site.readings if r.channel == "cold-room/air"])
        await site.scanner.send("CODE", "C1")
        await until(lambda: site.scans == ["CODE"])
        values = [entry for entry in site.produced if "mantissa" in entry]
        await until(lambda: len(site.readings) >= len(values))
    values = [entry for entry in site.produced if "mantissa" in entry]
    assert len([r for r in site.readings if r.quality is Quality.OK]) == len(values)
    assert {r.channel.partition("/")[0] for r in site.readings} == {"room-1", "cold-room"}
    assert (site.folder / "data" / GOOD_NAME).read_text() == site.config_path.read_text()
    assert not (site.folder / "data" / TRIAL_NAME).exists()


async def test_devices_that_stay_are_not_restarted(site: Site) -> None:
    async with running(site):
        before = (await ask(site, letters.Status()))[0]
        text = site.config_path.read_text().replace('ack = "\\u0006"', "")
        site.config_path.write_text(text + '[[limit]]\nchannel = "room-1/air"\nabove = -18.0\n')
        answer = await apply(site)
        assert isinstance(answer, letters.Done), answer
        after = (await ask(site, letters.Status()))[0]
    assert isinstance(before, letters.Look)
    assert isinstance(after, letters.Look)
    room_before, scanner_before = before.health.devices
    room_after, scanner_after = after.health.devices
    assert room_after.since_ms == room_before.since_ms
    assert room_after.polls > room_before.polls
    assert scanner_after.since_ms > scanner_before.since_ms


async def test_device_without_first_readings_rolls_back_and_says_why(site: Site) -> None:
    good = site.config_path.read_text()
    async with running(site):
        site.config_path.write_text(good.replace('name = "room-1"', 'name = "room-9"\nunit_id = 9'))
        tried = site.config_path.read_text()
        answer = await apply(site, within_s=1.5)
        assert isinstance(answer, letters.Refused)
        assert "room-9: " in answer.text
        assert "unit 9: no answer within 0.2 s" in answer.text
        assert not answer.file_stands
        assert site.config_path.read_text() == good
        assert (site.folder / "gateway.toml.rejected").read_text() == tried
        count = len(site.readings)
        await until(lambda: len(site.readings) > count + 4)
        await until(lambda: states(site) == {"room-1": "up", "scanner": "up"})
    assert {r.channel for r in site.readings if r.quality is Quality.OK} == {"room-1/air", "room-1/humidity"}
    assert not (site.folder / "data" / TRIAL_NAME).exists()


async def test_device_that_may_be_silent_does_not_hold_up_the_others(site: Site) -> None:
    async with running(site):
        site.config_path.write_text(site.config_path.read_text() + another(site, "spare", 7))
        answer = await apply(site, within_s=1, may_be_silent=["spare"])
        assert isinstance(answer, letters.Done)
        assert "spare is silent, as allowed: " in answer.warnings[0]
        await until(lambda: states(site).keys() == {"room-1", "scanner", "spare"})


async def test_wrong_configuration_changes_nothing(site: Site) -> None:
    async with running(site):
        text = site.config_path.read_text()
        site.config_path.write_text(text.replace('profile = "xy-md02"', 'profile = "xy-md20"'))
        answer = await apply(site)
        assert isinstance(answer, letters.Refused)
        assert "gateway.toml:" in answer.text
        assert "unknown profile 'xy-md20'" in answer.text
        site.config_path.write_text(text.replace("after_s = 0.3", "after_s = 0.4"))
        answer = await apply(site)
        assert isinstance(answer, letters.Refused)
        assert "[seal]" in answer.text
        assert "restart" in answer.text
        await until(lambda: states(site) == {"room-1": "up", "scanner": "up"})


async def test_two_changes_at_once_are_refused(site: Site) -> None:
    async with running(site):
        site.config_path.write_text(site.config_path.read_text() + another(site, "spare", 7))
        first = asyncio.create_task(apply(site, within_s=2))
        await asyncio.sleep(0.5)
        second = await apply(site)
        assert isinstance(second, letters.Refused)
        assert "another change is under way" in second.text
        assert isinstance(await first, letters.Refused)


async def test_who_hangs_up_does_not_stop_a_change(site: Site) -> None:
    async with running(site):
        site.config_path.write_text(site.config_path.read_text().replace('"room-1"', '"cold-room"'))
        text = site.config_path.read_text()
        await ask(site, letters.Apply(str(site.config_path), digest(text), 10), first_only=True)
        await until(lambda: (site.folder / "data" / GOOD_NAME).read_text() == text)


async def test_socket_is_for_the_gateways_user_only_and_gone_afterwards(site: Site) -> None:
    path = site.folder / "data" / letters.SOCKET_NAME
    async with running(site):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_ISSOCK(path.stat().st_mode)
    assert not path.exists()
    with pytest.raises(NotRunning, match="no gateway runs on"):
        await ask(site, letters.Status())


async def test_nonsense_at_the_socket_is_refused_and_harms_nobody(site: Site) -> None:
    async with running(site):
        path = str(site.folder / "data" / letters.SOCKET_NAME)
        for nonsense in (b"{}\n", b"\xff\xfe\n", b'{"do":"apply"}\n', b"x" * 200_000 + b"\n", b"[" * 60_000 + b"\n"):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(nonsense)
            answer = letters.read_answer(await asyncio.wait_for(reader.readline(), 5))
            assert isinstance(answer, letters.Refused)
            writer.close()
        count = len(site.readings)
        await until(lambda: len(site.readings) > count)


async def test_tail_shows_what_comes(site: Site) -> None:
    async with running(site):

        def look() -> list[letters.Answer]:
            with asking(site.folder / "data", letters.Tail(["room-1/air"])) as line:
                answers = line.answers()
                return [next(answers) for _ in range(5)]

        found = await asyncio.to_thread(look)
    assert {(one.channel, one.value, one.unit) for one in found if isinstance(one, letters.Seen)} == {
        ("room-1/air", "-21.3", "CEL")
    }


async def test_tests_reach_the_cloud_marked_for_ever(site: Site) -> None:
    site.config_path.write_text(site.config_path.read_text() + '[[limit]]\nchannel = "room-1/air"\nabove = -18.0\n')
    async with running(site):
        for request in (
            letters.Test("alarm", "room-1/air"),
            letters.Test("reading", "room-1/humidity", "12.5"),
            letters.Test("scan", "scanner/scan", "(00)393123450000000013"),
        ):
            (answer,) = await ask(site, request)
            assert isinstance(answer, letters.Done)
        (refused,) = await ask(site, letters.Test("alarm", "room-1/humidity"))
        assert isinstance(refused, letters.Refused)
        assert "add [[limit]]" in refused.text
        await until(lambda: len([o for o in site.cloud.observations if o.quality is Quality.TEST]) == 3)
    marked = [o for o in site.cloud.observations if o.quality is Quality.TEST]
    assert [o.code if isinstance(o, Scan) else str(o.value) for o in marked] == [
        "-17.0",
        "12.5",
        "(00)393123450000000013",
    ]


async def test_lent_port_pauses_its_devices_until_the_asker_hangs_up(site: Site) -> None:
    async with running(site):
        over = threading.Event()
        lent = threading.Event()

        def borrow() -> letters.Answer:
            with asking(site.folder / "data", letters.Lend(f"serial:{site.folder / 'bus'}")) as line:
                answer = line.one()
                lent.set()
                over.wait(10)
                return answer

        task = asyncio.create_task(asyncio.to_thread(borrow))
        await asyncio.to_thread(lent.wait, 10)
        count = len(site.produced)
        await asyncio.sleep(0.5)
        assert len(site.produced) == count
        over.set()
        assert await task == letters.Lent(["room-1"])
        await until(lambda: len(site.produced) > count + 3)


async def test_trial_that_was_cut_off_is_undone_at_the_next_start(site: Site) -> None:
    async with running(site):
        pass
    good = site.config_path.read_text()
    site.config_path.write_text(good.replace('name = "room-1"', 'name = "room-9"\nunit_id = 9'))
    begin_trial(load_config(site.config_path))  # and then the power went
    async with running(site):
        assert states(site).keys() == {"room-1", "scanner"}
        assert site.config_path.read_text() == good
    assert not (site.folder / "data" / TRIAL_NAME).exists()


async def test_configuration_changed_after_a_cut_off_trial_is_a_persons_word(site: Site) -> None:
    async with running(site):
        pass
    begin_trial(load_config(site.config_path))
    site.config_path.write_text(site.config_path.read_text() + "# mended\n")
    config = load_config(site.config_path)
    assert settle_trial(config) is config
