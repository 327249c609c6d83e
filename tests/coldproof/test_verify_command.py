"""`coldproof verify`: what it says and exits with, and that the base install is enough for it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

from coldproof.verify_command import TRUST_MAX_BYTES, app
from tests.wire.bundle import maker
from wire.bundle import form

ALONE = """
import importlib.abc, sys
class Refuse(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        ours = top in sys.stdlib_module_names or top in {allowed} or top.startswith("_sysconfigdata")
        if not ours:
            raise ModuleNotFoundError("no module named " + name, name=name)
sys.meta_path.insert(0, Refuse())
from coldproof.main import app
app()
"""


def base_modules() -> set[str]:
    """What can be imported where `pip install coldproof` was all, and of ours what `verify` may need."""
    known, todo = set(), ["msgspec", "cbor2", "cryptography", "typer"]
    while todo:
        name = todo.pop().lower().replace("_", "-")
        if name in known:
            continue
        known.add(name)
        for line in metadata.requires(name) or []:
            if "extra ==" not in line:
                needed = re.match(r"[A-Za-z0-9._-]+", line)
                if needed and is_installed(needed[0]):
                    todo.append(needed[0])
    of = metadata.packages_distributions()
    tops = {top for top, names in of.items() if {name.lower().replace("_", "-") for name in names} & known}
    return tops | {"coldproof", "wire", "standards"}


def is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(app, [str(one) for one in arguments])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An intact bundle."""
    path = tmp_path_factory.mktemp("bundle") / "lot.coldproof"
    path.write_bytes(maker.bundle(*maker.small())[0])
    return path


@pytest.fixture
def broken(file: Path, tmp_path: Path) -> Path:
    """A bundle with a changed pack."""
    data = file.read_bytes()
    record = next(one for one in maker.framed(data) if one.letter == form.PACK)
    at = record.at + 100
    path = tmp_path / "broken.coldproof"
    path.write_bytes(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :])
    return path


def test_without_a_key_it_says_that_nobody_checked_whose_ledger_it_is(file: Path) -> None:
    outcome = run(file)
    assert outcome.exit_code == 0
    assert outcome.stdout.startswith("CONSISTENT WITH ITSELF")
    assert "NOT CHECKED: whose ledger this is" in outcome.stdout
    assert str(maker.LOG_KEY) in outcome.stdout
    assert "INTACT" not in outcome.stdout


def test_with_the_ledgers_key_it_is_intact(file: Path, tmp_path: Path) -> None:
    outcome = run(file, "--ledger-key", str(maker.LOG_KEY))
    assert (outcome.exit_code, outcome.stdout.split()[0]) == (0, "INTACT")
    trust = tmp_path / "keys.txt"
    trust.write_text(f"# of the ministry\n\n{maker.LOG_KEY}\n{maker.WITNESS.verifier}\n")
    outcome = run(file, "--trust", trust)
    assert outcome.exit_code == 0
    assert "seen by a witness you trust" in outcome.stdout


def test_with_another_key_it_is_refused(file: Path) -> None:
    outcome = run(file, "--ledger-key", str(maker.WITNESS.verifier))
    assert outcome.exit_code == 1
    assert "first bad record: checkpoint" in outcome.stdout
    assert "none of the keys you trust" in outcome.stdout


def test_the_first_bad_record_is_named(broken: Path) -> None:
    outcome = run(broken)
    assert outcome.exit_code == 1
    assert outcome.stdout.startswith("BROKEN")
    assert "(pack, at byte" in outcome.stdout
    assert "is not what the ledger recorded as leaf" in outcome.stdout


def test_programs_read_json(file: Path, broken: Path) -> None:
    told = json.loads(run(file, "--json").stdout)
    assert (told["intact"], told["anchored"], told["anchor_checked"], told["complete"]) == (True, False, False, True)
    assert told["lot"] == {"gtin": maker.GTIN, "lot": maker.LOT}
    assert told["series"][0]["count"] == 8
    assert told["ledger"]["vkeys"] == [str(maker.LOG_KEY)]
    told = json.loads(run(file, "--json", "--ledger-key", str(maker.LOG_KEY)).stdout)
    assert (told["intact"], told["anchored"]) == (True, True)
    told = json.loads(run(broken, "--json").stdout)
    assert told["intact"] is False
    assert told["first_bad"]["record"].startswith("record ")


def test_the_summary_is_printed_for_what_is_intact_alone(file: Path, broken: Path) -> None:
    assert "COLD CHAIN EVIDENCE BUNDLE" in run(file, "--summary").stdout
    assert "COLD CHAIN EVIDENCE BUNDLE" not in run(broken, "--summary").stdout


@pytest.mark.parametrize("data", [b"", b"%PDF-1.7", form.FIRST_LINE.replace(b"1", b"2"), form.FIRST_LINE[:-3]])
def test_what_is_no_bundle_exits_with_2(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "other"
    path.write_bytes(data)
    assert run(path).exit_code == 2
    assert json.loads(run(path, "--json").stdout)["usable"] is False


def test_what_cannot_be_read_exits_with_2(file: Path, tmp_path: Path) -> None:
    assert run(tmp_path / "nothing-here").exit_code == 2
    assert run(tmp_path).exit_code == 2
    assert run(file, "--ledger-key", "not a key").exit_code == 2
    assert run(file, "--trust", tmp_path / "nothing-here").exit_code == 2
    keys = tmp_path / "keys.txt"
    for data in (b"", b"\xff\xfe", b"x" * (TRUST_MAX_BYTES + 1)):
        keys.write_bytes(data)
        assert run(file, "--trust", keys).exit_code == 2


def test_a_truncated_bundle_is_broken_not_unusable(file: Path, tmp_path: Path) -> None:
    path = tmp_path / "half"
    path.write_bytes(file.read_bytes()[:-40])
    outcome = run(path)
    assert outcome.exit_code == 1
    assert "the file ends after" in outcome.stdout


def test_what_a_terminal_would_obey_is_not_printed(tmp_path: Path) -> None:
    path = tmp_path / "hostile"
    path.write_bytes(form.FIRST_LINE + b"\x1b[2J")
    assert "\x1b" not in run(path).output
    assert "\x1b" not in run(path.with_name("\x1b[2J.coldproof")).output, "names of files are given by others, too"


def test_the_base_install_is_enough(file: Path, broken: Path) -> None:
    allowed = base_modules()
    assert not allowed & {"numpy", "sqlalchemy", "fastapi", "cloud", "edge", "paho"}
    program = ALONE.replace("{allowed}", repr(sorted(allowed)))
    for path, status, word in ((file, 0, "CONSISTENT"), (broken, 1, "BROKEN")):
        done = subprocess.run(
            [sys.executable, "-c", program, "verify", str(path)],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert (done.returncode, word in done.stdout) == (status, True), done.stderr


def test_a_large_bundle_is_told_with_progress(tmp_path: Path) -> None:
    path = tmp_path / "large"
    path.write_bytes(maker.bundle(*maker.small(1_700, 100))[0])
    outcome = run(path)
    assert outcome.exit_code == 0
    assert "verify: 50 %" in outcome.stderr
    assert "verify: 100 %" not in outcome.stdout
