"""`coldproof ledger`: check what a log says, and be a witness of logs. Needs the base install only.

The formats of the lines, and an example: docs/ledger.md. The checks themselves: `coldproof/ledger_check.py`.
"""

from __future__ import annotations

import logging
import signal
import sys
import threading
from pathlib import Path
from typing import Annotated

import typer

from coldproof.filter_lines import write_answers
from coldproof.ledger_check import answers

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Check what a ledger says, without the ledger.")


@app.command()
def check() -> None:
    """Check inclusion, consistency and signed notes from standard input: JSON lines in, {"ok": …, "why": …} out."""
    write_answers(answers(sys.stdin.buffer))


@app.command()
def witness(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="TOML: name, where to listen, which logs.")],
    *,
    vkey: Annotated[bool, typer.Option("--vkey", help="Print the witness's verifier key and end.")] = False,
) -> None:
    """Cosign the checkpoints of logs, as long as each continues what was cosigned before, until SIGTERM."""
    from coldproof.ledger_witness import Witness, load
    from coldproof.ledger_witness_server import WitnessServer
    from coldproof.outcome import told

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    with told():
        settings = load(config)
        one = Witness(settings)
        try:
            typer.echo(one.vkey)
            if vkey:
                return
            with WitnessServer(one, settings.host, settings.port) as server:
                typer.echo(f"http://{settings.host}:{server.server_address[1]}", err=True)
                for number in (signal.SIGTERM, signal.SIGINT):  # shutdown waits for the loop that runs here
                    signal.signal(number, lambda *_: threading.Thread(target=server.shutdown).start())
                server.serve_forever(poll_interval=0.1)
        finally:
            one.close()
