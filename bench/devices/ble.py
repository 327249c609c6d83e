"""What Bluetooth adverts cost: 400 sensors, 2,000 adverts a second, over bleak's D-Bus backend on a private bus.

    python -m bench.devices.ble [--seconds 10] [--rate 2000] [--sensors 400]

Every advert is a new measurement, which is the worst case: a real tag sends each one several times. Half the sensors
are RuuviTags, a quarter BTHome, a quarter BTHome encrypted; for the vendors' parsers, all are Govee thermometers.
Measured by /proc in a process of its own: bleak with a callback that does nothing, our drivers with a disk that takes
all at once, and the whole gateway (`coldproof edge run`, its uplink to nowhere). Beside it: the codecs alone.
"""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import logging
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bleak import BleakScanner

from bench.process import cost
from cloud.keys import load_or_create
from edge.clock import SystemClock
from edge.drivers.base import DriverContext
from edge.drivers.ble.codec import bthome, ruuvi
from edge.drivers.ble.codec.advert import Advert
from edge.drivers.ble.codec.bthome import encode_2
from edge.drivers.ble.config import BleConfig
from edge.drivers.ble.driver import BleDriver
from edge.drivers.ble.scanner import PATTERNS
from edge.drivers.ble.vendor import VendorDecoder
from edge.drivers.links import Links
from firmware_sim.bluez.bus import PrivateBus
from firmware_sim.bluez.daemon import SimBluez
from firmware_sim.bluez.radio import Heard

KEY = bytes(range(16))
TICK_S = 0.01
WARM_S = 8.0  # a gateway is open after 2 s, and each device's first readings come at once
SAMPLE_S = 10
FLUSH_EVERY = 20
TARGET_OURS, TARGET_VENDOR = 25.0, 40.0
GOVEE = "govee"


def address(sensor: int) -> str:
    return f"A4:C1:38:00:{sensor >> 8:02X}:{sensor & 0xFF:02X}"


def format_of(sensor: int, kind: str) -> str:
    return GOVEE if kind == GOVEE else "ruuvi" if sensor % 2 == 0 else "bthome"


def is_encrypted(sensor: int) -> bool:
    return sensor % 4 == 3


def advert(sensor: int, number: int, kind: str) -> Heard:
    """The next measurement of a sensor."""
    mac = address(sensor)
    if kind == GOVEE:
        data = b"\x00" + (45_000 + number % 1000).to_bytes(3, "big") + b"\x64\x00"
        return Heard(mac, -60 - number % 20, "GVH5075_0000", manufacturer_data={60552: data})
    if sensor % 2 == 0:
        body = ruuvi.encode_5(
            temperature=-3700 + number % 50,
            humidity_raw=24_480,
            pressure_pa=100_044,
            battery_mv=2977,
            number=number,
            mac=mac,
        )
        return Heard(mac, -60 - number % 20, manufacturer_data={ruuvi.COMPANY: body})
    warm = (-1850 + number % 50).to_bytes(2, "little", signed=True)
    objects = [(0x00, bytes([number % 256])), (0x01, b"W"), (0x02, warm), (0x03, b"\xe8\x17")]
    key = KEY if is_encrypted(sensor) else None
    return Heard(
        mac, -60 - number % 20, service_data={bthome.V2: encode_2(objects, address=mac, bindkey=key, counter=number)}
    )


