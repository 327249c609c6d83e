"""`coldproof cloud bundle`: the evidence bundle of gateways over a period."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from cloud.app import open_clock
from cloud.bundle.make import Ledger, period_bundle
from cloud.db.engine import reading
from cloud.errors import Rejected
from cloud.instant import to_ms
from cloud.registry import query as registry
from coldproof.bundle_file import save, tell
from coldproof.cloud_options import ConfigOption, DataOption, database, settings_of
from coldproof.outcome import told
from coldproof.progress import progress


def bundle(
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write it; replaced if it is there.")
    ],
    begin: Annotated[
        str, typer.Option("--from", metavar="TIME", help="ISO 8601 with offset, e.g. 2026-03-01T00:00+07:00.")
    ],
    end: Annotated[str, typer.Option("--to", metavar="TIME", help="As --from; the first instant that is not in it.")],
    *,
    gateway: Annotated[
        list[str] | None, typer.Option("--gateway", metavar="NAME", help="Of this gateway only; may be given again.")
    ] = None,
    config: ConfigOption = None,
    data_dir: DataOption = None,
) -> None:
    """Write the evidence bundle of a period: packs, events, proofs, keys. `coldproof verify` checks it anywhere."""
    with told():
        span = _instant(begin, "--from"), _instant(end, "--to")
        settings = settings_of(config, data_dir)
        now_ms = open_clock(settings)()
        ledger = Ledger(settings.data_dir, settings.ledger_origin)
        with database(settings) as engine, progress("bundle") as say:
            with reading(engine) as conn:
                known = [one.name for one in registry.gateways(conn)]
            chosen = gateway or known
            if unknown := sorted(set(chosen) - set(known)):
                raise Rejected(f"no gateway {', '.join(unknown)}; known: {', '.join(known) or 'none'}")
            content = save(
                out, lambda file: period_bundle(engine, ledger, chosen, span, file, now_ms=now_ms, progress=say)
            )
        tell(out, content)


def _instant(text: str, option: str) -> int:
    try:
        at = datetime.fromisoformat(text)
    except ValueError as error:
        raise Rejected(f"{option} {text}: not an instant; write it as 2026-03-01T00:00+07:00") from error
    if at.tzinfo is None:
        raise Rejected(f"{option} {text}: has no offset from UTC; write it as 2026-03-01T00:00+07:00")
    return to_ms(at)
