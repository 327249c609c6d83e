"""What RFID costs: 2,000 tag reads a second over LLRP, from llrpkit's emulator in a process of its own.

    python -m bench.devices.rfid [--seconds 10] [--rate 2000] [--tags 200]

The emulator reports each read in a message of its own, which is the worst case. TAGS tags are in the field at a time
and each stays for ten seconds, so passes end all the time. Measured by /proc in a process of its own: llrpkit's own
client with a loop that does nothing, our driver with a disk that takes all at once, and the whole gateway
(`coldproof edge run`, its uplink to nowhere). Beside it: the codecs alone.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from llrpkit import Reader, TagReport
from llrpkit.emulator.core import EmulatedTag, LLRPEmulator
from llrpkit.protocol import decode_message, messages, params

from bench.process import cost
from cloud.keys import load_or_create
from edge.clock import SystemClock
from edge.drivers.base import DriverContext
from edge.drivers.links import Links
from edge.drivers.llrp.codec import Decoder
from edge.drivers.llrp.config import LlrpConfig
from edge.drivers.llrp.driver import LlrpDriver
from edge.drivers.rfid.passes import Collapser
from edge.drivers.uhf.codec import Decoder as FrameDecoder
from edge.drivers.uhf.codec import Seen, encode, notice, seen_in
from edge.health import read_health
from wire.observation import Observation, Scan

WARM_S = 4.0
STAY_S = 10.0
TARGET = 25.0  # % of a core


def epc(number: int) -> bytes:
    return bytes.fromhex("3034257BF7194E40") + number.to_bytes(4)


async def field(port: int, rate: int, tags: int) -> None:
    """The emulator, and tags that come and go."""
    present = [EmulatedTag(epc=epc(number), antennas=(1 + number % 2,)) for number in range(tags)]
    async with LLRPEmulator(port=port, tags=present, reads_per_sec=rate, antenna_count=2) as emulator:
        began_s, gone = time.monotonic(), 0
        while True:
            while gone < int((time.monotonic() - began_s) * tags / STAY_S):
                number = gone + tags
                emulator.tags[gone % tags] = EmulatedTag(epc=epc(number), antennas=(1 + number % 2,))
                gone += 1
            await asyncio.sleep(0.05)


async def client_alone(port: int) -> None:
    """llrpkit's client, whose tags nobody looks at."""
    async with Reader("127.0.0.1", port) as reader:
        async for _ in reader.inventory():
            pass


async def driver_alone(port: int) -> None:
    """Our driver, and a disk that takes everything at once; tells how many reads its passes held."""
    ctx = DriverContext(SystemClock(), logging.getLogger("bench"), random.Random(1), Links())
    reads = passes = 0
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, asyncio.current_task().cancel)  # type: ignore[union-attr]
    began_s = time.monotonic()

    async def emit(observations: Sequence[Observation]) -> None:
        nonlocal reads, passes
        reads += sum(one.count for one in observations if isinstance(one, Scan))
        passes += len(observations)

    driver = LlrpDriver("door", LlrpConfig(host="127.0.0.1", port=port, outside=(1,), inside=(2,)), ctx)
    try:
        async with driver:
            await driver.listen(emit)
    except asyncio.CancelledError:
        took_s = time.monotonic() - began_s
        await emit(driver.leftovers())
        print(f"{reads / took_s:.0f} {passes / took_s:.1f}")


def gateway_file(folder: Path, port: int) -> Path:
    """A gateway with the reader, whose uplink leads nowhere."""
    load_or_create(folder)
    path = folder / "gateway.toml"
    path.write_text(
        '[gateway]\nname = "gw-bench"\ndata_dir = "data"\n'
        '[uplink]\nhost = "127.0.0.1"\nport = 9\ncloud_key = "cloud-public.json"\n'
        f'[[device]]\nname = "door"\ndriver = "llrp"\nhost = "127.0.0.1"\nport = {port}\n'
        "outside = [1]\ninside = [2]\n"
    )
    return path


def measured(words: list[str], seconds: float) -> tuple[float, float, str]:
    """(% of a core, RSS in MB, last words) of a process, after it has warmed up."""
    process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        time.sleep(WARM_S)
        before, began_s = cost(process.pid), time.monotonic()
        time.sleep(seconds)
        after = cost(process.pid)
        share = (after.cpu_s - before.cpu_s) / (time.monotonic() - began_s) * 100
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=60)
    return share, after.rss_mb, said.strip()


