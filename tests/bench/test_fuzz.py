"""The fuzzer: what it found before stays found, its targets stand their seeds, and it does find things."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from bench import fuzz

FOUND = sorted(path for path in fuzz.FINDINGS.rglob("*") if path.is_file() and path.suffix != ".md")


@pytest.mark.parametrize("codec", sorted(fuzz.TARGETS))
def test_a_target_stands_its_seeds_and_the_usual_nonsense(codec: str) -> None:
    target = fuzz.load(codec)
    for data in (b"", b"\0", b"\xff" * 8192, bytes(range(256)) * 32, *fuzz.seeds(codec)):
        target(data)


def test_what_was_found_stays_found() -> None:
    for path in FOUND:
        began_s = time.process_time()
        fuzz.load(path.parent.name)(path.read_bytes())
        assert time.process_time() - began_s < fuzz.INPUT_MAX_S, path


def test_a_planted_fault_is_found_by_the_loop_of_our_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(fuzz.resource, "setrlimit", lambda *_: None)  # this process has more to do

    def faulty(data: bytes) -> None:
        if data[:1] != b"$":
            return
        if data[1:2] == b"G":
            raise KeyError("planted")

    corpus, crashes = tmp_path / "corpus", tmp_path / "crashes"
    corpus.mkdir()
    crashes.mkdir()
    (corpus / "seed").write_bytes(b"$A")
    fuzz._own_loop(faulty, 20, corpus, crashes)
    (found,) = crashes.iterdir()
    assert found.read_bytes().startswith(b"$G")
    assert "planted" in capsys.readouterr().err
