"""`coldproof cloud backup` and `restore`: all of a cloud in one file, and back again into an empty place."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from cloud.backup import reading, writing
from cloud.backup.manifest import SUFFIX, BackupError, Manifest
from cloud.clock import system_now_ms
from cloud.db.engine import writing as writing_to
from cloud.ledger.epoch import open_epoch
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of, time_text
from coldproof.outcome import told
from coldproof.progress import progress

PREFIX = "coldproof-"
HOUR_MS = 3_600_000


def backup(
    target: Annotated[
        Path, typer.Argument(metavar="FILE|DIR", help="A new file, or a folder for one named by the time.")
    ],
    *,
    keys: Annotated[bool, typer.Option(help="With the secret keys of the data folder.")] = True,
    keep: Annotated[int, typer.Option(min=0, help="In a folder: keep so many, remove older ones; 0 keeps all.")] = 0,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Back up database and keys into one file, while the cloud runs; the file is whole, or not there."""
    with told():
        settings = settings_of(config, data_dir)
        now_ms = system_now_ms()
        file = target / f"{PREFIX}{datetime.fromtimestamp(now_ms / 1000, UTC):%Y%m%dT%H%M%SZ}{SUFFIX}"
        file = file if target.is_dir() else target
        if keep and not target.is_dir():
            raise BackupError(f"--keep {keep}: {target} is no folder; name the folder the backups are in")
        with database(settings) as engine, progress("backup") as tell:
            made = writing.write(engine, settings.data_dir, file, now_ms=now_ms, keys=keys, tell=tell)
        typer.echo(f"backup: {file}")
        _tell_what_is_in_it(made, now_ms)
        for old in _older(target, keep) if keep else ():
            old.unlink()
            typer.echo(f"removed: {old}")


def restore(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A backup.")],
    data: Annotated[
        Path, typer.Option("--data", metavar="DIR", help="Where to: a folder that is empty, or not there.")
    ],
) -> None:
    """Restore a backup into an empty folder, after checking every byte of it, and open a new epoch of the ledger.

    Then start the cloud on that folder: it asks the gateways for what came after the backup.
    """
    with told():
        now_ms = system_now_ms()
        place = data.absolute()
        with progress("restore") as tell:
            manifest, checked = reading.restore(file, place, finish=_finish, tell=tell)
        _tell_what_is_in_it(manifest, now_ms)
        typer.echo(
            f"checked: {checked.leaves} leaves of the ledger, {checked.packs} packs"
            + (f", {checked.pruned} of them removed by retention before" if checked.pruned else "")
        )
        typer.echo(f"restored: {place}")
        if not manifest.with_keys:
            typer.echo(
                "the keys are not in this backup: put cloud-key.pem, ca-key.pem, ca.pem and the keys of the ledger "
                f"into {place} before the start; gateways believe no other cloud",
                err=True,
            )


def _finish(engine: Engine, _folder: Path) -> None:
    """What a restored cloud needs before it starts: its ledger must not sign under the name it had."""
    with writing_to(engine) as conn:
        open_epoch(conn, now_ms=system_now_ms())


def _tell_what_is_in_it(made: Manifest, now_ms: int) -> None:
    age_h = (now_ms - made.made_ms) / HOUR_MS
    newest = "no pack yet" if made.newest_pack_ms is None else f"the newest received {time_text(made.newest_pack_ms)}"
    size_bytes = sum(one.size_bytes for one in made.members)
    typer.echo(f"made: {time_text(made.made_ms)} ({age_h:.1f} h ago), {size_bytes / 1e6:.1f} MB")
    typer.echo(f"packs: {made.packs} of {made.gateways} gateways, {newest}")
    typer.echo(f"ledger: {made.ledger_size} leaves, root {made.ledger_root}")
    keys = len(made.members) - 1 if made.with_keys else "no"
    typer.echo(f"schema: {made.revision}, {keys} files beside the database")


def _older(folder: Path, keep: int) -> list[Path]:
    """Backups named by their time beyond the newest `keep`."""
    return sorted(folder.glob(f"{PREFIX}[0-9]*Z{SUFFIX}"))[:-keep]
