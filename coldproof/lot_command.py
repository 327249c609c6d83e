"""`coldproof lot`: what the lot page shows, in a terminal or as JSON, and a lot's evidence bundle."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from sqlalchemy import Connection, Engine

from cloud import config as cloud_config
from cloud.app import open_clock
from cloud.bundle.make import Ledger, lot_bundle
from cloud.config import CloudConfig
from cloud.db.engine import open_engine, reading, sqlite_file
from cloud.errors import Fatal, Rejected
from cloud.evidence.lot import known_lots, lot_evidence
from cloud.evidence.model import LotEvidence, SeriesEvidence, Stay
from cloud.registry import query as registry
from cloud.review.submissions import Submission, submission
from cloud.web import formats, phrase
from cloud.web.api import travelling
from cloud.web.formats import Language
from cloud.web.wording import LANGUAGES, Wording, wording
from coldproof.bundle_file import save, tell
from coldproof.outcome import told
from coldproof.progress import progress
from standards.gs1 import digital_link
from standards.gs1.application_identifier import Gs1Error
from standards.gs1.check_digit import has_valid_check_digit

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Look at lots.")

LotArgument = Annotated[
    str, typer.Argument(metavar="LOT", help="GTIN/LOT, a GS1 Digital Link, or a lot number that stands once.")
]
NAMED_MAX = 10  # lots listed when a number stands for several


@app.command()
def show(
    lot: LotArgument,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="The evidence as JSON, as the API gives it.")] = False,
    config: Annotated[Path | None, typer.Option("--config", help="The cloud's TOML configuration.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The cloud's data folder.")] = None,
    database: Annotated[str | None, typer.Option("--database", help="The database's URL.")] = None,
    lang: Annotated[str, typer.Option("--lang", help="vi or en.")] = "vi",
) -> None:
    """Show a lot: verdict, reasons, stays and their numbers."""
    with told():
        language = _language(lang)
        settings = _settings(config, data_dir, database)
        now_ms = open_clock(settings)()
        with _database(settings.database_url) as engine, reading(engine) as conn:
            gtin, number = find_lot(conn, lot)
            evidence = lot_evidence(conn, gtin, number, now_ms)
            if evidence is None:
                raise Rejected(f"lot {number} of GTIN {gtin}: no event speaks of it; check both numbers")
            if as_json:
                typer.echo(msgspec.json.format(msgspec.json.encode(travelling(msgspec.to_builtins(evidence)))).decode())
            else:
                typer.echo("\n".join(_lines(conn, evidence, submission(conn, gtin, number), wording(language))))


@app.command()
def bundle(
    lot: LotArgument,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="FILE", help="Where to write it; replaced if it is there.")
    ],
    *,
    config: Annotated[Path | None, typer.Option("--config", help="The cloud's TOML configuration.")] = None,
    data_dir: Annotated[Path | None, typer.Option("--data-dir", help="The cloud's data folder.")] = None,
) -> None:
    """Write a lot's evidence bundle: packs, events, evidence, decisions, proofs. `coldproof verify` checks it anywhere.

    A checkpoint of the ledger is signed for it where the newest one does not cover everything.
    """
    with told():
        settings = _settings(config, data_dir, None)
        now_ms = open_clock(settings)()
        ledger = Ledger(settings.data_dir, settings.ledger_origin)
        with _database(settings.database_url) as engine, progress("bundle") as say:
            with reading(engine) as conn:
                found = find_lot(conn, lot)
            content = save(out, lambda file: lot_bundle(engine, ledger, found, file, now_ms=now_ms, progress=say))
        tell(out, content)


def find_lot(conn: Connection, text: str) -> tuple[str, str]:
    """(GTIN-14, lot number) of what somebody typed. Raises Rejected, naming the lots when several fit."""
    if text.startswith(("http://", "https://")):
        try:
            link = digital_link.parse(text)
        except Gs1Error as error:
            raise Rejected(f"{text}: {error}") from error
        gtin, lot = link.get("01"), link.get("10")
        if gtin is None or lot is None:
            raise Rejected(f"{text}: names no lot; …/01/GTIN/10/LOT does")
        return gtin.zfill(14), lot
    gtin, slash, lot = text.partition("/")
    if slash and len(gtin) in {8, 12, 13, 14} and has_valid_check_digit(gtin):  # a lot number may hold a slash, too
        return gtin.zfill(14), lot
    found = [(gtin, lot) for gtin, lot in known_lots(conn) if lot == text]
    if not found:
        raise Rejected(f"lot {text}: no event speaks of it; check the number, or write GTIN/LOT")
    if len(found) > 1:
        names = ", ".join(f"{gtin}/{lot}" for gtin, lot in found[:NAMED_MAX])
        more = ", …" if len(found) > NAMED_MAX else ""
        raise Rejected(f"lot {text}: {len(found)} products have such a lot; write one of {names}{more}")
    return found[0]


def _lines(conn: Connection, evidence: LotEvidence, at: Submission, words: Wording) -> Iterator[str]:
    last = evidence.stays[-1].from_ms if evidence.stays else 0
    profile = registry.profile_at(conn, evidence.profile, last)
    name = _named(words, evidence.product_name, evidence.product_name_en)
    tag = f" [{words('simulated.tag')}]" if evidence.simulated else ""
    yield f"{words('start.lot', lot=evidence.lot)} · {name or '—'} · {words('start.gtin', gtin=evidence.gtin)}{tag}"
    yield f"{words(f'verdict.{evidence.verdict}')} · {words(f'state.{at.state}')}"
    yield phrase.verdict_sentence(evidence, profile, words)
    names = {stay.place: _named(words, stay.place_name, stay.place_name_en) for stay in evidence.stays}
    for reason in evidence.reasons:
        yield f"  - {phrase.reason_sentence(reason, names, words)}"
    for number, stay in enumerate(evidence.stays, start=1):
        yield ""
        yield from _stay_lines(number, stay, words)


def _stay_lines(number: int, stay: Stay, words: Wording) -> Iterator[str]:
    language = words.language
    begin = formats.day_and_time(stay.from_ms, language)
    end = words("stay.still_there") if stay.to_ms is None else formats.day_and_time(stay.to_ms, language)
    name = _named(words, stay.place_name, stay.place_name_en)
    yield f"{number}. {name} · {begin} – {end} · {words(f'verdict.{stay.verdict}')}"
    for series in stay.series:
        yield f"   {series.channel} · {words('series.sensor', sensor=series.sensor)} · {_numbers(series, words)}"
        for note in phrase.clock_notes(series, words):
            yield f"     {note}"
        if series.gaps:
            longest = max(gap.to_ms - gap.from_ms for gap in series.gaps)
            yield f"     {words.counted('sentence.gaps', len(series.gaps), longest=formats.span(longest, language))}"
        for one in series.excursions:
            extreme = formats.quantity(one.extreme, series.unit, language)
            lasted = formats.span(one.to_ms - one.from_ms, language)
            outcome = words(f"excursions.{one.severity if one.triggered else 'short'}")
            yield f"     {one.rule} · {formats.day_and_time(one.from_ms, language)} · {lasted} · {extreme} · {outcome}"


def _numbers(series: SeriesEvidence, words: Wording) -> str:
    language = words.language
    told = [f"{words('series.count')} {formats.number(series.count, language, decimals=0)}"]
    for key, value in (("min", series.min), ("max", series.max), ("mean", series.mean)):
        if value is not None:
            told.append(f"{words(f'series.{key}')} {formats.quantity(value, series.unit, language)}")
    told.append(f"{words('series.coverage')} {formats.percent(series.coverage, language)}")
    return " · ".join(told)


def _named(words: Wording, vietnamese: str, english: str) -> str:
    return english if words.language == "en" and english else vietnamese


def _language(asked: str) -> Language:
    for known in LANGUAGES:
        if known == asked:
            return known
    raise Rejected(f"--lang {asked}: use one of {', '.join(LANGUAGES)}")


def _settings(config: Path | None, data_dir: Path | None, database: str | None) -> CloudConfig:
    if sum(given is not None for given in (config, data_dir, database)) > 1:
        raise Rejected("give one of --config, --data-dir and --database: each says where the database is")
    if config is not None:
        return cloud_config.load(config)
    settings = cloud_config.defaults(data_dir or Path("data"))
    return settings if database is None else msgspec.structs.replace(settings, database_url=database)


@contextmanager
def _database(url: str) -> Iterator[Engine]:
    """The database as it is; one that isn't there is not made."""
    file = sqlite_file(url)
    if file is not None and not file.is_file():
        raise Fatal(f"database {file}: no such file; name the cloud's folder with --data-dir or its --config")
    engine = open_engine(url)
    try:
        yield engine
    finally:
        engine.dispose()
