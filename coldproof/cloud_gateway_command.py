"""`coldproof cloud gateway …`: who may send packs and get onto the broker, and who no longer."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from cloud.app import open_clock
from cloud.clock import system_now_ms
from cloud.config import CloudConfig
from cloud.db.engine import reading, writing
from cloud.enrol import admission, authority, broker, links, revocation
from cloud.errors import CloudError
from cloud.keys import load_or_create
from cloud.registry import keys as registry_keys
from cloud.registry import query as registry_query
from coldproof.cloud_gateway_ask import ask
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of, time_text
from coldproof.outcome import told
from wire.topics import is_gateway_name

app = typer.Typer(no_args_is_help=True, help="Gateways the cloud accepts packs from.")
app.command("ask")(ask)

DAY_MS = 86_400_000
WARN_DAYS = 20  # gateways renew from 30 days on; ten days of failing are worth a word


@app.command("add")
def add(file: Path, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Accept packs of the gateway whose public half is in FILE."""
    with told():
        settings = settings_of(config, data_dir)
        half = registry_keys.read_public_half(file)
        now = open_clock(settings)
        with database(settings) as engine, writing(engine) as conn:
            added = registry_keys.add_gateway(conn, half, now())
        typer.echo(f"gateway {half.gateway}: {'added' if added else 'is known with this key already'}")


