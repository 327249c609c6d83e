"""`coldproof ledger check`: the proofs and signatures of a transparency log, line by line, for auditors.

The formats of the lines, and an example: docs/ledger.md. The checks themselves: `coldproof/ledger_check.py`. Needs the
base install only.
"""

from __future__ import annotations

import sys

import typer

from coldproof.filter_lines import write_answers
from coldproof.ledger_check import answers

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check what a ledger says, without the ledger.")


@app.callback()
def _group() -> None:
    """Keeps `check` a subcommand: typer makes a group of one command that command itself."""


@app.command()
def check() -> None:
    """Check inclusion, consistency and signed notes from standard input: JSON lines in, {"ok": …, "why": …} out."""
    write_answers(answers(sys.stdin.buffer))