async def air(bus_address: str, rate: int, sensors: int, kind: str) -> None:
    """The simulated bluetoothd."""
    async with SimBluez(bus_address) as bluez:
        sent, began_s = 0, time.monotonic()
        while True:
            due = int((time.monotonic() - began_s) * rate)
            for nth in range(sent, due):
                bluez.hear(advert(nth % sensors, nth // sensors + 1, kind))
                if nth % FLUSH_EVERY == 0:
                    await bluez.flush()
            sent = due
            await asyncio.sleep(TICK_S)


async def bleak_alone() -> None:
    """A scan whose adverts nobody looks at."""
    count = 0

    def hear(_device: Any, _data: Any) -> None:
        nonlocal count
        count += 1

    async with BleakScanner(hear, scanning_mode="passive", bluez={"adapter": "hci0", "or_patterns": PATTERNS}):
        while True:
            await asyncio.sleep(1)
            print(count, flush=True)


async def drivers_alone(sensors: int, kind: str) -> None:
    """All drivers of a gateway, and a disk that takes everything at once."""
    ctx = DriverContext(SystemClock(), logging.getLogger("bench"), random.Random(1), Links())
    count = 0

    async def emit(observations: Sequence[object]) -> None:
        nonlocal count
        count += len(observations)

    async def one(sensor: int) -> None:
        key = KEY.hex() if format_of(sensor, kind) == "bthome" and is_encrypted(sensor) else None
        config = BleConfig(address=address(sensor), format=format_of(sensor, kind), bindkey=key)
        async with BleDriver(f"s{sensor}", config, ctx) as driver:
            await driver.listen(emit)

    async def tell() -> None:
        while True:
            await asyncio.sleep(1)
            print(count, flush=True)

    async with asyncio.TaskGroup() as group:
        group.create_task(tell())
        for sensor in range(sensors):
            group.create_task(one(sensor))


def gateway_file(folder: Path, sensors: int, kind: str) -> Path:
    """A gateway with all sensors, whose uplink leads nowhere."""
    load_or_create(folder)
    lines = [
        '[gateway]\nname = "gw-bench"\ndata_dir = "data"',
        '[uplink]\nhost = "127.0.0.1"\nport = 9\ncloud_key = "cloud-public.json"',
    ]
    for sensor in range(sensors):
        lines.append(
            f'[[device]]\nname = "s{sensor}"\ndriver = "ble"\naddress = "{address(sensor)}"\n'
            f'format = "{format_of(sensor, kind)}"\ninterval_s = 60\nsample_s = {SAMPLE_S}'
        )
        if format_of(sensor, kind) == "bthome" and is_encrypted(sensor):
            lines.append(f'bindkey = "{KEY.hex()}"')
    path = folder / "gateway.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


def measured(words: list[str], seconds: float) -> tuple[float, float]:
    """(% of a core, RSS in MB) of a process, after it has warmed up."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        time.sleep(WARM_S)
        before, began_s = cost(process.pid), time.monotonic()
        time.sleep(seconds)
        after = cost(process.pid)
        return (after.cpu_s - before.cpu_s) / (time.monotonic() - began_s) * 100, after.rss_mb
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)


def microseconds(work: Callable[[int], object], times: int = 20_000) -> float:
    began_s = time.process_time()
    for number in range(times):
        work(number)
    return (time.process_time() - began_s) / times * 1e6


def codecs() -> None:
    """The decoders alone, each advert a new measurement."""
    tag = [advert(0, number, "") for number in range(20_000)]
    plain, sealed = ([advert(sensor, number, "") for number in range(1, 20_001)] for sensor in (1, 3))
    open_one, sealed_one = bthome.Decoder(address(1)), bthome.Decoder(address(3), KEY)
    print(
        f"  Ruuvi 5: {microseconds(lambda n: ruuvi.decode(tag[n].manufacturer_data[ruuvi.COMPANY])):.1f} µs an advert"
    )
    print(f"  BTHome: {microseconds(lambda n: open_one.decode(plain[n].service_data)):.1f} µs")
    print(f"  BTHome encrypted: {microseconds(lambda n: sealed_one.decode(sealed[n].service_data)):.1f} µs")
    if importlib.util.find_spec("govee_ble") is not None:
        decoder = VendorDecoder(GOVEE)
        heard = [advert(0, number, GOVEE) for number in range(5_000)]
        adverts = [Advert(one.address, one.name, one.rssi_dbm, one.manufacturer_data) for one in heard]
        print(f"  govee-ble: {microseconds(lambda n: decoder.decode(adverts[n], 0.0), 5_000):.1f} µs")


async def compare(seconds: float, rate: int, sensors: int, kind: str, target: float) -> bool:
    """Measure all subjects over one simulated air; whether the gateway keeps its target."""
    me = [sys.executable, "-m", "bench.devices.ble"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        async with PrivateBus(folder) as bus:
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = bus.address
            sky = subprocess.Popen(
                [*me, "--air", bus.address, "--rate", str(rate), "--sensors", str(sensors), "--kind", kind]
            )
            try:
                await asyncio.sleep(1)
                gateway = [
                    sys.executable,
                    "-m",
                    "coldproof.main",
                    "edge",
                    "run",
                    str(gateway_file(folder, sensors, kind)),
                ]
                subjects = {
                    "bleak alone": [*me, "--bleak"],
                    "our drivers": [*me, "--drivers", "--sensors", str(sensors), "--kind", kind],
                    "the gateway": gateway,
                }
                print(f"{kind or 'Ruuvi and BTHome'}: {sensors} sensors, {rate:,} adverts/s")
                at_rate = 0.0
                for subject, words in subjects.items():
                    measuring = asyncio.create_task(asyncio.to_thread(measured, words, seconds))
                    heard = await counted(WARM_S + seconds)  # by another listener, at the same time
                    share, rss_mb = await measuring
                    if heard < rate * 0.9:
                        raise SystemExit(f"{heard:,.0f} of {rate:,} adverts/s arrived: the machine is too busy")
                    at_rate = share * rate / heard
                    each_us = share / 100 / heard * 1e6
                    print(f"  {subject}: {share:.1f} % of a core, {each_us:.0f} µs an advert, {rss_mb:.0f} MB")
                print(f"  target at {rate:,}/s: ≤ {target:g} %, the gateway: {at_rate:.1f} %")
                return at_rate <= target
            finally:
                sky.terminate()
                sky.wait()


async def counted(seconds: float) -> float:
    """Adverts a second that a scan really hears."""
    count = 0

    def hear(_device: Any, _data: Any) -> None:
        nonlocal count
        count += 1

    async with BleakScanner(hear, scanning_mode="passive", bluez={"adapter": "hci0", "or_patterns": PATTERNS}):
        first, began_s = count, time.monotonic()
        await asyncio.sleep(seconds)
        return (count - first) / (time.monotonic() - began_s)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=SAMPLE_S, help="best a multiple of 10: devices are sampled so")
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--sensors", type=int, default=400)
    parser.add_argument("--kind", default="", help=argparse.SUPPRESS)
    parser.add_argument("--air", help=argparse.SUPPRESS)
    parser.add_argument("--bleak", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--drivers", action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.air:
        asyncio.run(air(words.air, words.rate, words.sensors, words.kind))
    elif words.bleak:
        asyncio.run(bleak_alone())
    elif words.drivers:
        asyncio.run(drivers_alone(words.sensors, words.kind))
    else:
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        codecs()
        good = asyncio.run(compare(words.seconds, words.rate, words.sensors, "", TARGET_OURS))
        if importlib.util.find_spec("govee_ble") is None:
            print("govee-ble is not installed: the vendors' parsers are not measured (pip install govee-ble)")
        else:
            good &= asyncio.run(compare(words.seconds, words.rate, words.sensors, GOVEE, TARGET_VENDOR))
        sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
