"""What goes wrong around a cloud is said with its reason: disk, lag, clock."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine

from cloud.config import WatchConfig
from cloud.db.engine import writing
from cloud.ingest.record import Arrival, record
from cloud.registry.keys import add_gateway
from cloud.watch import vitals as module
from cloud.watch.vitals import AHEAD_GATEWAYS, AHEAD_MS, STEP_TOLD_S, Vitals, clock_synchronised
from tests.cloud.field import START_MS, Gateway

STOP = threading.Event()


class World:
    """Two clocks that a test moves, an oldest message, and what the kernel says."""

    def __init__(self) -> None:
        self.wall_ms, self.monotonic_s, self.oldest_s = START_MS, 0.0, 0.0
        self.synchronised: bool | None = True

    def pass_s(self, seconds: float) -> None:
        self.wall_ms += round(1000 * seconds)
        self.monotonic_s += seconds


def _vitals(engine: Engine, tmp_path: Path, world: World, config: WatchConfig | None = None) -> Vitals:
    return Vitals(
        engine,
        tmp_path,
        config or WatchConfig(disk_free_min_mb=0),
        oldest_s=lambda: world.oldest_s,
        wall_ms=lambda: world.wall_ms,
        monotonic=lambda: world.monotonic_s,
        synchronised=lambda: world.synchronised,
    )


def test_well_when_nothing_is_wrong(engine: Engine, tmp_path: Path) -> None:
    world = World()
    vitals = _vitals(engine, tmp_path, world)
    for _ in range(3):
        vitals.run_once(STOP)
        world.pass_s(5)
    assert {name: part.ok for name, part in vitals.parts.items()} == {"disk": True, "lag": True, "clock": True}


def test_full_disk_is_said_with_its_limit(engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=499_999_999)
    monkeypatch.setattr(module.shutil, "disk_usage", lambda _path: usage)
    vitals = _vitals(engine, tmp_path, World(), WatchConfig(disk_free_min_mb=500))
    vitals.run_once(STOP)
    assert not vitals.parts["disk"].ok
    assert vitals.parts["disk"].state == f"499 MB free at {tmp_path}, at least 500 are wanted"


def test_message_that_waits_too_long_is_said(engine: Engine, tmp_path: Path) -> None:
    world = World()
    vitals = _vitals(engine, tmp_path, world, WatchConfig(lag_max_s=60))
    world.oldest_s = 60
    assert vitals.parts["lag"].ok
    world.oldest_s = 61
    assert vitals.parts["lag"].state.startswith("a message has waited 61 s")
    assert not vitals.parts["lag"].ok


@pytest.mark.parametrize("step_s", [3, -3, 86_400])
def test_step_of_the_clock_is_said_for_a_while(engine: Engine, tmp_path: Path, step_s: int) -> None:
    world = World()
    vitals = _vitals(engine, tmp_path, world)
    vitals.run_once(STOP)
    world.pass_s(5)
    world.wall_ms += 1000 * step_s
    vitals.run_once(STOP)
    assert vitals.parts["clock"].state.startswith(f"was stepped by {step_s:+d} s")
    assert not vitals.parts["clock"].ok
    world.pass_s(STEP_TOLD_S)
    vitals.run_once(STOP)
    assert vitals.parts["clock"].ok


def test_slow_look_is_no_step(engine: Engine, tmp_path: Path) -> None:
    world = World()
    vitals = _vitals(engine, tmp_path, world)
    vitals.run_once(STOP)
    world.pass_s(600)
    vitals.run_once(STOP)
    assert vitals.parts["clock"].ok


@pytest.mark.parametrize(("must", "ok"), [(True, False), (False, True)])
def test_unsynchronised_clock_is_a_fault_where_it_is_configured(
    engine: Engine, tmp_path: Path, must: bool, ok: bool
) -> None:
    world = World()
    world.synchronised = False
    vitals = _vitals(engine, tmp_path, world, WatchConfig(disk_free_min_mb=0, clock_must_sync=must))
    vitals.run_once(STOP)
    assert vitals.parts["clock"].ok is ok
    assert "not synchronised" in vitals.parts["clock"].state


def _come(engine: Engine, names: list[str], received_ms: int) -> None:
    gateways = [Gateway(name) for name in names]
    with writing(engine) as conn:
        for one in gateways:
            add_gateway(conn, one.public_half, START_MS)
    record(engine, [Arrival(one.topic, one.envelope(1), received_ms) for one in gateways])


SEALED_MS = START_MS + 60_000  # pack 1 of tests/cloud/field.py


def test_clock_behind_that_of_several_gateways_is_said(engine: Engine, tmp_path: Path) -> None:
    _come(engine, [f"gw-{at}" for at in range(AHEAD_GATEWAYS)], SEALED_MS - AHEAD_MS - 1)
    vitals = _vitals(engine, tmp_path, World())
    vitals.run_once(STOP)
    assert vitals.parts["clock"].state.startswith("gw-0, gw-1, gw-2 seal more than 60 s after we receive")
    assert not vitals.parts["clock"].ok


def test_some_gateways_with_wrong_clocks_do_not_condemn_ours(engine: Engine, tmp_path: Path) -> None:
    _come(engine, [f"wrong-{at}" for at in range(AHEAD_GATEWAYS)], SEALED_MS - AHEAD_MS - 1)
    _come(engine, [f"right-{at}" for at in range(AHEAD_GATEWAYS)], SEALED_MS)
    vitals = _vitals(engine, tmp_path, World())
    vitals.run_once(STOP)
    assert vitals.parts["clock"].ok


def test_large_group_is_looked_at_as_a_whole(engine: Engine, tmp_path: Path) -> None:
    """Its packs are stored in order of their gateways: the last of them are not all of it."""
    late_ms = {f"right-{at}": 0 for at in range(3)} | {f"wrong-{at}": AHEAD_MS + 1 for at in range(AHEAD_GATEWAYS)}
    gateways = [Gateway(name) for name in late_ms]
    with writing(engine) as conn:
        for one in gateways:
            add_gateway(conn, one.public_half, START_MS)
    arrivals = [
        Arrival(one.topic, one.envelope(seq), START_MS + 60_000 * seq - late_ms[one.name])
        for seq in range(1, 61)
        for one in gateways
    ]
    assert record(engine, arrivals).accepted == len(arrivals)
    vitals = _vitals(engine, tmp_path, World())
    vitals.run_once(STOP)
    assert vitals.parts["clock"].ok


def test_kernel_can_be_asked_or_says_nothing() -> None:
    assert clock_synchronised() in {True, False, None}


def test_defaults_are_those_of_the_configuration() -> None:
    assert msgspec.structs.asdict(WatchConfig())["disk_free_min_mb"] == 500
