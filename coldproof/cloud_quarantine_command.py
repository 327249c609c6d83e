"""`coldproof cloud quarantine`: what could not be accepted, and judging it again after a fix."""

from __future__ import annotations

from collections import Counter
from typing import Annotated

import msgspec
import typer
from sqlalchemy import Connection, Engine

from cloud.db.engine import reading
from cloud.errors import CloudError
from cloud.ingest import quarantine
from cloud.ingest.record import replay
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of, time_text
from coldproof.outcome import printable, told
from coldproof.progress import Tell, progress

app = typer.Typer(no_args_is_help=True, help="Messages that could not be accepted.")

AT_ONCE = 20  # entries judged and committed together; 256 KiB each at most, and ingest waits for them


@app.command("list")
def list_command(
    config: ConfigOption = None,
    data_dir: DataOption = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000)] = 50,
) -> None:
    """Print the newest entries, newest first, one per line."""
    with told(), database(settings_of(config, data_dir)) as engine, reading(engine) as conn:
        for one in quarantine.headings(conn, limit):
            columns = (one.id, time_text(one.received_ms), f"{one.times}×", one.reason)
            typer.echo("\t".join([*map(str, columns), printable(one.topic) or "(only counted)", printable(one.detail)]))


@app.command()
def show(entry_id: int, config: ConfigOption = None, data_dir: DataOption = None) -> None:
    """Print one entry as JSON, its raw bytes in base64."""
    with told(), database(settings_of(config, data_dir)) as engine, reading(engine) as conn:
        one = quarantine.entry(conn, entry_id)
        if one is None:
            raise _unknown(entry_id)
        typer.echo(msgspec.json.format(msgspec.json.encode(one)).decode())


@app.command("replay")
def replay_command(
    entry_ids: Annotated[list[int] | None, typer.Argument(metavar="[ID]…", help="Entries, as `list` shows.")] = None,
    reason: Annotated[str | None, typer.Option(help="All that were refused for this reason.")] = None,
    *,
    everything: Annotated[bool, typer.Option("--all", help="Every entry.")] = False,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Judge entries again after a fix; the cloud may run meanwhile.

    What is accepted now goes into the record and leaves the quarantine in the same transaction. What is refused stays,
    with the reason of today.
    """
    with told():
        if [bool(entry_ids), reason is not None, everything].count(True) != 1:
            raise CloudError("quarantine replay: name entries by their ids, or --reason, or --all; one of the three")
        with database(settings_of(config, data_dir)) as engine:
            with reading(engine) as conn:
                chosen = _chosen(conn, entry_ids or [], reason)
            with progress("judged again") as tell:
                left, cut = _replay(engine, chosen, tell)
        stayed = sum(left.values())
        typer.echo(
            f"judged again: {len(chosen)}, left the quarantine: {len(chosen) - stayed - cut}, stayed: {stayed + cut}"
        )
        for why, count in sorted(left.items()):
            typer.echo(f"  {why}: {count}")
        if cut:
            typer.echo(f"  not judged, only a part of the message was kept: {cut}")


def _chosen(conn: Connection, entry_ids: list[int], reason: str | None) -> list[int]:
    """The entries that are meant. Raises CloudError for one that is not there."""
    known = quarantine.ids(conn, *([] if reason is None else [reason]))
    if not entry_ids:
        return known
    for one in entry_ids:
        if one not in set(known):
            raise _unknown(one)
    return sorted(set(entry_ids))


def _replay(engine: Engine, chosen: list[int], tell: Tell) -> tuple[Counter[str], int]:
    """Judge again, some at a time; why those stayed that did, and how many could not be judged."""
    left: Counter[str] = Counter()
    cut = 0
    for at in range(0, len(chosen), AT_ONCE):
        some = chosen[at : at + AT_ONCE]
        with reading(engine) as conn:
            found = quarantine.entries(conn, some)
        whole = [one for one in found if one.whole]
        cut += len(found) - len(whole)
        replay(engine, whole)
        with reading(engine) as conn:
            left.update(one.reason for one in quarantine.entries(conn, [one.id for one in whole]))
        tell((at + len(some)) / len(chosen))
    return left, cut


def _unknown(entry_id: int) -> CloudError:
    return CloudError(f"quarantine: no entry {entry_id}; `coldproof cloud quarantine list` shows what there is")
