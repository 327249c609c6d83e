"""`coldproof cloud`: serve, and everything an administrator does at the cloud's side."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from sqlalchemy import Engine

from cloud import config as cloud_config
from cloud.app import open_clock, serve
from cloud.auth import people
from cloud.clock import system_now_ms
from cloud.config import CloudConfig
from cloud.db.engine import migrate as migrate_database
from cloud.db.engine import open_engine, reading, writing
from cloud.enrol import admission, authority, broker, links, revocation
from cloud.errors import CloudError
from cloud.ingest import quarantine
from cloud.keys import PUBLIC_FILE, load_or_create
from cloud.registry import keys as registry_keys
from cloud.registry import load as registry_load
from cloud.registry import query as registry_query
from coldproof.outcome import printable, told
from wire.topics import is_gateway_name

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Run the cloud and look after it.")
gateway_app = typer.Typer(no_args_is_help=True, help="Gateways the cloud accepts packs from.")
registry_app = typer.Typer(no_args_is_help=True, help="Parties, places, read points, sensors, limits, products.")
quarantine_app = typer.Typer(no_args_is_help=True, help="Messages that could not be accepted.")
person_app = typer.Typer(no_args_is_help=True, help="People who may sign in.")
app.add_typer(gateway_app, name="gateway")
app.add_typer(registry_app, name="registry")
app.add_typer(quarantine_app, name="quarantine")
app.add_typer(person_app, name="person")

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The cloud's TOML configuration.")]
DataOption = Annotated[Path | None, typer.Option("--data-dir", help="The data folder, when there is no file.")]
DEFAULT_DATA_DIR = Path("data")
PORT_MAX = 65_535
DAY_MS = 86_400_000
WARN_DAYS = 20  # gateways renew from 30 days on; ten days of failing are worth a word


@app.command("serve")
def serve_command(
    file: Annotated[Path | None, typer.Argument(metavar="[CONFIG]", help="TOML configuration.")] = None,
    data_dir: DataOption = None,
    broker: Annotated[str | None, typer.Option(help="host:port of the MQTT 5 broker.")] = None,
    web: Annotated[str | None, typer.Option(help="host:port to serve pages on.")] = None,
    simulated_time: Annotated[Path | None, typer.Option(help="A simulation's time file.")] = None,
) -> None:
    """Run ingest, scan rules and pages in one process, until SIGTERM."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with told():
        config = _with_options(
            _config(file, data_dir, begins=True), broker=broker, web=web, simulated_time=simulated_time
        )
        typer.echo(f"pages: {config.public_url}  broker: {config.broker.host}:{config.broker.port}")
        serve(config)


