"""The command names its groups, and says what to install for those whose libraries are missing."""

from __future__ import annotations

import subprocess
import sys

GROUPS = ("demo", "edge", "cloud", "sim", "lot", "ledger")


def _run(*words: str, without: str = "") -> subprocess.CompletedProcess[str]:
    hide = f"import sys; sys.modules[{without!r}] = None\n" if without else ""
    program = f"{hide}from coldproof.main import app; app()"
    return subprocess.run([sys.executable, "-c", program, *words], capture_output=True, text=True, check=False)


def test_help_lists_every_group_by_name() -> None:
    shown = _run("--help")
    assert shown.returncode == 0
    for name in GROUPS:
        assert f" {name} " in shown.stdout


def test_a_missing_library_is_named_with_the_extra_that_brings_it() -> None:
    shown = _run("edge", "run", "gateway.toml", without="pymodbus")
    assert "Traceback" not in shown.stderr
    missing = _run("demo", "--exit", without="sqlalchemy")
    assert missing.returncode == 1
    assert "pip install 'coldproof[demo]'" in missing.stderr
    assert "pip install 'coldproof[demo]'" in " ".join(_run("--help", without="sqlalchemy").stdout.split())


def test_an_unknown_command_is_refused() -> None:
    shown = _run("fly")
    assert shown.returncode == 2
    assert "fly" in shown.stderr
