"""`coldproof demo`: everything on this machine, simulated devices, one lot's journey."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from coldproof.demo.broker import BrokerError
from coldproof.demo.journey import Options, Show, Tell
from coldproof.demo.report import Report
from coldproof.demo.site import SiteError
from coldproof.demo.stage import StageError

app = typer.Typer(add_completion=False)

SIGN_IN_NAME = "sign-in.txt"
STEPS = 10  # how often progress is told where there is no terminal to draw a bar in


@app.command()
def demo(
    *,
    data: Annotated[Path, typer.Option(help="Folder for everything the demonstration writes; emptied first.")] = Path(
        "demo-data"
    ),
    port: Annotated[int, typer.Option(help="Port of the pages; 0 takes a free one.", min=0, max=65535)] = 0,
    seed: Annotated[int, typer.Option(help="Changes the weather and the noise, not the story.")] = 1,
    exit_: Annotated[bool, typer.Option("--exit", help="End after the journey instead of going on live.")] = False,
    json_: Annotated[bool, typer.Option("--json", help="Print what happened as one JSON object.")] = False,
) -> None:
    """Play one lot's two-day journey in about two minutes, on real protocols; then go on live."""
    signal.signal(signal.SIGTERM, _interrupted)
    console = Console(stderr=True, highlight=False)
    try:
        with Show(Options(data, port, seed), _quiet(console)) as show:
            console.print("[bold]coldproof[/] — a lot of frozen shrimp, two days in about two minutes")
            show.open()
            _say_how_to_sign_in(console, show, data)
            with _progress(console) as tell:
                found = show.play(tell)
            _say_result(console, found, json_=json_)
            if not exit_:
                console.print("Going on live. Ctrl-C ends everything.")
                show.live()
    except (BrokerError, SiteError, StageError) as error:
        console.print(f"coldproof demo: {error}", style="red", markup=False)
        raise typer.Exit(2) from error
    except KeyboardInterrupt:
        console.print("ended.")
        raise typer.Exit(0) from None
    raise typer.Exit(0 if found.sound else 1)


def _interrupted(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


def _quiet(console: Console) -> Tell:
    return Tell(step=lambda text: console.print(f"  {text}", markup=False), progress=lambda _share: None)


@contextlib.contextmanager
def _progress(console: Console) -> Iterator[Tell]:
    """A bar in a terminal, a line at every tenth otherwise."""
    if console.is_terminal:
        columns = (TextColumn("two days"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("journey", total=1.0)
            yield Tell(
                step=lambda text: bar.console.print(f"  {text}", markup=False),
                progress=lambda share: bar.update(task, completed=share),
            )
        return
    told = 0

    def tell_tenths(share: float) -> None:
        nonlocal told
        while told < int(share * STEPS):
            told += 1
            console.print(f"  {told * 100 // STEPS} % of the two days")

    yield Tell(step=lambda text: console.print(f"  {text}", markup=False), progress=tell_tenths)


def _say_how_to_sign_in(console: Console, show: Show, folder: Path) -> None:
    lines = [f"{one.role:<9} {one.login:<9} {one.password}" for one in show.sign_ins]
    note = folder / SIGN_IN_NAME
    note.touch(mode=0o600)
    note.write_text("\n".join([show.url, *lines]) + "\n")
    console.print(f"\nOpen [bold]{show.url}[/] and sign in (also in {note}):")
    for line in lines:
        console.print(f"    {line}", markup=False)
    console.print()


def _say_result(console: Console, found: Report, *, json_: bool) -> None:
    if json_:
        sys.stdout.write(msgspec.json.encode(found).decode() + "\n")
        sys.stdout.flush()
    console.print(f"\nLot {found.lot}: [bold]{found.verdict}[/] — {found.url}")
    for stay in found.stays:
        spread = "no readings" if stay.min is None else f"{stay.min:.1f} … {stay.max:.1f} °C, mean {stay.mean:.2f}"
        console.print(
            f"  {stay.place}: {stay.verdict}, {stay.count} readings, {spread}, "
            f"{stay.coverage:.1%} covered, {stay.excursions} excursions, {stay.gaps} gaps",
            markup=False,
        )
    for name, side in (("readings", found.readings), ("scans", found.scans)):
        console.print(
            f"  {name}: {side.produced} produced at the devices, {side.stored} stored, {side.unaccepted} unaccepted at "
            f"the kill, {side.lost} lost, {side.duplicated} doubled"
        )
