"""`coldproof edge …`: run a gateway, check its configuration, make its key, see how it is."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import msgspec
import typer

from coldproof.edge_decode_command import decode
from coldproof.edge_devices_command import app as devices_app
from coldproof.edge_metrics import exposition
from coldproof.edge_status import lines
from coldproof.gateway_process import become
from edge.config import ConfigError, GatewayConfig, load_config
from edge.enrol import EnrolError, expires_at
from edge.enrol import enrol as enrol_gateway
from edge.first_config import read_gateway_table, settle_configuration
from edge.health import StatusError, read_health
from edge.keys import NEXT_NAME, PUBLIC_NAME, KeyFileError, load_cloud_key, load_or_make, make_next
from edge.letterbox import CloudRefused, CloudUnreachable
from edge.local import password
from wire.enrolment import CodeError, read_code
from wire.simtime import SharedSimTime, SimTimeError

UNUSABLE = 2  # exit status: the input needs a person

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The gateway: run, check, key, status.")
app.add_typer(devices_app, name="devices")

app.command()(decode)

Config = Annotated[Path, typer.Argument(metavar="CONFIG", help="The gateway's configuration (TOML).")]


@app.command()
def run(
    config: Config,
    log_level: Annotated[str, typer.Option(help="debug, info, warning or error.")] = "info",
) -> None:
    """Run the gateway until SIGTERM or Ctrl-C; what it has recorded is brought away or kept for the next start."""
    level = _level(log_level)
    _load(config)  # what is wrong with it is told before anything else begins
    become(config, level)


@app.command()
def check(config: Config) -> None:
    """Check a configuration without opening anything; print every problem, exit 2 if there is one."""
    loaded = _load(config)
    problems = []
    try:
        load_cloud_key(loaded.uplink.cloud_key, config.parent)
    except KeyFileError as error:
        problems.append(f"{config.name}: uplink.cloud_key: {error}")
    if loaded.simulated_time is not None:
        try:
            SharedSimTime(loaded.simulated_time)
        except SimTimeError as error:
            problems.append(f"{config.name}: clock.simulated: {error}")
    for problem in problems:
        typer.echo(problem, err=True)
    if problems:
        raise typer.Exit(UNUSABLE)
    typer.echo(f"{config}: fine; gateway {loaded.name}, devices: {len(loaded.devices)}")


@app.command()
def key(config: Config) -> None:
    """Make the gateway's key if it has none, and print the path of its public half (for `cloud gateway add`)."""
    loaded = _load(config)
    try:
        load_or_make(loaded.data_dir, loaded.name, simulated=loaded.simulated_time is not None)
    except KeyFileError as error:
        _fail(str(error))
    typer.echo(loaded.data_dir / PUBLIC_NAME)


@app.command()
def enrol(
    code: Annotated[str, typer.Argument(metavar="CODE", help="From `coldproof cloud gateway invite`; - reads it.")],
    config: Annotated[Path, typer.Option(help="The gateway's configuration; written if it isn't there yet.")],
    data_dir: Annotated[
        Path, typer.Option(help="Where key and buffer are, for a configuration that isn't there yet.")
    ] = Path("/var/lib/coldproof-edge"),
) -> None:
    """Make this gateway known to the cloud that gave out CODE; harmless to repeat until the code is used up."""
    try:
        invited = read_code(sys.stdin.read() if code == "-" else code)
        table = read_gateway_table(config)
        name, folder = (invited.gateway, data_dir.absolute()) if table is None else (table.name, table.data_dir)
        simulated = table is not None and table.simulated
        identity = load_or_make(folder, name, simulated=simulated)
        place = enrol_gateway(invited, folder, identity)
        done = settle_configuration(config, invited.gateway, folder, place)
    except (CodeError, ConfigError, EnrolError, KeyFileError, CloudRefused) as error:
        _fail(str(error))
    except CloudUnreachable as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None
    expires = expires_at(folder)
    typer.echo(f"{name}: enrolled at {place.cloud_url}; link certificate good until {expires:%Y-%m-%d}")
    typer.echo(done)


@app.command("rotate-key")
def rotate_key(config: Config) -> None:
    """Make the gateway's next signing key; the gateway takes it up within seconds, or at its next start."""
    loaded = _load(config)
    try:
        identity = load_or_make(loaded.data_dir, loaded.name, simulated=loaded.simulated_time is not None)
        successor = make_next(loaded.data_dir, identity)
    except KeyFileError as error:
        _fail(str(error))
    typer.echo(f"{loaded.name}: key {identity.kid.hex()} will be followed by {successor.kid.hex()}")
    typer.echo(f"done when {NEXT_NAME} is gone from {loaded.data_dir}: the cloud has then receipted the change")


@app.command("local-password")
def local_password(
    config: Config,
    from_input: Annotated[bool, typer.Option("--stdin", help="Read it from standard input instead of asking.")] = False,
) -> None:
    """Set the password of the page that the gateway serves at the site; whoever is signed in is signed out."""
    loaded = _load(config)
    if from_input:
        chosen = sys.stdin.readline().rstrip("\n")
    else:
        typer.echo(f"for example: {password.suggestion()}")
        chosen = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    try:
        password.set_password(loaded.data_dir, chosen)
    except (password.PasswordError, OSError) as error:
        _fail(str(error))
    where = "add [local] to the configuration, and restart the gateway"
    if loaded.local is not None:
        where = f"the page is at http://{loaded.local.listen}:{loaded.local.port}/ while the gateway runs"
    typer.echo(f"the password is set; {where}")


@app.command()
def status(
    config: Config,
    as_json: Annotated[bool, typer.Option("--json", help="The whole status as JSON.")] = False,
    as_prometheus: Annotated[bool, typer.Option("--prometheus", help="As Prometheus text, for a collector.")] = False,
) -> None:
    """Show how the gateway is; exit 1 when it is not running, 2 when that cannot be told."""
    if as_json and as_prometheus:
        _fail("--json and --prometheus: choose one")
    loaded = _load(config)
    try:
        health = read_health(loaded.data_dir)
    except StatusError as error:
        _fail(str(error))
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(health)).decode())
    elif as_prometheus:
        typer.echo(exposition(health), nl=False)
    else:
        for line in lines(health):
            typer.echo(line)
    if not health.fresh:
        raise typer.Exit(1)


def _load(path: Path) -> GatewayConfig:
    try:
        return load_config(path)
    except ConfigError as error:
        _fail(str(error))


def _level(name: str) -> int:
    levels = {"debug": logging.DEBUG, "info": logging.INFO, "warning": logging.WARNING, "error": logging.ERROR}
    if name not in levels:
        _fail(f"--log-level {name}: allowed are {', '.join(levels)}")
    return levels[name]


def _fail(text: str) -> NoReturn:
    typer.echo(text, err=True)
    raise typer.Exit(UNUSABLE)
