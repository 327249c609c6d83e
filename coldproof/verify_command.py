"""`coldproof verify`: judges an evidence bundle offline, with the base install alone.

Exit status: 0 intact · 1 broken, naming the first bad record · 2 unusable input. A bundle that is consistent with
itself is intact; whose ledger it is, is checked only against keys the reader brings, and said plainly where none was.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, BinaryIO, NoReturn

import msgspec
import typer

from coldproof.progress import progress
from standards.tlog.key import KeyTextError, VerifierKey, parse_vkey
from wire.bundle.anchor import root_text
from wire.bundle.examine import Content
from wire.bundle.finding import Finding, instant
from wire.bundle.form import Unusable
from wire.bundle.text import plain
from wire.bundle.verify import Report, verify

BROKEN, UNUSABLE = 1, 2
TRUST_MAX_BYTES = 100_000  # a file of keys
TOLD_MAX = 50  # findings in a terminal; --json and the summary tell more
SMALL_BYTES = 1_000_000  # what is smaller is done before anybody asks how far it is

app = typer.Typer(add_completion=False)


@app.command()
def main(
    bundle: Annotated[Path, typer.Argument(metavar="BUNDLE", help="The file, as `coldproof lot bundle` wrote it.")],
    *,
    ledger_key: Annotated[
        list[str] | None,
        typer.Option("--ledger-key", metavar="VKEY", help="A key you trust: NAME+ID+KEY of a ledger or witness."),
    ] = None,
    trust: Annotated[
        Path | None, typer.Option("--trust", metavar="FILE", help="A file of such keys, one a line; # begins a remark.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="The judgement as one JSON object.")] = False,
    summary: Annotated[bool, typer.Option("--summary", help="Print the bundle's summary, too.")] = False,
) -> None:
    """Check an evidence bundle offline: exit 0 intact, 1 broken (names the first bad record), 2 unusable input."""
    try:
        trusted = _trusted(ledger_key or [], trust)
        report = _verified(bundle, trusted)
    except (Unusable, OSError) as error:
        _stop(bundle, error, as_json=as_json)
    if as_json:
        typer.echo(msgspec.json.encode(_as_json(report)).decode())
    else:
        typer.echo("\n".join(_told(bundle, report)))
        if summary and report.content is not None and report.intact:
            typer.echo(report.content.summary.decode())
    raise typer.Exit(0 if report.intact else BROKEN)


def _verified(path: Path, trusted: list[VerifierKey]) -> Report:
    if path.exists() and not path.is_file():
        raise Unusable("not a file; a bundle is read twice, so it cannot come through a pipe")
    with path.open("rb") as file:
        size = path.stat().st_size
        with progress("verify") as tell:
            return verify(file, size=size, trusted=trusted, progress=tell if size > SMALL_BYTES else lambda _: None)


def _trusted(keys: list[str], file: Path | None) -> list[VerifierKey]:
    """The keys the reader brought. Raises Unusable."""
    lines = list(keys)
    if file is not None:
        with file.open("rb") as opened:
            lines += _lines(opened, file)
    try:
        return [parse_vkey(line) for line in lines]
    except KeyTextError as error:
        raise Unusable(f"a key you trust: {error}") from error


def _lines(opened: BinaryIO, file: Path) -> list[str]:
    data = opened.read(TRUST_MAX_BYTES + 1)
    if len(data) > TRUST_MAX_BYTES:
        raise Unusable(f"{file}: more than {TRUST_MAX_BYTES} bytes, not a file of keys")
    try:
        found = [line.strip() for line in data.decode().splitlines()]
    except UnicodeDecodeError as error:
        raise Unusable(f"{file}: not UTF-8, not a file of keys") from error
    keys = [line for line in found if line and not line.startswith("#")]
    if not keys:
        raise Unusable(f"{file}: holds no key; write one NAME+ID+KEY a line")
    return keys


def _stop(bundle: Path, error: Unusable | OSError, *, as_json: bool) -> NoReturn:
    why = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    if as_json:
        typer.echo(msgspec.json.encode({"intact": False, "usable": False, "why": why}).decode())
    else:
        typer.echo(plain(f"UNUSABLE {bundle}: {why}"), err=True)
    raise typer.Exit(UNUSABLE)


def _told(bundle: Path, report: Report) -> list[str]:
    if report.bad is not None:
        lines = [f"BROKEN {bundle}", f"  first bad record: {report.bad.record}", f"  it {report.bad.why}"]
        if report.content is not None:
            lines += [f"  also wrong: {one}" for one in _some(report.content.wrong[1:])]
            lines += [f"  missing: {one}" for one in _some(report.content.missing)]
        return [plain(line) for line in lines]
    content = report.content
    assert content is not None, "what is intact was read to its end"
    about = content.subject
    what = f"lot {about.lot} of GTIN {about.gtin}" if about.is_lot else "gateways " + ", ".join(about.gateways)
    lines = [f"INTACT {bundle}" if report.anchored else f"CONSISTENT WITH ITSELF {bundle}", f"  {what}"]
    counts = ", ".join(f"{many} × {name}" for name, many in content.counts.items() if many)
    lines.append(f"  {counts}; {content.readings} readings, {content.scans} scans")
    ledger = content.ledger
    lines.append(
        f"  all of it stands in the ledger {ledger.origin} of size {ledger.size}, root {root_text(ledger.root)}"
    )
    lines += [f"  seen by a witness you trust: {one.vkey} at POSIX time {one.at_s}" for one in report.witnesses]
    if content.simulated:
        lines.append("  SIMULATED: no real goods")
    if content.missing:
        lines += ["  but it is not complete:", *(f"    missing: {one}" for one in _some(content.missing))]
    if not report.anchored:
        lines += [
            "  NOT CHECKED: whose ledger this is. Whoever makes up a ledger can make up its keys, too.",
            "  Compare this key with one from its operator, or give it as --ledger-key:",
            *(f"    {vkey}" for vkey in ledger.vkeys),
        ]
    return [plain(line) for line in lines]


def _some(findings: list[Finding]) -> list[str]:
    told = [one.said("en") for one in findings[:TOLD_MAX]]
    return told + ([f"… and {len(findings) - TOLD_MAX} more"] if len(findings) > TOLD_MAX else [])


def _as_json(report: Report) -> dict[str, Any]:
    content = report.content
    bad = None if report.bad is None else {"record": report.bad.record, "why": report.bad.why}
    told: dict[str, Any] = {"intact": report.intact, "usable": True, "anchored": report.anchored is True}
    told |= {"anchor_checked": report.anchored is not None, "first_bad": bad}
    return told if content is None else told | _content(content, report)


def _content(content: Content, report: Report) -> dict[str, Any]:
    ledger, about = content.ledger, content.subject
    return {
        "lot": {"gtin": about.gtin, "lot": about.lot} if about.is_lot else None,
        "period": None if about.is_lot else {"from": instant(about.from_ms), "to": instant(about.to_ms)},
        "gateways": about.gateways,
        "simulated": content.simulated,
        "complete": not content.missing,
        "ledger": {
            "origin": ledger.origin,
            "size": ledger.size,
            "root": root_text(ledger.root),
            "vkeys": ledger.vkeys,
            "witnesses": [
                {"vkey": one.vkey, "at_s": one.at_s, "trusted": one in report.witnesses} for one in ledger.witnesses
            ],
        },
        "counts": content.counts,
        "readings": content.readings,
        "scans": content.scans,
        "series": [
            {
                "gateway": one.wanted.gateway,
                "channel": one.wanted.channel,
                "unit": one.wanted.unit,
                "place": about.stays[window.stay].place,
                "from": instant(window.from_ms),
                "until": instant(window.until_ms),
                "count": one.count,
                "min": one.min,
                "max": one.max,
            }
            for window, one in content.windows
        ],
        "wrong": [{"code": one.code, "what": one.what, "why": one.why()} for one in content.wrong],
        "missing": [{"code": one.code, "what": one.what, "why": one.why()} for one in content.missing],
    }
