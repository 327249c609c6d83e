"""Builds what a site has beside Modbus lines and barcode scanners: RFID, BLE, 1-wire, line sensors, GPS.

Each function makes one device and says what has to run for it. Libraries that only some of them need are imported when
the first of them is built.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from edge.drivers.gps.codec import Position
from edge.drivers.serial_line.codec import Framing
from firmware_sim.devices.gps import SerialGps
from firmware_sim.devices.log import Value
from firmware_sim.devices.onewire import OneWireBus, Sensor
from firmware_sim.devices.rfid_module import UhfModule
from firmware_sim.devices.serial_line import Said, SerialSensor
from firmware_sim.kinds import BleSensor, Gps, LineSensor, OneWireSensor, Passing, RfidModule, RfidReader
from firmware_sim.parts import Built, DevicePlace, Parts, Serve
from firmware_sim.scenario import ONE_WIRE

if TYPE_CHECKING:
    from firmware_sim.bluez.daemon import SimBluez

LINE_EXPONENT = -2  # a line sensor writes hundredths
CLIMATE_EXPONENT = -4  # of a BLE sensor's world; its own format has coarser steps
SIXTEENTHS = 16
DEGREE = 10_000_000  # of Position: ten-millionths


async def reader(parts: Parts, device: RfidReader) -> Built:
    """An LLRP reader."""
    from firmware_sim.devices.rfid_reader import LlrpReader  # its emulator is an extra

    channel = f"{device.gateway}/{device.name}/{device.point}"
    made = LlrpReader(
        name=device.name, channel=channel, **parts.lent(device.name), port=device.tcp_port, antennas=device.antennas
    )
    await parts.stack.enter_async_context(made)

    async def carry(epc: str, passing: Passing) -> None:
        await made.pass_by(epc, passing.antennas, each_s=passing.each_s)

    place = DevicePlace("rfid-reader", device.gateway, host=made.host, tcp_port=made.port)
    return Built(place, serve=_carrying(device.passing, carry))


async def module(parts: Parts, device: RfidModule) -> Built:
    """A UHF module."""
    path = parts.ports / device.name
    channel = f"{device.gateway}/{device.name}/{device.point}"
    made = UhfModule(path, name=device.name, channel=channel, **parts.lent(device.name))
    await parts.stack.enter_async_context(made)

    async def carry(epc: str, passing: Passing) -> None:
        await made.pass_by(epc, for_s=passing.each_s)

    carrying = _carrying(device.passing, carry)

    async def serve() -> None:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(made.serve(), name=f"module {device.name}")
            if carrying is not None:
                tasks.create_task(_awaited(carrying), name=f"tags of {device.name}")

    return Built(DevicePlace("rfid-module", device.gateway, port=str(path)), serve=serve)


async def broadcaster(parts: Parts, device: BleSensor) -> Built:
    """A BLE sensor, in the air of the one adapter that all of them share."""
    from firmware_sim.devices.ble import Broadcaster, BthomeThermometer, RuuviTag

    bluez, dbus = await _adapter(parts)
    sources = {
        point: parts.source(seen, CLIMATE_EXPONENT, f"{device.name}/{point}", device)
        for point, seen in device.points.items()
    }

    def climate(at_ms: int) -> tuple[float | None, float | None]:
        warm, moist = (sources[point](at_ms) for point in ("temperature", "humidity"))
        return (None if warm is None else float(warm), None if moist is None else float(moist))

    kind = RuuviTag if device.format == "ruuvi" else BthomeThermometer
    payload = kind(device.address, f"{device.gateway}/{device.name}", climate)
    link = parts.links[device.name]
    made = Broadcaster(bluez, payload, link=link, log=parts.log, rssi_dbm=device.rssi_dbm)

    async def serve() -> None:
        while True:
            await made.measure(int(parts.now_ms()))
            await asyncio.sleep(device.every_s)

    return Built(DevicePlace("ble", device.gateway, address=device.address, dbus=dbus), serve=serve)


async def line(parts: Parts, device: LineSensor) -> Built:
    """A sensor that writes lines of JSON."""
    path = parts.ports / device.name
    sources = {
        point: parts.source(seen, LINE_EXPONENT, f"{device.name}/{point}", device)
        for point, seen in device.points.items()
    }

    def says(at_ms: int) -> Said:
        found = {point: source(at_ms) for point, source in sources.items()}
        text = ", ".join(f'"{point}": {"null" if value is None else value}' for point, value in found.items())
        values = [
            Value(
                device.name,
                f"{device.gateway}/{device.name}/{point}",
                None if value is None else int(value.scaleb(-LINE_EXPONENT)),
                LINE_EXPONENT,
            )
            for point, value in found.items()
        ]
        return Said("{" + text + "}", values)

    made = SerialSensor(
        path, name=device.name, framing=Framing(), **parts.lent(device.name), says=says, every_s=device.every_s
    )
    await parts.stack.enter_async_context(made)
    return Built(DevicePlace("serial-line", device.gateway, port=str(path)), serve=made.serve)


async def thermometer(parts: Parts, device: OneWireSensor) -> Built:
    """A 1-wire sensor; the first one brings the bus with all of them."""
    folder = parts.folder / ONE_WIRE
    serve: Serve | None = None
    if ONE_WIRE not in parts.shared:
        on_it = [each for each in parts.scenario.device if isinstance(each, OneWireSensor)]
        bus = OneWireBus(
            folder, {each.sensor: _sensor(parts, each) for each in on_it}, name=ONE_WIRE, **parts.lent(ONE_WIRE)
        )
        parts.shared[ONE_WIRE] = await parts.stack.enter_async_context(bus)
        serve = bus.serve
    place = DevicePlace("onewire", device.gateway, folder=str(folder), address=device.sensor)
    return Built(place, serve=serve)


async def satellites(parts: Parts, device: Gps) -> Built:
    """A satellite receiver."""
    path = parts.ports / device.name
    made = SerialGps(path, name=device.name, **parts.lent(device.name))
    made.position = Position(latitude=round(device.latitude * DEGREE), longitude=round(device.longitude * DEGREE))
    await parts.stack.enter_async_context(made)
    return Built(DevicePlace("gps", device.gateway, port=str(path)), serve=made.serve)


def _sensor(parts: Parts, device: OneWireSensor) -> Sensor:
    source = parts.source(device.points["air"], CLIMATE_EXPONENT, f"{device.name}/air", device)

    def sixteenths(at_ms: int) -> int | None:
        value = source(at_ms)
        return None if value is None else round(value * SIXTEENTHS)

    return Sensor(f"{device.gateway}/{device.name}/air", sixteenths)


async def _adapter(parts: Parts) -> tuple[SimBluez, str]:
    """The simulated adapter, on a D-Bus of its own."""
    from firmware_sim.bluez.bus import PrivateBus
    from firmware_sim.bluez.daemon import SimBluez

    if "bluez" not in parts.shared:
        bus = await parts.stack.enter_async_context(PrivateBus(parts.folder))
        parts.shared["bluez"] = await parts.stack.enter_async_context(SimBluez(bus.address)), bus.address
    made: tuple[SimBluez, str] = parts.shared["bluez"]
    return made


def _carrying(passing: Passing | None, carry: Callable[[str, Passing], Awaitable[None]]) -> Serve | None:
    """Somebody carries tags past, without an end."""
    if passing is None:
        return None

    async def serve() -> None:
        while True:
            for epc in passing.epcs:
                await carry(epc, passing)
                await asyncio.sleep(passing.every_s)

    return serve


async def _awaited(serve: Serve) -> None:
    await serve()
