"""The `coldproof` command: each group is imported only when it is called, so that a Pi needs no server libraries."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import typer
import typer.core

#: group or command → (module that holds its `app`, the extra that brings its libraries)
_COMMANDS = {
    "demo": ("coldproof.demo.command", "demo"),
    "edge": ("coldproof.edge_command", "edge"),
    "cloud": ("coldproof.cloud_command", "cloud"),
    "sim": ("coldproof.sim_command", "sim"),
    "lot": ("coldproof.lot_command", "cloud"),
    "ledger": ("coldproof.ledger_command", ""),
    "verify": ("coldproof.verify_command", ""),
    "epc": ("coldproof.epc_command", ""),
}


class _LazyGroup(typer.core.TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the framework's signature
        return list(_COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the framework's signature
        if cmd_name not in _COMMANDS:
            return None
        module, extra = _COMMANDS[cmd_name]
        try:
            loaded = importlib.import_module(module)
        except ModuleNotFoundError as error:
            return _missing(cmd_name, str(error.name), extra)
        command = typer.main.get_command(loaded.app)
        command.name = cmd_name
        return command


def _missing(name: str, library: str, extra: str) -> Any:
    """A command in the place of one whose libraries are not installed: it says what to install."""
    stand_in = typer.Typer()
    advice = f"needs the library {library!r}: pip install 'coldproof[{extra}]'"

    @stand_in.command(
        name,
        help=f"({advice})".replace("[", r"\["),
        context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
    )
    def say() -> None:
        sys.exit(f"coldproof {name} {advice}")

    return typer.main.get_command(stand_in)


app = typer.Typer(cls=_LazyGroup, no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)


@app.callback()
def _root() -> None:
    """Cold-chain evidence: from the sensor's wire to the official's page."""


if __name__ == "__main__":
    app()
