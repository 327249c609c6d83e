"""`coldproof cloud rebuild` and `compact`: what is derived from the records is made anew, or folded now."""

from __future__ import annotations

import typer
from sqlalchemy import Engine

from cloud.errors import CloudError
from cloud.garbage import calm
from cloud.ingest.gap_follower import GapFollower
from cloud.rebuild import rebuild
from cloud.telemetry import compactor
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of
from coldproof.outcome import told
from coldproof.progress import progress
from wire.envelope import WireError


def rebuild_command(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Make everything that is derived from the records anew, and fold it; stop the cloud first.

    Ingest waits while it runs. Killed, it has changed nothing, or only not folded everything yet.
    """
    with told(), database(settings_of(config, data_dir)) as engine:
        calm()
        try:
            with progress("read again") as tell:
                done = rebuild(engine, tell)
        except WireError as error:
            raise CloudError(f"a pack in the record is damaged: {error}; nothing was changed, restore it") from error
        GapFollower(engine).run_once()
        folded = _compact(engine)
        removed = f", {done.removed} packs had been removed" if done.removed else ""
        typer.echo(f"rebuilt from {done.packs} packs and {done.events} events{removed}; {folded} blocks folded")


def compact_command(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Fold all readings into chunks now, whatever their age; the cloud may run."""
    with told(), database(settings_of(config, data_dir)) as engine:
        calm()
        typer.echo(f"{_compact(engine)} blocks folded")


def _compact(engine: Engine) -> int:
    with progress("fold") as tell:
        return compactor.compact(engine, lambda done, of: tell(min(1.0, done / max(of, 1))))
