"""A whole gateway with both kinds of RFID devices: every pass reaches the cloud, also those that a stop cuts short."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from random import Random

from coldproof.demo.broker import LocalBroker
from edge.agent import Stop, run
from edge.config import load_config
from edge.health import StatusError, read_health
from edge.keys import load_or_make
from firmware_sim.devices.log import DeviceLog
from firmware_sim.devices.rfid_module import UhfModule
from firmware_sim.devices.rfid_reader import LlrpReader
from firmware_sim.links import Faults, Link
from tests.edge.receipting_cloud import ReceiptingCloud
from wire.observation import Scan

NAME = "gw-kho-01"
PALLET, CRATE, BOX = "3114257BF4499602D2000000", "3314257BF40C0E400000162E", "3034257BF7194E4000001A85"


async def until(claim: Callable[[], object]) -> None:
    async with asyncio.timeout(15):
        while not claim():
            await asyncio.sleep(0.02)


def configure(folder: Path, cloud: ReceiptingCloud, broker: LocalBroker, port: int) -> Path:
    cloud.write_public_half(folder / "cloud-public.json")
    path = folder / "gateway.toml"
    path.write_text(
        f'[gateway]\nname = "{NAME}"\ndata_dir = "data"\n'
        f'[uplink]\nhost = "{broker.host}"\nport = {broker.port}\ncloud_key = "cloud-public.json"\n'
        "[buffer]\nmin_free_bytes = 1000000\n[seal]\nafter_s = 0.3\n"
        f'[[device]]\nname = "door-1"\ndriver = "llrp"\nhost = "127.0.0.1"\nport = {port}\n'
        "outside = [1]\ninside = [2]\ndwell_s = 0.5\n"
        f'[[device]]\nname = "table"\ndriver = "uhf"\nport = "{folder / "module"}"\ndwell_s = 60\nlongest_s = 60\n'
    )
    load_or_make(folder / "data", NAME)
    cloud.trust(folder / "data" / "gateway-public.json")
    return path


async def test_every_pass_reaches_the_cloud(tmp_path: Path, broker: LocalBroker) -> None:
    cloud = ReceiptingCloud(broker.host, broker.port, NAME)
    link, module_link = Link("reader", Random(1)), Link("module", Random(1))
    with DeviceLog(tmp_path) as log:
        reader = LlrpReader(name="r", channel="door-1", link=link, log=log, now_ms=lambda: 0)
        module = UhfModule(tmp_path / "module", name="m", channel="table", link=module_link, log=log, now_ms=lambda: 0)
        async with reader, module:
            serving = asyncio.create_task(module.serve())
            path = configure(tmp_path, cloud, broker, reader.port)
            cloud.start()
            stop = Stop()
            gateway = asyncio.create_task(run(load_config(path), stop=stop))
            try:
                await until(lambda: _states(tmp_path) == ["up", "up"])
                await reader.pass_by(PALLET, [1, 2], each_s=0.4)
                await until(lambda: any(scan.code == PALLET for scan in _scans(cloud)))
                # the door's link is cut while a crate stands in it, and the gateway stopped while a box is on the table
                crate = asyncio.create_task(reader.pass_by(CRATE, [1], each_s=0.6))
                await asyncio.sleep(0.3)
                await link.change(Faults(unplugged=True))
                await module.pass_by(BOX, for_s=0.3)
                await crate
            finally:
                stop.ask()
                await asyncio.wait_for(gateway, 20)
                serving.cancel()
                await asyncio.gather(serving, return_exceptions=True)
        cloud.stop()
    assert sorted((scan.channel, scan.code) for scan in _scans(cloud)) == [
        ("door-1/in", PALLET),
        ("door-1/pass", CRATE),
        ("table/pass", BOX),
    ]
    assert read_health(tmp_path / "data").buffer.unsent_packs == 0


def _scans(cloud: ReceiptingCloud) -> list[Scan]:
    return [one for one in cloud.observations if isinstance(one, Scan)]


def _states(folder: Path) -> list[str]:
    try:
        return [device.state for device in read_health(folder / "data").devices]
    except StatusError:  # not written yet
        return []
