"""`coldproof cloud ledger`: the keys that sign the ledger's checkpoints."""

from __future__ import annotations

from typing import Annotated

import typer

from cloud.app import open_clock
from cloud.db.engine import writing
from cloud.ledger import checkpoint, epoch, keys
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of, time_text
from coldproof.outcome import told

app = typer.Typer(no_args_is_help=True, help="The keys that sign the ledger's checkpoints.")


@app.command()
def key(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print the verifier keys of the ledger, newest first: auditors and verifiers are given these lines.

    Behind each key: the size its checkpoints begin at, and until when it signs. The first call makes the first key.
    """
    with told():
        settings = settings_of(config, data_dir, begins=True)
        now_ms = open_clock(settings)()
        with database(settings) as engine, writing(engine) as conn:
            epoch.require_origin(conn, settings.ledger.origin)
            at = epoch.current_or_first(conn, settings.ledger_origin, now_ms)
            keys.signers(conn, settings.data_dir, at.origin, now_ms)
            origins, known = epoch.epochs(conn), keys.known(conn)
        for one in reversed(origins):
            for signing in reversed(known):
                until = "" if signing.ends_ms is None else f"until {time_text(signing.ends_ms)}"
                typer.echo(f"{signing.vkey(one.origin)}\tfrom size {max(signing.first_size, one.base_size)}\t{until}")


@app.command()
def rotate(
    overlap_days: Annotated[
        int, typer.Option(min=0, max=3_650, help="How long the old key signs along; 0 if it was stolen or is lost.")
    ] = keys.OVERLAP_DAYS,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Sign with a new key from now on, and print it. The change is a leaf, and is signed at once."""
    with told():
        settings = settings_of(config, data_dir)
        now_ms = open_clock(settings)()
        with database(settings) as engine, writing(engine) as conn:
            made = keys.rotate(conn, settings.data_dir, now_ms=now_ms, overlap_days=overlap_days)
            signed = checkpoint.sign(conn, settings.data_dir, origin=settings.ledger_origin, now_ms=now_ms)
            at = epoch.current(conn)
        assert at is not None, "a key was changed, so there was one"
        assert signed is not None, "the change is a leaf"
        typer.echo(made.vkey(at.origin))
        typer.echo(
            f"checkpoint {signed.size} is signed by it; back up {keys.key_file(settings.data_dir, made.number)}",
            err=True,
        )


@app.command()
def restored(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Have the ledger go on under a new origin: after its database came back from a backup by other means than ours.

    Before the cloud is started again; `coldproof cloud restore` does it by itself. A second call before the start
    draws another name.
    """
    with told():
        settings = settings_of(config, data_dir)
        now_ms = open_clock(settings)()
        with database(settings) as engine, writing(engine) as conn:
            opened = epoch.open_epoch(conn, now_ms=now_ms)
        typer.echo(f"origin: {opened.origin}")
        typer.echo("start the cloud; give auditors and witnesses what `cloud ledger key` prints then", err=True)
