"""A nursery that says nothing any more is noticed, told apart and ended; it never holds a bench for ever."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from bench.crash import nursery
from bench.crash.ingest_child import IngestLife
from bench.crash.nursery import Nursery, NurserySilent


def test_silence_is_ended_with_a_diagnosis(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    with Nursery("bench.crash.ingest_child") as silent:
        silent.begin(IngestLife(str(tmp_path), 1, "timer", 20))
        assert silent.wait() == signal.SIGKILL
        os.kill(silent.pid, signal.SIGSTOP)
        monkeypatch.setattr(nursery, "HEARS_WITHIN_S", 0.2)
        silent.begin(IngestLife(str(tmp_path), 1, "timer", 20))
        with pytest.raises(NurserySilent, match=rf"silent for 0 s.*\nprocess {silent.pid} thread {silent.pid}: T, in "):
            silent.wait()
    assert not Path(f"/proc/{silent.pid}/stat").exists()