@app.command("invite")
def invite(
    name: str,
    valid: Annotated[str, typer.Option(help="How long the code is good: 90m, 24h, 7d.")] = "24h",
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Print a one-time code for `coldproof edge enrol` on the gateway NAME; it is kept nowhere."""
    with told():
        settings = settings_of(config, data_dir)
        valid_ms = _duration_ms(valid)
        if not is_gateway_name(name):
            raise CloudError(f"{name[:80]!r}: a gateway's name has 1 to 63 lower-case letters, digits and `-`")
        now_ms, key = system_now_ms(), load_or_create(settings.data_dir)
        with database(settings) as engine, writing(engine) as conn:
            known = registry_keys.keys_of(conn, name)
            try:
                code = admission.invite(conn, name, url=settings.public_url, key=key, now_ms=now_ms, valid_ms=valid_ms)
            except ValueError as error:
                raise CloudError(f"public_url: {error}") from error
        typer.echo(code)
        broker_host = settings.enrol.broker_host or settings.public_host
        typer.echo(f"good until {time_text(now_ms + valid_ms)}, once, for {name}; it will look for", err=True)
        typer.echo(f"the cloud at {settings.public_url}", err=True)
        typer.echo(f"the broker at {broker_host}:{settings.enrol.broker_port}", err=True)
        if known:
            typer.echo(f"{name} is known already: with the code it must show the signing key it has", err=True)


@app.command("list")
def list_all(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print the gateways, one per line, with how long their link certificates are good."""
    with told(), database(settings_of(config, data_dir)) as engine, reading(engine) as conn:
        expiries, now_ms = links.expiries(conn), system_now_ms()
        for one in registry_query.gateways(conn):
            kind = "simulated" if one.simulated else "real"
            link = _expiry(expiries.get(one.name), now_ms)
            typer.echo(f"{one.name}\t{kind}\tadded {time_text(one.added_ms)}\t{link}")


@app.command("show")
def show(name: str, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print a gateway's signing keys and link certificates, and until where each of them is good."""
    with told(), database(settings_of(config, data_dir)) as engine, reading(engine) as conn:
        keys = registry_keys.keys_of(conn, name)
        if not keys:
            raise CloudError(f"gateway {name}: not in the registry; `coldproof cloud gateway list` shows what is")
        for key in keys:
            typer.echo(f"key\t{key.kid.hex()}\t{_key_state(key)}")
        for one in links.of_gateway(conn, name):
            state = (
                f"revoked {time_text(one.revoked_ms)}" if one.revoked_ms else f"good until {time_text(one.expires_ms)}"
            )
            typer.echo(f"link\t{one.serial}\t{state}")


@app.command("revoke")
def revoke(
    name: str,
    *,
    reason: Annotated[str, typer.Option(help="Why, for the record.")],
    key: Annotated[str | None, typer.Option(help="Only this signing key, by its id (`gateway show`).")] = None,
    link: Annotated[bool, typer.Option("--link", help="Only the link certificates.")] = False,
    from_seq: Annotated[
        int | None, typer.Option(min=1, help="From this number of its newest stream on; without it: as of now.")
    ] = None,
    stream: Annotated[
        str | None, typer.Option(help="The stream --from-seq counts in, if there is no single newest one.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Take back a gateway's signing keys and link certificates; what came in before stays on record."""
    with told():
        settings = settings_of(config, data_dir)
        if key is not None and link:
            raise CloudError("give --key or --link, or neither for both")
        if stream is not None and from_seq is None:
            raise CloudError("--stream says where --from-seq counts: give both")
        kid = None if key is None else _hex("--key", key)
        now_ms = system_now_ms()
        issuer = authority.load_or_create(settings.data_dir, now_ms)
        with database(settings) as engine, writing(engine) as conn:
            if link:
                serials = revocation.revoke_links(conn, name, reason=reason, now_ms=now_ms)
                withdrawn = revocation.Withdrawn([], serials)
            else:
                registered_ms = open_clock(settings)()
                withdrawn = revocation.revoke(
                    conn,
                    name,
                    kid=kid,
                    link=key is None,
                    from_seq=from_seq,
                    stream=None if stream is None else _hex("--stream", stream),
                    reason=reason,
                    now_ms=registered_ms,
                )
            listed = links.has_listed(conn, name, now_ms)
            revoked = links.revocation_list(conn, issuer, now_ms)
        where = withdrawn.stream
        place = "as of now" if where is None else f"from seq {from_seq} of stream {where.hex()} on"
        for one in withdrawn.keys:
            typer.echo(f"key {one}: revoked {place}")
        for one in withdrawn.certificates:
            typer.echo(f"link certificate {one}: revoked")
        if listed:  # each time: the last one may have failed after all was on record
            _tell_broker(settings, revoked, name)
        if not withdrawn.keys and not withdrawn.certificates:
            raise CloudError(f"gateway {name}: there is nothing to revoke; see `coldproof cloud gateway show {name}`")


@app.command("disconnect")
def disconnect(name: str, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """End the gateway's present connection; whoever's certificate is still good comes back."""
    with told():
        settings = settings_of(config, data_dir)
        now_ms = system_now_ms()
        issuer = authority.load_or_create(settings.data_dir, now_ms)
        host, port = settings.broker.host, settings.enrol.broker_port  # as we reach it, not as gateways do
        revocation.push_out(issuer, name, host=host, port=port, now_ms=now_ms)
        typer.echo(f"{name}: was disconnected, if it was connected")


def _tell_broker(settings: CloudConfig, revoked: bytes, name: str) -> None:
    """Put the list of revoked certificates where the broker reads it."""
    folder = settings.enrol.broker_dir
    path = (folder or settings.data_dir) / broker.REVOKED
    try:
        broker.write_for_broker(path, revoked)
    except OSError as error:
        raise CloudError(
            f"{path}: cannot be written ({error}). The revocation is on record, but the list is NOT in force: the "
            "broker still lets these certificates in. Mend the folder and give the same command again"
        ) from error
    if folder is None:
        typer.echo(f"copy {path} to the broker's folder (or name that folder in [enrol] broker_dir), and")
    else:
        typer.echo(f"written: {path}")
    typer.echo(f"reload the broker, then end the present connection: coldproof cloud gateway disconnect {name}")


def _key_state(key: registry_keys.GatewayKey) -> str:
    states = []
    if key.end is not None:
        states.append(f"{key.end.cause} from seq {key.end.first_seq} of stream {key.end.stream.hex()} on")
    if key.revoked_ms is not None:
        states.append(f"revoked {time_text(key.revoked_ms)}")
    return "; ".join(states) or "good"


def _expiry(expires_ms: int | None, now_ms: int) -> str:
    if expires_ms is None:
        return "no link certificate of ours"
    days = (expires_ms - now_ms) // DAY_MS
    if days < 0:
        return f"LINK CERTIFICATE EXPIRED {time_text(expires_ms)}: enrol it again"
    warning = f"LINK CERTIFICATE EXPIRES IN {days} DAYS: it should have renewed it" if days < WARN_DAYS else "link"
    return f"{warning} until {time_text(expires_ms)}" if warning == "link" else warning


def _duration_ms(text: str) -> int:
    found = re.fullmatch(r"([1-9][0-9]{0,4})([mhd])", text)
    if found is None:
        raise CloudError(f"--valid {text!r}: write a number with m, h or d, as in 24h")
    return int(found[1]) * {"m": 60_000, "h": 3_600_000, "d": DAY_MS}[found[2]]


def _hex(option: str, text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError as error:
        raise CloudError(f"{option} {text!r}: not an id in hex; `coldproof cloud gateway show` lists them") from error
