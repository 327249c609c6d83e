"""What the last scan found, kept in the data folder so that `bind 3` knows which device is meant."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec

from edge.commission.finder import Finding
from edge.durable import replace_file

NAME = "last-scan.json"
MAX_BYTES = 8 * 1024 * 1024


class NoScan(Exception):
    """Nothing is kept, or not this number; `str()` says what to do."""


class LastScan(msgspec.Struct, frozen=True):
    """Findings in the order in which they were shown, from 1."""

    at_ms: int
    findings: list[Finding]


def keep(folder: Path, findings: Sequence[Finding], at_ms: int) -> None:
    """Keep these. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / NAME, msgspec.json.encode(LastScan(at_ms, list(findings))), mode=0o600)


def read(folder: Path) -> LastScan:
    """The last scan. Raises NoScan."""
    try:
        with (folder / NAME).open("rb") as file:
            return msgspec.json.decode(file.read(MAX_BYTES), type=LastScan)
    except OSError as error:
        raise NoScan("nothing was scanned yet: coldproof edge devices scan CONFIG") from error
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise NoScan(f"{folder / NAME} is of another version: scan again") from error


def pick(folder: Path, number: int) -> Finding:
    """The finding of this number. Raises NoScan."""
    findings = read(folder).findings
    if not 1 <= number <= len(findings):
        raise NoScan(f"the last scan has {len(findings)} findings, there is no number {number}")
    return findings[number - 1]