def microseconds(work: Callable[[int], object], times: int = 20_000) -> float:
    began_s = time.process_time()
    for number in range(times):
        work(number)
    return (time.process_time() - began_s) / times * 1e6


def codecs() -> None:
    """The decoders and the collapser alone."""
    tag = params.TagReportData(
        epc_parameter=params.EPC_96(epc=epc(1)),
        antenna_id=params.AntennaID(antenna_id=1),
        peak_rssi=params.PeakRSSI(peak_rssi=-50),
        first_seen_timestamp_utc=params.FirstSeenTimestampUTC(microseconds=1),
        last_seen_timestamp_utc=params.LastSeenTimestampUTC(microseconds=1),
        tag_seen_count=params.TagSeenCount(tag_count=1),
    )
    report = messages.RO_ACCESS_REPORT(tag_report_datas=[tag]).to_bytes(message_id=1)
    decoder, frames = Decoder(), FrameDecoder()
    frame = encode(notice(Seen(epc(1), -50)))
    collapser, stamp = Collapser(dwell_ms=5000, longest_ms=300_000, outside=(1,), inside=(2,)), SystemClock().stamp()

    def theirs(_: int) -> None:
        for one in decode_message(report).tag_report_datas:  # type: ignore[attr-defined]
            TagReport.from_param(one)

    ours_us, theirs_us = microseconds(lambda _: decoder.feed(report)), microseconds(theirs)
    print(f"  LLRP report of a tag: {ours_us:.1f} µs (llrpkit: {theirs_us:.1f} µs)")
    print(f"  UHF notice: {microseconds(lambda _: [seen_in(one) for one in frames.feed(frame)]):.1f} µs")  # type: ignore[arg-type]
    print(
        f"  collapser: {microseconds(lambda n: collapser.add(f'{n % 200:024X}', stamp, 1 + n % 2, -50)):.1f} µs a read"
    )


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


def compare(seconds: float, rate: int, tags: int) -> bool:
    """Measure all subjects over one field; whether the gateway keeps its target."""
    me, port = [sys.executable, "-m", "bench.devices.rfid"], free_port()
    world = ["--port", str(port), "--rate", str(rate), "--tags", str(tags)]
    reads = float(rate)
    with tempfile.TemporaryDirectory() as name:
        gateway = [sys.executable, "-m", "coldproof.main", "edge", "run", str(gateway_file(Path(name), port))]
        subjects = {
            "our driver": [*me, *world, "--driver"],
            "llrpkit's client": [*me, *world, "--client"],
            "the gateway": gateway,
        }
        share = 0.0
        for subject, words in subjects.items():
            emulator = subprocess.Popen([*me, *world, "--field"])  # a fresh one: it has one client at a time
            try:
                time.sleep(1.5)
                share, rss_mb, said = measured(words, seconds)
                busy = cost(emulator.pid).cpu_s / (WARM_S + seconds + 1.5) * 100
            finally:
                emulator.terminate()
                emulator.wait()
            if said:
                reads = float(said.split()[0])
                print(f"{tags} tags in the field, {reads:,.0f} reads/s arrive, {said.split()[1]} passes/s end")
            each_us = share / 100 / reads * 1e6
            told = f"{share:.1f} % of a core, {each_us:.0f} µs a read, {rss_mb:.0f} MB"
            print(f"  {subject}: {told} (emulator {busy:.0f} %)")
        health = read_health(Path(name) / "data")
        states = {device.name: device.state for device in health.devices}
        print(f"  the gateway has recorded {health.intake.accepted:,} observations; device states: {states}")
        if health.intake.accepted < tags:
            sys.exit("the gateway did not record the passes: the figure above says nothing")
        at_rate = share * rate / reads
        print(f"  target at {rate:,}/s: ≤ {TARGET:g} %, the gateway: {at_rate:.1f} %")
        return at_rate <= TARGET


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--rate", type=int, default=2000)
    parser.add_argument("--tags", type=int, default=200)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    for role in ("--field", "--client", "--driver"):
        parser.add_argument(role, action="store_true", help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.field:
        asyncio.run(field(words.port, words.rate, words.tags))
    elif words.client:
        asyncio.run(client_alone(words.port))
    elif words.driver:
        asyncio.run(driver_alone(words.port))
    else:
        print(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        codecs()
        sys.exit(0 if compare(words.seconds, words.rate, words.tags) else 1)


if __name__ == "__main__":
    main()
