"""Looks for devices: every family's finder at every place, bounded in time, and never where the gateway works.

A port that the running gateway holds is left alone: its devices are told as the gateway sees them. With `lend` the
gateway gives such a port up for the time of the scan; its devices pause then, and their silence is in the record.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any

import msgspec
import serialx

from edge.commission.finder import Asked, Cause, Family, Finder, Finding, Place, families
from edge.commission.letters import Look, Seen
from edge.commission.ports import Port, one_port
from edge.device import DeviceState, State
from edge.drivers.base import DeviceUnavailable, DriverError
from edge.drivers.port_trouble import holders
from edge.drivers.registry import load_driver
from edge.drivers.serial_port import close_port, open_port

PLACE_S = 600.0  # the longest look at one place: 247 units at eight settings
AT_ONCE = 32  # hosts
HEAR_MAX_BYTES = 16 * 1024
OPEN_S = 2.0

Lend = Callable[[str], AbstractAsyncContextManager[object]]


class Held(msgspec.Struct, frozen=True):
    """What the running gateway occupies, and how its devices are."""

    look: Look | None = None

    def devices_on(self, key: str) -> list[str]:
        """The devices of the gateway on a port or host."""
        if self.look is None:
            return []
        return list(dict.fromkeys(held.device for held in self.look.held if _one_place(held.what, key)))

    def has(self, finding: Finding) -> bool:
        """Whether the gateway has this device already."""
        if self.look is None or not finding.table:
            return False
        return any((held.what, held.part) in _claimed(finding) for held in self.look.held)


def _claimed(finding: Finding) -> list[tuple[str, str]]:
    """What a finding would occupy when it is configured."""
    driver = load_driver(str(finding.table["driver"]))
    try:
        options: Any = msgspec.convert(
            {key: value for key, value in finding.table.items() if key != "driver"},
            driver.config_type,
            dec_hook=lambda kind, value: kind(value),
        )
    except (msgspec.ValidationError, TypeError, ValueError):  # it needs words of a person, such as a key
        return []
    return [(claim.what, claim.part) for claim in options.claims()]


class Scene:
    """Lent to the finders of one scan."""

    def __init__(self, asked: Asked, say: Callable[[str], None]) -> None:
        self.asked = asked
        self.say = say
        self._heard: dict[tuple[str, int], tuple[float, bytes]] = {}

    async def hear(self, port: Port, baudrate: int, listen_s: float) -> bytes:
        """What a port says by itself. Raises DeviceUnavailable."""
        key = (port.path, baudrate)
        before_s, heard = self._heard.get(key, (0.0, b""))
        if listen_s > before_s:
            heard += await _hear(port, baudrate, listen_s - before_s)
            self._heard[key] = (listen_s, heard)
        return heard


async def scan(
    asked: Asked,
    say: Callable[[str], None],
    found: Callable[[Finding], None],
    *,
    held: Held | None = None,
    lend: Lend | None = None,
) -> list[Finding]:
    """Look everywhere that was asked for; `found` is told of each finding at once."""
    scene, held = Scene(asked, say), held or Held()
    findings: list[Finding] = []

    def tell(new: Sequence[Finding]) -> None:
        for finding in new:
            findings.append(finding)
            found(finding)

    known = families(asked.families)
    for family in known:
        if family.missing:
            say(family.missing)
    places = _places(known, asked)
    followed = [key for key in places if key.startswith(("serial:", "input:/"))]
    limit = asyncio.Semaphore(AT_ONCE)

    async def elsewhere(key: str) -> None:
        async with limit:
            tell(await _look_unless_held(places[key], scene, held, lend))

    async with asyncio.TaskGroup() as tasks:
        for key in places:
            if key not in followed:
                tasks.create_task(elsewhere(key), name=f"scan {key}")
        for key in followed:  # one after the other: a person scans something at each
            tell(await _look_unless_held(places[key], scene, held, lend))
    tell(_elsewhere_in_gateway(held, places))
    return findings


def _places(known: Sequence[Family], asked: Asked) -> dict[str, list[tuple[Finder, Place]]]:
    """By place, the finders that look there, in order."""
    places: dict[str, list[tuple[Finder, Place]]] = {}
    for family in known:
        if family.finder is not None:
            for place in family.finder.places(asked):
                places.setdefault(place.key, []).append((family.finder, place))
    return places


async def _look_unless_held(
    looks: Sequence[tuple[Finder, Place]], scene: Scene, held: Held, lend: Lend | None
) -> list[Finding]:
    place = looks[0][1]
    if place.shared:
        return [finding for finding in await _look(looks, scene) if not held.has(finding)]
    devices = held.devices_on(place.key)
    if not devices:
        return await _look(looks, scene)
    if lend is None:
        scene.say(f"{place.address}: the running gateway works here, nothing is asked of it")
        return [_as_running(held, name) for name in devices]
    scene.say(f"{place.address}: {', '.join(devices)} pause while it is looked at")
    async with lend(_key_of(held, place.key)):
        return await _look(looks, scene)


async def _look(looks: Sequence[tuple[Finder, Place]], scene: Scene) -> list[Finding]:
    """Each finder in turn, until one knows what is there."""
    faults: list[Finding] = []
    for finder, place in looks:
        if place.port is not None and (who := await asyncio.to_thread(holders, place.port.path)):
            return [_busy(place, who)]
        try:
            async with asyncio.timeout(PLACE_S):
                new = await finder.look(place, scene)
        except TimeoutError:
            scene.say(f"{place.address}: given up after {PLACE_S:g} s")
            continue
        except DriverError as error:
            what = "a serial port" if place.port is not None else place.key.partition(":")[0]
            return [Finding(where=place.address, what=what, cause=Cause.UNUSABLE, fault=str(error))]
        if any(finding.table or finding.cause is Cause.BUSY for finding in new):
            return new
        faults += new
    if looks[0][1].port is None:
        return faults
    return [fault for fault in faults if fault.live][:1] or faults[-1:]


def _as_running(held: Held, name: str) -> Finding:
    """A device as the gateway sees it."""
    assert held.look is not None
    state = next(state for state in held.look.health.devices if state.name == name)
    newest = [seen for seen in held.look.newest if seen.channel.partition("/")[0] == name]
    where = next(each.what for each in held.look.held if each.device == name).partition(":")[2]
    cause, fault = _fault_of(held.look, state, newest)
    return Finding(
        where=where,
        what=f"{name}, in the running gateway: {state.state}",
        certainty="sure",
        live=[_shown(seen) for seen in newest],
        cause=cause,
        fault=fault,
        device=name,
    )


def _fault_of(look: Look, state: DeviceState, newest: Sequence[Seen]) -> tuple[Cause | None, str]:
    if state.state != State.UP:
        return Cause.NO_ANSWER, state.last_error or "it says nothing"
    if any(seen.quality == "sensor_error" for seen in newest):
        return Cause.PROBE_FAULT, "the device answers, and says that its probe is broken: look at the probe's cable"
    for seen in newest:
        if count := look.stuck.get(seen.channel):
            return Cause.STUCK_VALUE, (
                f"{seen.channel} said exactly {seen.value} {count} times in a row while other probes moved: warm the "
                "probe with the hand; if the number stays, replace it"
            )
    return None, ""


def _elsewhere_in_gateway(held: Held, places: dict[str, list[tuple[Finder, Place]]]) -> list[Finding]:
    """Devices of the gateway at places nobody looked at are told, too, so that the list is the whole site."""
    if held.look is None:
        return []
    seen = {each.device for each in held.look.held if any(_one_place(each.what, key) for key in places)}
    names = dict.fromkeys(each.device for each in held.look.held if each.device not in seen)
    return [_as_running(held, name) for name in names]


def _shown(seen: Seen) -> str:
    point = seen.channel.partition("/")[2]
    return f"{point} {seen.line.rpartition('  ')[2]}"


def _busy(place: Place, who: str) -> Finding:
    return Finding(
        where=place.address,
        what="a serial port",
        cause=Cause.BUSY,
        fault=f"{who} has this port open: end it, and scan again",
    )


def _key_of(held: Held, key: str) -> str:
    assert held.look is not None
    return next(each.what for each in held.look.held if _one_place(each.what, key))


def _one_place(one: str, other: str) -> bool:
    kind, _, path = one.partition(":")
    other_kind, _, other_path = other.partition(":")
    if kind != other_kind:
        return False
    return one_port(path, other_path) if kind == "serial" else path == other_path


async def _hear(port: Port, baudrate: int, listen_s: float) -> bytes:
    opened = await open_port(
        serialx.async_serial_for_url(port.path, baudrate=baudrate),
        port.path,
        timeout_s=OPEN_S,
        advice="is it plugged in, free, and this user in the group of the port (dialout)?",
    )
    heard = bytearray()
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(listen_s):
                while len(heard) < HEAR_MAX_BYTES:
                    data = await opened.read(4096)
                    if not data:
                        break
                    heard += data
    except OSError as error:
        raise DeviceUnavailable(f"{port.path}: {error}; is it still plugged in?") from error
    finally:
        with contextlib.suppress(TimeoutError, OSError):
            await close_port(opened, timeout_s=OPEN_S)
    return bytes(heard)
