"""`coldproof edge devices …`: find devices, bind them to places, take them over, watch and test them."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from coldproof.edge_scan import buses_of, finding_text, held_by_gateway, hosts_in, lender, ports_of, progress
from edge.commission import last_scan, letters
from edge.commission.bind import BindRefused, NewPlace, Wish, instant_of
from edge.commission.bind import bind as bind_device
from edge.commission.client import NotRunning, asking
from edge.commission.finder import Asked, Finding
from edge.commission.hand_over import report_of
from edge.commission.installation import InstallationError
from edge.commission.kept import GOOD_NAME, digest, put_back
from edge.commission.network import TooMany, hosts_of, units_of
from edge.commission.pdf import NoPdf, make_pdf
from edge.commission.ports import inputs_in
from edge.commission.scan import scan as scan_for
from edge.commission.words import printable, printable_lines
from edge.config import ConfigError, GatewayConfig, load_config, parse_config
from edge.durable import replace_file

REFUSED, UNUSABLE = 1, 2  # exit statuses
APPLY_SLACK_S = 60.0  # beyond the time for first readings: devices are closed before, and after a roll-back again

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Devices: scan, bind, apply, tail, test, report.")

_Answers = Callable[[float | None], Iterator[letters.Answer]]
Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The gateway's configuration (TOML).")]


@app.command()
def scan(
    config: Config,
    *,
    port: Annotated[list[str] | None, typer.Option(help="This serial port only; may be repeated.")] = None,
    ports_in_folder: Annotated[Path | None, typer.Option("--ports-in", help="All ports in this folder.")] = None,
    host: Annotated[list[str] | None, typer.Option(help="A host to look at; may be repeated.")] = None,
    subnet: Annotated[list[str] | None, typer.Option(help="A network to look at, as 192.168.1.0/24.")] = None,
    units: Annotated[str, typer.Option(help="Modbus addresses to try: 1-16, 1,3,7, or 1-247.")] = "1-16",
    listen: Annotated[float, typer.Option(min=0, max=120, help="Seconds per port to wait for a scan.")] = 0.0,
    radio: Annotated[float, typer.Option(min=0, max=300, help="Seconds to listen for radio sensors.")] = 15.0,
    w1_bus: Annotated[list[str] | None, typer.Option(help="A folder of 1-wire sensors; may be repeated.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="This family of drivers only, as modbus.")] = None,
    lend: Annotated[
        bool, typer.Option("--lend", help="Also ports of the running gateway: its devices on them pause.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One finding a line, as JSON.")] = False,
) -> None:
    """Find devices and say what is wrong with those that don't answer as they should."""
    loaded = _load(config)
    try:
        asked = Asked(
            ports=ports_of(loaded, port, ports_in_folder),
            hosts=hosts_of([*(host or []), *hosts_in(loaded)], subnet or []),
            w1_buses=buses_of(loaded, w1_bus or []),
            inputs=inputs_in(ports_in_folder) if ports_in_folder else [],
            units=units_of(units),
            listen_s=listen,
            radio_s=radio,
            families=only or [],
        )
    except (TooMany, ValueError, OSError) as error:
        _fail(str(error))
    held = held_by_gateway(loaded)
    count = 0

    def found(finding: Finding) -> None:
        nonlocal count
        count += 1
        typer.echo(msgspec.json.encode(finding).decode() if as_json else finding_text(count, finding))

    with progress() as say:
        say(f"{len(asked.ports)} serial ports, {len(asked.hosts)} hosts")
        findings = asyncio.run(scan_for(asked, say, found, held=held, lend=lender(loaded) if lend else None))
    try:
        last_scan.keep(loaded.data_dir, findings, time.time_ns() // 1_000_000)
    except OSError as error:
        _fail(f"the findings cannot be kept in {loaded.data_dir} ({error}): run this as the gateway's user")
    if not as_json:
        _say_what_next(config, findings)


@app.command()
def bind(
    config: Config,
    number: Annotated[int, typer.Argument(min=1, help="The number in the last scan.")],
    *,
    name: Annotated[str, typer.Option("--name", "-n", help="The device's name, as room-1.")],
    place: Annotated[str, typer.Option("--place", "-p", help="The GLN of the place where it is.")],
    sensor: Annotated[str, typer.Option(help="Model and serial number, as on its label.")] = "",
    note: Annotated[str, typer.Option(help="Where exactly it hangs.")] = "",
    interval: Annotated[float, typer.Option(min=1, max=86_400, help="Seconds between two readings.")] = 60.0,
    above: Annotated[float | None, typer.Option(help="Warn at the site when a temperature is above.")] = None,
    below: Annotated[float | None, typer.Option(help="Warn at the site when a temperature is below.")] = None,
    step: Annotated[str | None, typer.Option("--step", "-s", help="A scanner's: pack, store, load or deliver.")] = None,
    place_name: Annotated[str, typer.Option(help="For a new place: its name.")] = "",
    place_name_en: Annotated[str, typer.Option(help="For a new place: its English name.")] = "",
    place_kind: Annotated[str, typer.Option(help="For a new place: packing, storage, vehicle, customer.")] = "storage",
    party: Annotated[str, typer.Option(help="For a new place: the GLN of its company.")] = "",
    valid_from: Annotated[str, typer.Option("--from", help="Since when it is there (ISO 8601); else: now.")] = "",
    registry: Annotated[Path | None, typer.Option(help="The registry document; else registry.toml.")] = None,
) -> None:
    """Name a found device and bind it to a place: writes the configuration and the registry document."""
    loaded = _load(config)
    file = registry or config.with_name("registry.toml")
    try:
        finding = last_scan.pick(loaded.data_dir, number)
        wish = msgspec.convert(
            {
                "name": name,
                "place": place,
                "sensor": sensor,
                "note": note,
                "interval_s": interval,
                "above": above,
                "below": below,
                "step": step,
                "new_place": NewPlace(place_name, place_name_en or place_name, place_kind, party)  # type: ignore[arg-type]
                if place_name
                else None,
                "valid_from": instant_of(valid_from),
            },
            Wish,
            from_attributes=True,
        )
        before = file.read_text("utf-8") if file.exists() else ""
        bound = bind_device(config, loaded.text, before, gateway=loaded.name, finding=finding, wish=wish)
        _write(file, bound.registry)
        _write(config, bound.config)
    except (last_scan.NoScan, BindRefused, ConfigError, msgspec.ValidationError, OSError, UnicodeDecodeError) as error:
        _fail(f"{error}\nnothing was bound")
    typer.echo(f"added to {config}:\n\n{bound.added_config}")
    typer.echo(f"added to {file}:\n\n{bound.added_registry}")
    typer.echo(
        f"next: coldproof edge devices apply {config}; and at the cloud: coldproof cloud registry load {file.name}"
    )


@app.command()
def apply(
    config: Config,
    within: Annotated[float, typer.Option(min=1, max=600, help="Seconds for the first readings to come.")] = 30.0,
    may_be_silent: Annotated[
        list[str] | None, typer.Option("--may-be-silent", metavar="DEVICE", help="Take it over although it is away.")
    ] = None,
) -> None:
    """Let the running gateway take over what CONFIG says now; exit 1 when it was rolled back."""
    loaded = _load(config)
    request = letters.Apply(str(config.absolute()), digest(loaded.text), within, may_be_silent or [])
    with _asked(loaded, request) as answers:
        for answer in answers(within + APPLY_SLACK_S):
            match answer:
                case letters.Said(text):
                    typer.echo(printable_lines(text))
                case letters.Done(text, warnings):
                    for warning in warnings:
                        typer.echo(f"WARNING {printable_lines(warning)}", err=True)
                    typer.echo(text)
                    return
                case letters.Refused(text, file_stands):
                    typer.echo(printable_lines(text), err=True)
                    if file_stands:
                        _put_back(config, loaded)
                    raise typer.Exit(REFUSED)


@app.command()
def tail(
    config: Config,
    names: Annotated[list[str] | None, typer.Argument(help="Devices or channels; none: all.")] = None,
    count: Annotated[int, typer.Option(min=0, help="End after so many; 0: with Ctrl-C.")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One observation a line, as JSON.")] = False,
) -> None:
    """Show what the devices of the running gateway give, as it comes."""
    loaded = _load(config)
    shown = 0
    with _asked(loaded, letters.Tail(names or [])) as answers:
        for answer in answers(None):
            match answer:
                case letters.Seen():
                    typer.echo(msgspec.json.encode(answer).decode() if as_json else printable(answer.line))
                    shown += 1
                    if count and shown >= count:
                        return
                case letters.Said(text) | letters.Refused(text):
                    typer.echo(text, err=True)


@app.command()
def report(
    config: Config,
    output: Annotated[Path, typer.Option("-o", "--output", help="The PDF.")] = Path("installation.pdf"),
    lang: Annotated[str, typer.Option(help="vi or en.")] = "vi",
    registry: Annotated[Path | None, typer.Option(help="The registry document; else registry.toml.")] = None,
) -> None:
    """Write the installation report: devices, places, limits, calibration, first readings, versions, signatures."""
    if lang not in ("vi", "en"):
        _fail(f"--lang {lang}: allowed are vi and en")
    loaded = _load(config)
    look = held_by_gateway(loaded).look
    if look is None:
        _fail("the report tells what the running gateway sees, and none runs (or it isn't yours to ask)")
    try:
        made = report_of(look, loaded, "en" if lang == "en" else "vi", registry=registry)
        output.write_bytes(asyncio.run(make_pdf(made)))
    except (InstallationError, NoPdf, OSError) as error:
        _fail(str(error))
    for fault in made.faults:
        typer.echo(f"to be put right: {printable(fault)}", err=True)
    typer.echo(f"written: {output}")


@app.command("test")
def make_test(
    config: Config,
    kind: Annotated[str, typer.Argument(help="alarm, reading or scan.")],
    channel: Annotated[str, typer.Argument(help="Which channel, as room-1/air or scanner-1/scan.")],
    value: Annotated[str, typer.Argument(help="The number of a reading, or the code of a scan.")] = "",
) -> None:
    """Make a test alarm, reading or scan: it goes the whole way, is marked TEST for ever, and is never evidence."""
    loaded = _load(config)
    try:
        request = msgspec.convert({"do": "test", "kind": kind, "channel": channel, "value": value}, letters.Test)
    except msgspec.ValidationError as error:
        _fail(f"{error}: kind is alarm, reading or scan")
    with _asked(loaded, request) as answers:
        for answer in answers(30.0):
            if isinstance(answer, letters.Refused):
                typer.echo(answer.text, err=True)
                raise typer.Exit(REFUSED)
            if isinstance(answer, letters.Done):
                typer.echo(printable(answer.text))
                return


def _say_what_next(config: Path, findings: list[Finding]) -> None:
    usable = [number for number, finding in enumerate(findings, 1) if finding.table]
    faulty = sum(bool(finding.fault) for finding in findings)
    typer.echo(f"\n{len(findings)} findings, {len(usable)} to bind, {faulty} with a fault", err=True)
    if usable:
        typer.echo(f"next: coldproof edge devices bind {config} {usable[0]} --name … --place GLN", err=True)


@contextmanager
def _asked(
    config: GatewayConfig, request: letters.Request
) -> Iterator[Callable[[float | None], Iterator[letters.Answer]]]:
    """Ask the running gateway; gives a function that gives its answers, each within some seconds."""
    try:
        with asking(config.data_dir, request) as line:
            yield lambda within_s: line.answers(within_s=within_s)
    except NotRunning as error:
        _fail(str(error))
    except KeyboardInterrupt:
        raise typer.Exit(0) from None


def _put_back(config: Path, loaded: GatewayConfig) -> None:
    """The gateway may not write the file (its service sees /etc as read-only); we may."""
    try:
        good = parse_config((loaded.data_dir / GOOD_NAME).read_text("utf-8"), config)
        aside = put_back(good, rejected=loaded.text)
    except (OSError, ConfigError, UnicodeDecodeError) as error:
        _fail(f"{config} could not be put back: {error}")
    typer.echo(f"{config} was put back now; what you tried is in {aside}", err=True)


def _write(path: Path, text: str) -> None:
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o640
    replace_file(path, text.encode(), mode=mode)


def _load(path: Path) -> GatewayConfig:
    try:
        return load_config(path)
    except ConfigError as error:
        _fail(str(error))


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(UNUSABLE)