@app.command()
def migrate(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Bring the database to this program's schema."""
    with told(), _database(_config(config, data_dir, begins=True)):
        typer.echo("database: up to date")


@app.command()
def key(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print the public half of the cloud's key, for `cloud_key` of the gateways; made on the first call."""
    with told():
        folder = _config(config, data_dir, begins=True).data_dir
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
    workers: Annotated[int, typer.Option(min=1, max=32, help="How many ingest processes there are.")] = 1,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Write a mosquitto configuration with certificates into DIR; made new each time, with the same authority."""
    with told():
        settings = _config(config, data_dir, begins=True)
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
        with _database(settings) as engine, reading(engine) as conn:
            revoked = links.revocation_list(conn, issuer, now_ms)
        files = broker.write(plan, issuer, data_dir=settings.data_dir, revoked=revoked, now_ms=now_ms)
        typer.echo(f"start the broker on it: mosquitto -c {files.config}\nin the configuration of each cloud process:")
        for worker in files.workers:
            typer.echo(
                f'\n[broker]\nhost = "127.0.0.1"\nport = {ingest_port}\nclient_id = "{worker.name}"\n\n'
                f'[broker.tls]\nca = "{worker.trust}"\ncertificate = "{worker.link}"\nkey = "{worker.link}"'
            )


@gateway_app.command("add")
def gateway_add(file: Path, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Accept packs of the gateway whose public half is in FILE."""
    with told():
        settings = _config(config, data_dir)
        half = registry_keys.read_public_half(file)
        now = open_clock(settings)
        with _database(settings) as engine, writing(engine) as conn:
            added = registry_keys.add_gateway(conn, half, now())
        typer.echo(f"gateway {half.gateway}: {'added' if added else 'is known with this key already'}")


@gateway_app.command("invite")
def gateway_invite(
    name: str,
    valid: Annotated[str, typer.Option(help="How long the code is good: 90m, 24h, 7d.")] = "24h",
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Print a one-time code for `coldproof edge enrol` on the gateway NAME; it is kept nowhere."""
    with told():
        settings = _config(config, data_dir)
        valid_ms = _duration_ms(valid)
        if not is_gateway_name(name):
            raise CloudError(f"{name[:80]!r}: a gateway's name has 1 to 63 lower-case letters, digits and `-`")
        now_ms, key = system_now_ms(), load_or_create(settings.data_dir)
        with _database(settings) as engine, writing(engine) as conn:
            known = registry_keys.keys_of(conn, name)
            try:
                code = admission.invite(conn, name, url=settings.public_url, key=key, now_ms=now_ms, valid_ms=valid_ms)
            except ValueError as error:
                raise CloudError(f"public_url: {error}") from error
        typer.echo(code)
        broker_host = settings.enrol.broker_host or settings.public_host
        typer.echo(f"good until {_time(now_ms + valid_ms)}, once, for {name}; it will look for", err=True)
        typer.echo(f"the cloud at {settings.public_url}", err=True)
        typer.echo(f"the broker at {broker_host}:{settings.enrol.broker_port}", err=True)
        if known:
            typer.echo(f"{name} is known already: with the code it must show the signing key it has", err=True)


@gateway_app.command("list")
def gateway_list(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print the gateways, one per line, with how long their link certificates are good."""
    with told(), _database(_config(config, data_dir)) as engine, reading(engine) as conn:
        expiries, now_ms = links.expiries(conn), system_now_ms()
        for one in registry_query.gateways(conn):
            kind = "simulated" if one.simulated else "real"
            link = _expiry(expiries.get(one.name), now_ms)
            typer.echo(f"{one.name}\t{kind}\tadded {_time(one.added_ms)}\t{link}")


@gateway_app.command("show")
def gateway_show(name: str, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print a gateway's signing keys and link certificates, and until where each of them is good."""
    with told(), _database(_config(config, data_dir)) as engine, reading(engine) as conn:
        keys = registry_keys.keys_of(conn, name)
        if not keys:
            raise CloudError(f"gateway {name}: not in the registry; `coldproof cloud gateway list` shows what is")
        for key in keys:
            typer.echo(f"key\t{key.kid.hex()}\t{_key_state(key)}")
        for one in links.of_gateway(conn, name):
            state = f"revoked {_time(one.revoked_ms)}" if one.revoked_ms else f"good until {_time(one.expires_ms)}"
            typer.echo(f"link\t{one.serial}\t{state}")


@gateway_app.command("revoke")
def gateway_revoke(
    name: str,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    key: Annotated[str | None, typer.Option(help="Only this signing key, by its id (`gateway show`).")] = None,
    link: Annotated[bool, typer.Option("--link", help="Only the link certificates.")] = False,
    from_seq: Annotated[
        int | None, typer.Option(min=1, help="From this number of its newest stream on; without it: as of now.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Take back a gateway's signing keys and link certificates; what came in before stays on record."""
    with told():
        settings = _config(config, data_dir)
        if key is not None and link:
            raise CloudError("give --key or --link, or neither for both")
        kid = None if key is None else _kid(key)
        now_ms = system_now_ms()
        issuer = authority.load_or_create(settings.data_dir, now_ms)
        with _database(settings) as engine, writing(engine) as conn:
            if link:
                serials = revocation.revoke_links(conn, name, reason=reason, now_ms=now_ms)
                withdrawn = revocation.Withdrawn([], serials)
            else:
                registered_ms = open_clock(settings)()
                withdrawn = revocation.revoke(
                    conn, name, kid=kid, link=key is None, from_seq=from_seq, reason=reason, now_ms=registered_ms
                )
            revoked = links.revocation_list(conn, issuer, now_ms)
        for one in withdrawn.keys:
            typer.echo(f"key {one}: revoked {'as of now' if from_seq is None else f'from seq {from_seq} on'}")
        for one in withdrawn.certificates:
            typer.echo(f"link certificate {one}: revoked")
        if withdrawn.certificates:
            _tell_broker(settings, revoked, name)
        if not withdrawn.keys and not withdrawn.certificates:
            raise CloudError(f"gateway {name}: there is nothing to revoke; see `coldproof cloud gateway show {name}`")


@gateway_app.command("disconnect")
def gateway_disconnect(name: str, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """End the gateway's present connection; whoever's certificate is still good comes back."""
    with told():
        settings = _config(config, data_dir)
        now_ms = system_now_ms()
        issuer = authority.load_or_create(settings.data_dir, now_ms)
        host, port = settings.broker.host, settings.enrol.broker_port  # as we reach it, not as gateways do
        revocation.push_out(issuer, name, host=host, port=port, now_ms=now_ms)
        typer.echo(f"{name}: was disconnected, if it was connected")


@registry_app.command("load")
def registry_load_command(file: Path, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Load a registry document, all of it or nothing; loading it again changes nothing."""
    with told():
        document = registry_load.read_file(file)
        try:
            with _database(_config(config, data_dir)) as engine, writing(engine) as conn:
                registry_load.load(conn, document)
        except registry_keys.RegistryError as error:
            raise CloudError(f"{file}: {error}") from error
        counts = (f"{len(entries)} {name}" for name, entries in msgspec.structs.asdict(document).items() if entries)
        typer.echo(f"registry: {', '.join(counts) or 'nothing in the file'}")


@quarantine_app.command("list")
def quarantine_list(
    config: ConfigOption = None,
    data_dir: DataOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """Print the newest entries, newest first, one per line."""
    with told(), _database(_config(config, data_dir)) as engine, reading(engine) as conn:
        for one in quarantine.headings(conn, limit):
            columns = (one.id, _time(one.received_ms), f"{one.times}×", one.reason)
            typer.echo("\t".join([*map(str, columns), printable(one.topic) or "(only counted)", printable(one.detail)]))


@quarantine_app.command("show")
def quarantine_show(entry_id: int, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print one entry as JSON, its raw bytes in base64."""
    with told(), _database(_config(config, data_dir)) as engine, reading(engine) as conn:
        one = quarantine.entry(conn, entry_id)
        if one is None:
            raise CloudError(f"quarantine: no entry {entry_id}; `coldproof cloud quarantine list` shows what there is")
        typer.echo(msgspec.json.format(msgspec.json.encode(one)).decode())


@person_app.command("add")
def person_add(
    login: str,
    role: Annotated[str, typer.Option(help="operator (packs, submits) or official (approves, returns).")],
    name: Annotated[str | None, typer.Option(help="The person's name, as pages show it.")] = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Add a person with a generated password, which is printed once and kept nowhere."""
    with told():
        settings = _config(config, data_dir)
        password = people.new_password()
        now = open_clock(settings)
        with _database(settings) as engine, writing(engine) as conn:
            added = people.add_person(conn, login, name or login, role, password, now())
        typer.echo(f"login: {added.login}\npassword: {password}")


def _config(file: Path | None, data_dir: Path | None, *, begins: bool = False) -> CloudConfig:
    """begins: the command may make a new cloud; others must find one, or be told where it is."""
    if file is None and data_dir is None and not begins and not DEFAULT_DATA_DIR.exists():
        raise CloudError(f"no cloud in ./{DEFAULT_DATA_DIR}: name its configuration with --config, or --data-dir")
    if file is None:
        return cloud_config.defaults(data_dir or DEFAULT_DATA_DIR)
    if data_dir is not None:
        raise CloudError("give either a configuration or --data-dir: the configuration names its own data_dir")
    return cloud_config.load(file)


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


@contextmanager
def _database(config: CloudConfig) -> Iterator[Engine]:
    """The migrated database."""
    engine = open_engine(config.database_url)
    try:
        migrate_database(engine)
        yield engine
    finally:
        engine.dispose()


def _tell_broker(settings: CloudConfig, revoked: bytes, name: str) -> None:
    """Put the list of revoked certificates where the broker reads it."""
    folder = settings.enrol.broker_dir
    if folder is None:
        path = settings.data_dir / broker.REVOKED
        broker.write_for_broker(path, revoked)
        typer.echo(f"copy {path} to the broker's folder (or name that folder in [enrol] broker_dir), and")
    else:
        path = folder / broker.REVOKED
        broker.write_for_broker(path, revoked)
        typer.echo(f"written: {path}")
    typer.echo(f"reload the broker, then end the present connection: coldproof cloud gateway disconnect {name}")


def _key_state(key: registry_keys.GatewayKey) -> str:
    states = []
    if key.end is not None:
        states.append(f"{key.end.cause} from seq {key.end.first_seq} of stream {key.end.stream.hex()} on")
    if key.revoked_ms is not None:
        states.append(f"revoked {_time(key.revoked_ms)}")
    return "; ".join(states) or "good"


def _expiry(expires_ms: int | None, now_ms: int) -> str:
    if expires_ms is None:
        return "no link certificate of ours"
    days = (expires_ms - now_ms) // DAY_MS
    if days < 0:
        return f"LINK CERTIFICATE EXPIRED {_time(expires_ms)}: enrol it again"
    warning = f"LINK CERTIFICATE EXPIRES IN {days} DAYS: it should have renewed it" if days < WARN_DAYS else "link"
    return f"{warning} until {_time(expires_ms)}" if warning == "link" else warning


def _duration_ms(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise CloudError(f"--valid {text!r}: write a number with m, h or d, as in 24h")
    return int(found[1]) * {"m": 60_000, "h": 3_600_000, "d": DAY_MS}[found[2]]


def _kid(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise CloudError(f"--key {text!r}: not the id of a key; `coldproof cloud gateway show` lists them") from error


def _time(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
