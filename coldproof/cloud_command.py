"""`coldproof cloud`: serve, and everything an administrator does at the cloud's side."""

from __future__ import annotations

import enum
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from cloud import log
from cloud.app import ingest, serve
from cloud.clock import system_now_ms
from cloud.config import CloudConfig
from cloud.db.engine import reading, writing
from cloud.enrol import authority, broker, links
from cloud.errors import CloudError
from cloud.keys import PUBLIC_FILE, load_or_create
from cloud.registry import keys as registry_keys
from cloud.registry import load as registry_load
from coldproof.cloud_backup_command import backup, restore
from coldproof.cloud_bundle_command import bundle
from coldproof.cloud_fsck_command import fsck
from coldproof.cloud_gateway_command import app as gateway_app
from coldproof.cloud_ledger_command import app as ledger_app
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of
from coldproof.cloud_person_command import app as person_app
from coldproof.cloud_quarantine_command import app as quarantine_app
from coldproof.cloud_retention_command import hold_app, prune
from coldproof.cloud_store_command import compact_command, rebuild_command
from coldproof.outcome import told

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run the cloud and look after it.")
registry_app = typer.Typer(no_args_is_help=True, help="Parties, places, read points, sensors, limits, products.")
app.add_typer(gateway_app, name="gateway")
app.add_typer(ledger_app, name="ledger")
app.add_typer(registry_app, name="registry")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(person_app, name="person")
app.add_typer(hold_app, name="hold")
app.command()(prune)

app.command()(backup)
app.command()(bundle)
app.command()(restore)
app.command()(fsck)

PORT_MAX = 65_535
WORKERS_MAX = 32


class LogFormat(enum.StrEnum):
    """Lines for people, or JSON."""

    TEXT = "text"
    JSON = "json"


@app.command("serve")
def serve_command(
    file: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="TOML configuration.")] = None,
    data_dir: DataOption = None,
    *,
    broker: Annotated[str | None, typer.Option(help="host:port of the MQTT 5 broker.")] = None,
    web: Annotated[str | None, typer.Option(help="host:port to serve pages on.")] = None,
    simulated_time: Annotated[Path | None, typer.Option(help="A simulation's time file.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option("--log", help="How the log is written.")] = None,
) -> None:
    """Run ingest, scan rules and pages in one process, until SIGTERM."""
    with told():
        config = _with_options(
            settings_of(file, data_dir, begins=True), broker=broker, web=web, simulated_time=simulated_time
        )
        log.set_up(log_format or config.logging.format)
        typer.echo(f"pages: {config.public_url}  broker: {config.broker.host}:{config.broker.port}")
        serve(config)


@app.command("ingest")
def ingest_command(
    file: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="TOML configuration of the cloud.")] = None,
    data_dir: DataOption = None,
    worker: Annotated[int | None, typer.Option(min=2, max=WORKERS_MAX, help="Which worker; 1 is `serve`'s.")] = None,
    web: Annotated[str | None, typer.Option(help="host:port for /healthz and /metrics.")] = None,
    log_format: Annotated[LogFormat | None, typer.Option("--log", help="How the log is written.")] = None,
) -> None:
    """Run one more ingest worker beside `serve`, on PostgreSQL, until SIGTERM."""
    with told():
        config = settings_of(file, data_dir)
        if worker is not None:
            config = msgspec.structs.replace(config, broker=broker.as_worker(config.broker, config.data_dir, worker))
        log.set_up(log_format or config.logging.format)
        typer.echo(f"worker: {config.broker.client_id}  broker: {config.broker.host}:{config.broker.port}")
        ingest(config, None if web is None else _address(web, "--web"))


app.command("rebuild")(rebuild_command)
app.command("compact")(compact_command)


