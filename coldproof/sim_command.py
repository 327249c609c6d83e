"""`coldproof sim`: simulated devices of a scenario, as real serial ports and sockets."""

from __future__ import annotations

import asyncio
import signal
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from firmware_sim.control import ControlError, ask
from firmware_sim.devices.log import PRODUCED_NAME
from firmware_sim.devices.recorded import RecordedError
from firmware_sim.machinery import DEVICES_NAME
from firmware_sim.parts import DevicePlace
from firmware_sim.run import CONTROL_NAME, run
from firmware_sim.scenario import Scenario, ScenarioError, find, load
from wire.simtime import Segment, SimTime, SimTimeError, write

app = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Simulated devices on real serial ports and sockets."
)


@app.callback()
def _group() -> None:
    """Simulated devices on real serial ports and sockets."""


@app.command("run")
def run_scenario(
    scenario: Annotated[str, typer.Argument(help="a scenario file, or the name of a built-in one: demo, warehouse")],
    folder: Annotated[Path | None, typer.Option("--dir", help="where ports and logs go; default: a new one")] = None,
    time_path: Annotated[Path | None, typer.Option("--time", help="file of simulated time; default: real time")] = None,
    seed: Annotated[int | None, typer.Option(help="for physics and noise; default: the scenario's")] = None,
) -> None:
    """Play a scenario until stopped (Ctrl-C or SIGTERM)."""
    try:
        path = find(scenario)
        loaded = load(path)
        where = Path(tempfile.mkdtemp(prefix="coldproof-sim-")) if folder is None else folder
        where.mkdir(parents=True, exist_ok=True)
        clock = _real_time(where) if time_path is None else time_path
        _announce(loaded, where)
        asyncio.run(_until_stopped(loaded, where, clock, loaded.seed if seed is None else seed, path.parent))
    except (ScenarioError, SimTimeError, RecordedError, ControlError) as error:
        sys.exit(f"coldproof sim: {error}")
    except OSError as error:
        sys.exit(f"coldproof sim: {error.filename or 'network'}: {error.strerror or error}")


@app.command("scan")
def scan_code(
    folder: Annotated[Path, typer.Argument(help="the folder of a running simulation")],
    scanner: Annotated[str, typer.Argument(help="which scanner, as in its scenario")],
    code: Annotated[str, typer.Argument(help="what to scan")],
    symbology: Annotated[str, typer.Option(help="the AIM identifier's two letters")] = "C1",
) -> None:
    """Scan something with a simulated scanner, as soon as somebody listens to it."""
    try:
        asyncio.run(ask(folder / CONTROL_NAME, f"scan {scanner} {symbology} {code}"))
    except ControlError as error:
        sys.exit(f"coldproof sim: {error}")
    except OSError as error:
        sys.exit(f"coldproof sim: no simulation runs in {folder} ({error.strerror or error})")


def _real_time(folder: Path) -> Path:
    """A file of simulated time that runs as fast as the wall clock."""
    path = folder / "time.json"
    write(path, SimTime([Segment(time.monotonic(), time.time() * 1000, 1.0)]))
    return path


def _announce(scenario: Scenario, folder: Path) -> None:
    print(f"{scenario.title} / {scenario.title_en}")
    print(f"  devices  {folder / DEVICES_NAME}")
    print(f"  log      {folder / PRODUCED_NAME}")
    print(f"  control  {folder / CONTROL_NAME}", flush=True)


def _tell_places(folder: Path, places: Mapping[str, DevicePlace]) -> None:
    """Where an installer would look for them; a twin or a second device at one place is not told again."""
    ports = sorted({Path(place.port).name for place in places.values() if place.port})
    hosts = sorted({f"{place.host}:{place.tcp_port}" for place in places.values() if place.host})
    wires = sorted({place.folder for place in places.values() if place.folder})
    told = {
        f"ports    {folder.absolute() / 'dev'}": ports,
        "hosts   ": hosts,
        "1-wire  ": wires,
        "radio    export": [f"DBUS_SYSTEM_BUS_ADDRESS={place.dbus}" for place in places.values() if place.dbus][:1],
    }
    for what, found in told.items():
        if found:
            print(f"  {what} {' '.join(found)}")
    print("  ready", flush=True)


async def _until_stopped(scenario: Scenario, folder: Path, time_path: Path, seed: int, files: Path) -> None:
    playing = asyncio.create_task(
        run(
            scenario,
            folder,
            time_path,
            seed,
            files=files,
            ready=lambda machinery: _tell_places(folder, machinery.places),
        ),
        name="scenario",
    )
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, playing.cancel)
    await asyncio.wait([playing])
    if not playing.cancelled():
        try:
            playing.result()
        except ExceptionGroup as failed:  # one task failed and ended the others: its error says it all
            raise failed.exceptions[0] from failed
