"""Finds Modbus devices on a serial line or a host, and which profile fits them.

On a line every unit asked for is tried at every usual setting of the line, quickly and by our own frames (probe.py), so
that what is wrong can be told. Whoever answers is then read by the driver itself with every profile: the one that reads
whole and plausible is proposed. One look at 16 units takes about 40 s.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import serialx

from edge.commission.finder import Asked, Finding, Place, Scene, split_host
from edge.commission.ports import Port
from edge.drivers.base import DeviceUnavailable
from edge.drivers.modbus.config import TCP_PORT
from edge.drivers.modbus.diagnosis import Heard, Setting, device, line_keys, nobody, proposal, trouble, usual_setting
from edge.drivers.modbus.fingerprint import best_fits
from edge.drivers.modbus.probe import Judged, Request, Verdict, ask
from edge.drivers.serial_port import close_port, open_port

#: What devices commonly know; one that doesn't answers with an exception, which is an answer.
REQUESTS = (Request(3, 0, 1), Request(4, 1, 2), Request(4, 0, 1), Request(3, 1, 1))
ANSWER_S = 0.08  # most devices think for less than 50 ms
SLOW_S = 0.6  # for those whose answer came late, and for a line on which nobody is quick
SLOW_UNITS, SLOW_SETTINGS = 8, 3  # where nobody answered quickly: 12 s
AGAIN = 3  # more questions to a unit that makes a sound
OPEN_S = 2.0
HOST_S = 1.0
IDLE_S = 0.3


#: The usual ones, the most usual first. 19,200 8E1 is the standard's own default (Serial Line V1.02 §3.3); one without
#: parity comes before it, because a pseudo-terminal takes any parity for none.
SETTINGS = (
    Setting(9600, "N", 1),
    Setting(19_200, "N", 1),
    Setting(19_200, "E", 1),
    Setting(9600, "E", 1),
    Setting(9600, "N", 2),
    Setting(4800, "N", 1),
    Setting(38_400, "N", 1),
    Setting(115_200, "N", 1),
)


class ModbusFinder:
    """Asks."""

    def places(self, asked: Asked) -> list[Place]:
        """Every serial port, and the Modbus port of every host."""
        ports = [Place(f"serial:{port.path}", port.label, port) for port in asked.ports]
        hosts = [split_host(text, TCP_PORT) for text in asked.hosts]
        return ports + [Place(f"tcp:{host}:{port}", f"{host}:{port}") for host, port in hosts]

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """Every unit that answers, or tries to."""
        if place.port is None:
            return await _look_at_host(place, scene)
        idle = await scene.hear(place.port, SETTINGS[0].baudrate, IDLE_S)
        heard = await _sweep(place.port, scene)
        if not heard:
            return [nobody(place, scene.asked, settings=len(SETTINGS), speaks=bool(idle))]
        usual = usual_setting(heard)
        findings = []
        for one in heard:
            if one.judged.verdict is Verdict.ANSWER:
                fits = await best_fits(line_keys(place.port, one))
                findings.append(device(place, one, fits, usual))
            else:
                findings.append(trouble(place, one, heard, speaks=bool(idle)))
        return findings


async def _sweep(port: Port, scene: Scene) -> list[Heard]:
    """Every unit at every setting; a unit that has answered is not asked again at another one."""
    heard: dict[int, Heard] = {}
    for setting in SETTINGS:
        left = [unit for unit in scene.asked.units if unit not in heard or _worth_more(heard[unit])]
        scene.say(f"{port.path}: {setting}, {len(left)} addresses")
        late: set[int] = set()
        async for one in _at(port, setting, left, answer_s=ANSWER_S, is_first=setting is SETTINGS[0]):
            if one.judged.verdict is Verdict.STRANGER:
                late.add(one.judged.data[0])
            else:
                _keep(heard, one, scene)
        async for one in _at(port, setting, sorted(late - heard.keys()), answer_s=SLOW_S):
            _keep(heard, one, scene)
    if not heard:
        for setting in SETTINGS[:SLOW_SETTINGS]:
            scene.say(f"{port.path}: {setting}, once more with patience")
            async for one in _at(port, setting, scene.asked.units[:SLOW_UNITS], answer_s=SLOW_S):
                _keep(heard, one, scene)
    return [heard[unit] for unit in sorted(heard)]


def _keep(heard: dict[int, Heard], one: Heard, scene: Scene) -> None:
    before, is_answer = heard.get(one.unit_id), one.judged.verdict is Verdict.ANSWER
    if one.judged.verdict is not Verdict.STRANGER and (before is None or (is_answer and _worth_more(before))):
        heard[one.unit_id] = one
        if is_answer:
            scene.say(f"unit {one.unit_id} answers at {one.setting}")


def _worth_more(one: Heard) -> bool:
    """Rubble may be the right device at the wrong parity."""
    return one.judged.verdict is not Verdict.ANSWER


async def _at(
    port: Port, setting: Setting, units: Sequence[int], *, answer_s: float, is_first: bool = False
) -> AsyncIterator[Heard]:
    """Whoever makes a sound at one setting of the line."""
    if not units:
        return
    line = serialx.async_serial_for_url(
        port.path,
        baudrate=setting.baudrate,
        parity=serialx.Parity(setting.parity),
        stopbits=serialx.StopBits(setting.stopbits),
    )
    advice = "is it plugged in, free, and this user in the group of the port (dialout)?"
    try:
        opened = await open_port(line, port.path, timeout_s=OPEN_S, advice=advice)
    except DeviceUnavailable:
        if is_first:
            raise
        return  # an adapter that does not know this setting
    try:
        for unit in units:
            judged = await _ask_unit(opened, setting, unit, answer_s)
            if judged is not None:
                yield Heard(unit, setting, judged)
    except OSError as error:
        raise DeviceUnavailable(f"{port.path}: {error}; is the adapter still plugged in?") from error
    finally:
        with contextlib.suppress(TimeoutError, OSError):
            await close_port(opened, timeout_s=OPEN_S)


async def _ask_unit(port: serialx.AsyncSerial, setting: Setting, unit: int, answer_s: float) -> Judged | None:
    """What there is to say of a unit; None when it says nothing to anything.

    Two devices with one address give the same exception at once, and it looks like one: only numbers, asked for several
    times, tell them apart.
    """
    best: Judged | None = None
    for request in REQUESTS:
        judged = await ask(port, request, unit, timeout_s=answer_s, character_s=setting.character_s)
        if judged.verdict is Verdict.STRANGER:
            return judged
        if judged.verdict is Verdict.SILENT:
            continue
        if judged.verdict is Verdict.ANSWER and judged.exception:
            best = best or judged
            continue
        more = [
            await ask(port, request, unit, timeout_s=answer_s, character_s=setting.character_s) for _ in range(AGAIN)
        ]
        return _summed_up([judged, *more])
    return best


def _summed_up(answers: Sequence[Judged]) -> Judged:
    """Two frames at once are proof; of rubble there must be more than one spark on the line makes."""
    by_verdict = {verdict: [one for one in answers if one.verdict is verdict] for verdict in Verdict}
    if by_verdict[Verdict.DOUBLE]:
        return by_verdict[Verdict.DOUBLE][0]
    if len(by_verdict[Verdict.RUBBLE]) > 1 or not by_verdict[Verdict.ANSWER]:
        return (by_verdict[Verdict.RUBBLE] or list(answers))[0]
    return by_verdict[Verdict.ANSWER][0]


async def _look_at_host(place: Place, scene: Scene) -> list[Finding]:
    host, tcp_port = split_host(place.address, TCP_PORT)
    try:
        async with asyncio.timeout(HOST_S):
            _, writer = await asyncio.open_connection(host, tcp_port)
    except (OSError, TimeoutError):
        return []  # most hosts of a network are no Modbus devices
    writer.close()
    scene.say(f"{place.address}: a Modbus port is open")
    for unit in (1, *[unit for unit in scene.asked.units if unit != 1][:15]):
        line: dict[str, object] = {"host": host, "unit_id": unit}
        if tcp_port != TCP_PORT:
            line["tcp_port"] = tcp_port
        if fits := await best_fits(line):
            return [proposal(f"{place.address} unit {unit}", fits, line)]
    return [
        Finding(
            where=place.address,
            what="a Modbus port where no profile fits",
            fault="write a profile from the device's manual (docs/devices.md, Profiles)",
        )
    ]


finder = ModbusFinder()