@app.command()
def migrate(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Bring the database to this program's schema."""
    with told(), database(settings_of(config, data_dir, begins=True)):
        typer.echo("database: up to date")


@app.command()
def key(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print the public half of the cloud's key, for `cloud_key` of the gateways; made on the first call."""
    with told():
        folder = settings_of(config, data_dir, begins=True).data_dir
        typer.echo(load_or_create(folder).public_half.decode(), nl=False)
        typer.echo(f"also in {folder / PUBLIC_FILE}", err=True)


@app.command("broker-config")
def broker_config(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the broker's files go.")],
    *,
    host: Annotated[list[str] | None, typer.Option(help="A name or address gateways reach the broker by.")] = None,
    port: Annotated[int, typer.Option(min=1, max=PORT_MAX, help="For gateways.")] = 8883,
    ingest_port: Annotated[int, typer.Option(min=1, max=PORT_MAX, help="For ingest workers.")] = 8884,
    listen: Annotated[str, typer.Option(help="The address for gateways; all of them if empty.")] = "",
    ingest_listen: Annotated[str, typer.Option(help="The address for workers; all of them if empty.")] = "127.0.0.1",
    state: Annotated[Path, typer.Option(help="Where the broker keeps sessions.")] = Path("/var/lib/mosquitto"),
    user: Annotated[str, typer.Option(help="Whom mosquitto becomes when root starts it.")] = "mosquitto",
    workers: Annotated[int, typer.Option(min=1, max=WORKERS_MAX, help="How many ingest processes there are.")] = 1,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Write a mosquitto configuration with certificates into DIR; made new each time, with the same authority."""
    with told():
        settings = settings_of(config, data_dir, begins=True)
        now_ms = system_now_ms()  # certificates are about the real world, whatever time is simulated
        issuer = authority.load_or_create(settings.data_dir, now_ms)
        plan = broker.BrokerPlan(
            folder=folder,
            state=state,
            hosts=list(dict.fromkeys([*(host or []), "127.0.0.1", "localhost"])),
            port=port,
            ingest_port=ingest_port,
            listen=listen,
            ingest_listen=ingest_listen,
            user=user,
            workers=workers,
        )
        with database(settings) as engine, reading(engine) as conn:
            revoked = links.revocation_list(conn, issuer, now_ms)
        files = broker.write(plan, issuer, data_dir=settings.data_dir, revoked=revoked, now_ms=now_ms)
        typer.echo(f"start the broker on it: mosquitto -c {files.config}\nin the configuration of each cloud process:")
        for worker in files.workers:
            typer.echo(
                f'\n[broker]\nhost = "127.0.0.1"\nport = {ingest_port}\nclient_id = "{worker.name}"\n\n'
                f'[broker.tls]\nca = "{worker.trust}"\ncertificate = "{worker.link}"\nkey = "{worker.link}"'
            )


@registry_app.command("load")
def registry_load_command(file: Path, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Load a registry document, all of it or nothing; loading it again changes nothing."""
    with told():
        document = registry_load.read_file(file)
        try:
            with database(settings_of(config, data_dir)) as engine, writing(engine) as conn:
                registry_load.load(conn, document)
        except registry_keys.RegistryError as error:
            raise CloudError(f"{file}: {error}") from error
        counts = (f"{len(entries)} {name}" for name, entries in msgspec.structs.asdict(document).items() if entries)
        typer.echo(f"registry: {', '.join(counts) or 'nothing in the file'}")


def _with_options(
    config: CloudConfig, *, broker: str | None, web: str | None, simulated_time: Path | None
) -> CloudConfig:
    replace = msgspec.structs.replace
    if broker is not None:
        host, port = _address(broker, "--broker")
        config = replace(config, broker=replace(config.broker, host=host, port=port))
    if web is not None:
        host, port = _address(web, "--web")
        config = replace(config, web=replace(config.web, host=host, port=port), public_url=f"http://{host}:{port}")
    if simulated_time is not None:
        config = replace(config, simulated_time=simulated_time.absolute())
    return config


def _address(text: str, option: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or not 1 <= int(port) <= PORT_MAX:
        raise CloudError(f"{option} {text!r}: write host:port, as in 127.0.0.1:1883")
    return host.strip("[]"), int(port)
