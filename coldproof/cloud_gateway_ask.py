"""`coldproof cloud gateway ask`: ask a gateway for packs that are missing here."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

import typer
from sqlalchemy import Connection

from cloud.app import open_clock
from cloud.db.engine import reading, writing
from cloud.errors import CloudError
from cloud.ingest import command, completeness
from cloud.ingest.gap_follower import GapFollower
from cloud.ingest.settled import Range
from cloud.keys import load_or_create
from cloud.registry import query as registry_query
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of
from coldproof.outcome import told
from wire.command import RANGES_MAX
from wire.rule import STREAM_BYTES

STREAMS_SHOWN = 16


def ask(
    name: str,
    *,
    stream: Annotated[
        str | None, typer.Option(help="Only this stream, by its id in hex or the beginning of it.")
    ] = None,
    first: Annotated[int | None, typer.Option("--from", min=1, help="From this number on (with --stream).")] = None,
    last: Annotated[int | None, typer.Option("--to", min=1, help="Up to this number (with --stream).")] = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Ask the gateway NAME for the packs that are missing here; `coldproof cloud serve` sends the commands."""
    with told():
        settings = settings_of(config, data_dir)
        if stream is None and (first is not None or last is not None):
            raise CloudError("--from and --to say where in a stream: name it with --stream")
        now_ms = open_clock(settings)()
        with database(settings) as engine:
            GapFollower(engine).run_once()
            with reading(engine) as conn:
                if registry_query.gateway(conn, name) is None:
                    raise CloudError(
                        f"gateway {name}: not in the registry; `coldproof cloud gateway list` shows what is"
                    )
                wanted = _wanted(conn, name, stream, first, last)
            key = load_or_create(settings.data_dir)
            with writing(engine) as conn:
                for one, ranges in wanted.items():
                    command.send_again(conn, key, name, one, ranges, now_ms=now_ms)
        if not wanted:
            typer.echo(f"gateway {name}: nothing of that is missing here")
        for one, ranges in wanted.items():
            typer.echo(f"{one.hex()}\t{_text(ranges)}\tasked")


def _wanted(
    conn: Connection, name: str, stream: str | None, first: int | None, last: int | None
) -> dict[bytes, list[Range]]:
    """What is to be asked for, by stream. Raises CloudError."""
    heads = completeness.heads_of(conn, name)
    if stream is None:
        found = {
            one: completeness.missing_ranges(conn, name, one, (1, head), RANGES_MAX) for one, head in heads.items()
        }
        return {one: found[one] for one in sorted(found) if found[one]}
    named = _stream(heads, name, stream)
    low, high = first or 1, last or heads[named]
    if high < low:
        raise CloudError(f"--from {low} --to {high}: the range ends before it begins")
    ranges = completeness.missing_ranges(conn, name, named, (low, high), RANGES_MAX)
    beyond = max(low, heads[named] + 1)
    if beyond <= high and len(ranges) < RANGES_MAX:
        ranges.append((beyond, high))  # whoever names it knows that the gateway has more
    return {named: ranges} if ranges else {}


def _stream(heads: Collection[bytes], name: str, text: str) -> bytes:
    """The stream whose id begins so. Raises CloudError unless there is exactly one."""
    found = [one for one in heads if one.hex().startswith(text.lower())]
    if len(found) != 1:
        shown = ", ".join(sorted(one.hex()[:8] for one in heads)[:STREAMS_SHOWN]) or "none"
        which = f"{len(found)} streams of gateway {name} begin" if found else f"no stream of gateway {name} begins"
        raise CloudError(f"--stream {text[: 2 * STREAM_BYTES]!r}: {which} so; there are: {shown}")
    return found[0]


def _text(ranges: list[Range]) -> str:
    shown = [str(low) if low == high else f"{low}-{high}" for low, high in ranges[:8]]
    return ",".join(shown) + (f",… ({len(ranges)} ranges)" if len(ranges) > 8 else "")
