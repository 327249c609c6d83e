"""`coldproof cloud prune` and `hold`: what is removed after its time, and what is kept beyond it."""

from __future__ import annotations

import getpass
from datetime import UTC, date, datetime
from typing import Annotated

import typer

from cloud.app import open_clock
from cloud.db.engine import reading, writing
from cloud.errors import CloudError
from cloud.retention import holds
from cloud.retention.holds import Hold, Kind, Release
from cloud.retention.pruning import Pruned, Why
from cloud.retention.pruning import prune as prune_packs
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of, time_text
from coldproof.outcome import printable, told
from coldproof.progress import progress

hold_app = typer.Typer(no_args_is_help=True, help="Readings that are kept beyond their time.")
DAY_MS = 86_400_000

OptionalDay = Annotated[str | None, typer.Option(metavar="DATE", help="YYYY-MM-DD, or an instant with its offset.")]
Reason = Annotated[str, typer.Option(help="Why; it is put on record.")]
By = Annotated[str | None, typer.Option(help="In whose name; without it the user of this machine.")]


def prune(
    before: Annotated[
        str, typer.Option(metavar="DATE", help="Packs received and readings taken before this day (UTC).")
    ],
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed.")] = False,
    reason: Annotated[str, typer.Option(help="Why; it is put on record.")] = "",
    by: By = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Remove the bytes of old packs that no stay, frozen evidence or hold refers to; the cloud may run meanwhile.

    Their identities, hashes and leaves stay. Do a --dry-run first, and a backup.
    """
    with told():
        settings = settings_of(config, data_dir)
        before_ms, now_ms = _instant(before, "--before"), open_clock(settings)()
        if before_ms > now_ms - DAY_MS:
            raise CloudError(f"--before {before}: is less than a day ago; what just came is never removed")
        why = None if dry_run else Why(f"prune --before {before}", reason, _who(by))
        with database(settings) as engine, progress("prune") as tell:
            done = prune_packs(engine, before_ms, now_ms, why=why, tell=tell)
        _tell(done, dry_run=dry_run)


@hold_app.command()
def add(
    *,
    reason: Reason,
    lot: Annotated[str | None, typer.Option(metavar="GTIN/LOT", help="A lot, wherever it was.")] = None,
    place: Annotated[str | None, typer.Option(metavar="GLN", help="A place: all that measures there.")] = None,
    series: Annotated[str | None, typer.Option(metavar="GATEWAY/CHANNEL", help="One series.")] = None,
    since: OptionalDay = None,
    until: OptionalDay = None,
    by: By = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Keep the readings of a lot, a place or a series, or with only --since and --until of everything."""
    with told():
        settings = settings_of(config, data_dir)
        if [lot, place, series].count(None) < 2:
            raise CloudError("hold: name a lot, a place or a series, one of them; or only --since and --until")
        kind: Kind = "lot" if lot else "place" if place else "series" if series else "period"
        gtin, number = _pair(lot, "--lot GTIN/LOT")
        gateway, channel = _pair(series, "--series GATEWAY/CHANNEL")
        one = Hold(
            kind=kind,
            reason=reason,
            person=_who(by),
            added_ms=open_clock(settings)(),
            from_ms=None if since is None else _instant(since, "--since"),
            to_ms=None if until is None else _instant(until, "--until"),
            gtin=gtin.zfill(14) if gtin else "",
            lot=number,
            place=place or "",
            gateway=gateway,
            channel=channel,
        )
        with database(settings) as engine, writing(engine) as conn:
            hold_id = holds.add(conn, one)
        typer.echo(f"hold {hold_id}: {_described(one)}")


@hold_app.command("list")
def list_command(config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print every hold there ever was, one per line."""
    with told(), database(settings_of(config, data_dir)) as engine, reading(engine) as conn:
        for one in holds.listed(conn):
            ended = "holds"
            if one.release is not None:
                ended = f"released {time_text(one.release.released_ms)} by {one.release.person}: {one.release.reason}"
            added = f"{time_text(one.hold.added_ms)} by {one.hold.person}: {one.hold.reason}"
            typer.echo("\t".join([str(one.id), *map(printable, (_described(one.hold), added, ended))]))


@hold_app.command()
def release(
    hold_id: int, *, reason: Reason, by: By = None, config: ConfigOption = None, data_dir: DataOption = None
) -> None:
    """End a hold; it stays on record."""
    with told():
        settings = settings_of(config, data_dir)
        one = Release(hold_id, reason, _who(by), open_clock(settings)())
        with database(settings) as engine, writing(engine) as conn:
            holds.release(conn, one)
        typer.echo(f"released: hold {hold_id}")


def _tell(done: Pruned, *, dry_run: bool) -> None:
    would = "would be removed" if dry_run else "removed"
    typer.echo(f"{would}: {done.removed} packs, {done.removed_bytes / 1e6:.1f} MB")
    typer.echo(f"kept, because a stay, frozen evidence or a hold refers to them: {done.needed}")
    typer.echo(f"kept, because they say more than readings or are disputed: {done.other}")
    typer.echo(f"kept, because they hold later readings: {done.later}")


def _described(one: Hold) -> str:
    what = {
        "lot": f"lot {one.gtin}/{one.lot}",
        "place": f"place {one.place}",
        "series": f"series {one.gateway}/{one.channel}",
        "period": "everything",
    }[one.kind]
    since = "" if one.from_ms is None else f" since {time_text(one.from_ms)}"
    return what + since + ("" if one.to_ms is None else f" until {time_text(one.to_ms)}")


def _pair(text: str | None, option: str) -> tuple[str, str]:
    if text is None:
        return "", ""
    first, _, second = text.partition("/")
    if not first or not second:
        raise CloudError(f"{text!r}: write {option}")
    return first, second


def _instant(text: str, option: str) -> int:
    """A day (its beginning, UTC) or an instant with its offset, as ms."""
    try:
        if len(text) == len("2026-01-01"):
            day = date.fromisoformat(text)
            return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise CloudError(
            f"{option} {text!r}: write YYYY-MM-DD, or an instant as in 2026-01-01T00:00:00+07:00"
        ) from error
    if at.tzinfo is None:
        raise CloudError(f"{option} {text!r}: an instant needs its offset, as in 2026-01-01T00:00:00+07:00")
    return int(at.timestamp() * 1000)


def _who(by: str | None) -> str:
    return by or getpass.getuser()
