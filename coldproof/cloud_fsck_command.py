"""`coldproof cloud fsck`: everything in the record against the ledger, and the ledger against what was signed."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from cloud.db.engine import reading
from cloud.errors import CloudError
from cloud.fsck.check import check
from cloud.fsck.divergence import Report
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of
from coldproof.outcome import printable
from coldproof.progress import progress

SHOWN = 10
DIVERGES, UNUSABLE = 1, 2


def fsck(
    *,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Derive every root again from the raw rows, and name the first thing that diverges.

    Reads one moment of the database, while the cloud runs or not. Ends with 0 when everything agrees, 1 when something
    diverges, 2 when it could not be checked.
    """
    try:
        with database(settings_of(config, data_dir)) as engine, progress("fsck") as tell, reading(engine) as conn:
            report = check(conn, tell)
    except CloudError as error:
        typer.echo(f"error: {error}", err=True)
        raise typer.Exit(UNUSABLE) from error
    if as_json:
        typer.echo(msgspec.json.encode({"ok": report.ok} | msgspec.to_builtins(report)).decode())
    else:
        _tell(report)
    if not report.ok:
        raise typer.Exit(DIVERGES)


def _tell(report: Report) -> None:
    pruned = f", {report.pruned} of them pruned: removed by retention, with leaf and tombstone" if report.pruned else ""
    typer.echo(f"leaves: {report.leaves}\npacks: {report.packs}{pruned}")
    typer.echo(f"checkpoints: {report.checkpoints}\nstored tiles: {report.tiles}\nother rows: {report.other_rows}")
    if report.ok:
        typer.echo("everything agrees")
        return
    total = len(report.divergences) + report.more
    typer.echo(f"DIVERGES in {total} {'place' if total == 1 else 'places'}, the first one first:")
    for one in report.divergences[:SHOWN]:
        typer.echo(f"  {printable(str(one))}")
    if total > SHOWN:
        typer.echo(f"  … and {total - SHOWN} more, {len(report.divergences)} of them with --json")
