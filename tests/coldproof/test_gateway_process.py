"""`coldproof edge run` goes on as a process of its own kind: same number, same words, fewer libraries."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

CONFIG = """
[gateway]
name = "gw-kho-01"
data_dir = "data"

[uplink]
host = "127.0.0.1"
port = 1
cloud_key = "cloud-public.json"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    return path


def test_the_gateway_carries_no_library_of_the_command_line() -> None:
    code = (
        "import sys, coldproof.gateway_process\n"
        "print([name for name in ('typer', 'rich', 'pydantic', 'pydantic_core') if name in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_a_gateway_that_cannot_run_says_why_and_exits_2(config: Path) -> None:
    key = config.parent / "data" / "gateway-key.pem"
    key.parent.mkdir()
    key.write_text("no key")
    key.chmod(0o600)
    words = [sys.executable, "-m", "coldproof.main", "edge", "run", str(config)]
    ended = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode == 2
    assert f"{key}: not a private key" in ended.stderr


def test_the_gateway_keeps_the_number_of_its_process_and_leaves_in_order(config: Path) -> None:
    words = [sys.executable, "-m", "coldproof.main", "edge", "run", str(config)]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as started:
        assert started.stderr is not None
        seen = ""
        while "gateway is ready" not in seen:
            line = started.stderr.readline()
            assert line, seen
            seen += line
        assert b"coldproof.gateway_process" in Path(f"/proc/{started.pid}/cmdline").read_bytes()
        started.terminate()
        assert "gateway is leaving" in started.stderr.read()
    assert started.returncode == 0
