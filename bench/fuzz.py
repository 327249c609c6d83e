"""Coverage-guided fuzzing of every codec that reads foreign bytes.

    python -m bench.fuzz [--codec NAME …] [--seconds N] [--keep FOLDER]

Each codec gets N seconds in a process of its own, with 512 MiB and 10 s for one input; seeds are the vectors. With
atheris (`pip install 'coldproof[fuzz]'`) libFuzzer guides it; without it a small loop of our own, which traces lines
(slower, and it sees no branches within a line). What it finds is kept in tests/vectors/fuzz/NAME, where
tests/bench/test_fuzz.py runs it for ever after. Exit 1 when something was found.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import random
import re
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).parent.parent
VECTORS = ROOT / "tests" / "vectors"
FINDINGS = VECTORS / "fuzz"
INPUT_MAX_BYTES = 8192
INPUT_MAX_S = 10
MEMORY_MAX_MIB = 512

#: codec → its target, and the folders of vectors that it begins with. A new codec: a target, a line, nothing else.
TARGETS = {
    "ble": ("bench.fuzz_targets:ble_advert", ()),
    "ble-answer": ("bench.fuzz_targets:ble_answer", ()),
    "ble-line": ("bench.fuzz_targets:ble_line", ("ble",)),
    "barcode": ("bench.fuzz_targets:barcode_stream", ("gs1",)),
    "epc": ("bench.fuzz_targets:epc_bytes", ()),
    "gps": ("bench.fuzz_targets:gps_stream", ("gps",)),
    "gps-fields": ("bench.fuzz_targets:gps_fields", ("gps",)),
    "gs1": ("bench.fuzz_targets:gs1_code", ("gs1",)),
    "hid": ("bench.fuzz_targets:hid_events", ()),
    "ledger-line": ("bench.fuzz_targets:ledger_line", ("merkle",)),
    "llrp": ("bench.fuzz_targets:llrp_stream", ()),
    "modbus": ("bench.fuzz_targets:modbus_registers", ()),
    "onewire": ("bench.fuzz_targets:onewire_file", ("onewire",)),
    "replay": ("bench.fuzz_targets:replay_number", ("serial_line",)),
    "serial-line": ("bench.fuzz_targets:serial_line_stream", ("serial_line",)),
    "serial-line-text": ("bench.fuzz_targets:serial_line_text", ("serial_line",)),
    "tlog": ("bench.fuzz_targets:tlog_text", ("merkle",)),
    "uhf": ("bench.fuzz_targets:uhf_stream", ()),
    "verdict": ("bench.fuzz_targets:gs1_verdict", ("gs1",)),
}

Target = Callable[[bytes], None]


def load(codec: str) -> Target:
    """The target of a codec."""
    module, _, name = TARGETS[codec][0].partition(":")
    target: Target = getattr(importlib.import_module(module), name)
    return target


def seeds(codec: str) -> list[bytes]:
    """Every text in the codec's vectors, as bytes, bare and as a line of a stream."""
    found: list[bytes] = []
    for folder in TARGETS[codec][1]:
        for path in sorted((VECTORS / folder).glob("*.json")):
            texts = [text.encode() for text in _texts(json.loads(path.read_text("utf-8")))]
            found += [*texts, *(b"\r\n" + text + b"\r\n" for text in texts)]
    return found


def main() -> int:
    """Fuzz; returns the exit status."""
    parser = argparse.ArgumentParser(description="Coverage-guided fuzzing of the codecs.")
    parser.add_argument("--codec", action="append", choices=sorted(TARGETS), help="default: all")
    parser.add_argument("--seconds", type=int, default=20, help="for each codec (default 20)")
    parser.add_argument("--keep", type=Path, default=FINDINGS, help="where findings go")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--corpus", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        _child(given.codec[0], given.seconds, given.corpus, given.keep)
        return 0
    found = [codec for codec in given.codec or sorted(TARGETS) if not _fuzz(codec, given.seconds, given.keep)]
    print("found something in: " + ", ".join(found) if found else "nothing found")
    return 1 if found else 0


def _fuzz(codec: str, seconds: int, keep: Path) -> bool:
    """Fuzz one codec in a process of its own; whether it stood."""
    with tempfile.TemporaryDirectory() as folder:
        corpus, crashes = Path(folder) / "corpus", Path(folder) / "crashes"
        corpus.mkdir()
        crashes.mkdir()
        for seed in seeds(codec):
            (corpus / hashlib.sha256(seed).hexdigest()[:16]).write_bytes(seed[:INPUT_MAX_BYTES])
        words = [sys.executable, "-m", "bench.fuzz", "--child", "--codec", codec, "--seconds", str(seconds)]
        words += ["--corpus", str(corpus), "--keep", str(crashes)]
        run = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, errors="replace", check=False)
        findings = sorted(crashes.iterdir())
        runs = re.search(r"number_of_executed_units:\s*(\d+)", run.stderr)
        edges = re.findall(r"\bcov: (\d+)", run.stderr)
        print(f"{codec}: {runs[1] if runs else '?'} inputs, {edges[-1] if edges else '?'} edges", end="")
        print(f", {len(findings)} findings" if findings else "", flush=True)
        if run.returncode or findings:
            print("\n".join(run.stderr.splitlines()[-40:]))
        for path in findings:
            place = keep / codec / path.name[:40]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(path.read_bytes())
            print(f"  kept as {place}")
        return not findings and not run.returncode


def _child(codec: str, seconds: int, corpus: Path, crashes: Path) -> None:
    try:
        import atheris
    except ImportError:
        _own_loop(load(codec), seconds, corpus, crashes)
        return
    with atheris.instrument_imports(include=["bench.fuzz_targets", "edge", "standards", "wire"]):
        target = load(codec)
    flags = [
        f"-max_total_time={seconds}",
        f"-timeout={INPUT_MAX_S}",
        f"-rss_limit_mb={MEMORY_MAX_MIB}",
        f"-max_len={INPUT_MAX_BYTES}",
        f"-artifact_prefix={crashes}/",
        "-print_final_stats=1",
        str(corpus),
    ]
    atheris.Setup([sys.argv[0], *flags], target)
    atheris.Fuzz()


def _own_loop(target: Target, seconds: int, corpus: Path, crashes: Path) -> None:
    """Mutate what reached new lines; keep what raised, took too long or too much memory."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_MAX_MIB * 2**20, MEMORY_MAX_MIB * 2**20))
    signal.signal(signal.SIGALRM, _too_long)
    rng = random.Random(1)
    pool = [path.read_bytes() for path in sorted(corpus.iterdir())] or [b""]
    seen: set[tuple[str, int]] = set()
    inputs, ends_s = 0, time.monotonic() + seconds
    waiting = list(pool)
    while time.monotonic() < ends_s:
        data = waiting.pop() if waiting else _mutated(rng, pool)
        signal.alarm(INPUT_MAX_S)
        try:
            reached = _traced(target, data)
        except BaseException as error:  # noqa: BLE001 - whatever it is, it is a finding
            (crashes / f"crash-{hashlib.sha256(data).hexdigest()[:16]}").write_bytes(data)
            print(f"{type(error).__name__}: {error}", file=sys.stderr)
            return
        finally:
            signal.alarm(0)
        inputs += 1
        if not reached <= seen:
            seen |= reached
            pool.append(data)
    print(f"cov: {len(seen)} (of our own loop)\nstat::number_of_executed_units: {inputs}", file=sys.stderr)


def _traced(target: Target, data: bytes) -> set[tuple[str, int]]:
    reached: set[tuple[str, int]] = set()

    def trace(frame: FrameType, event: str, _: Any) -> Any:
        name = frame.f_code.co_filename
        if event == "call" and not name.startswith(str(ROOT)):
            return None
        reached.add((name, frame.f_lineno))
        return trace

    sys.settrace(trace)
    try:
        target(data)
    finally:
        sys.settrace(None)
    return reached


def _mutated(rng: random.Random, pool: list[bytes]) -> bytes:
    data = bytearray(rng.choice(pool))
    for _ in range(rng.randint(1, 8)):
        at = rng.randrange(len(data) + 1)
        match rng.randrange(5):
            case 0:
                data[at:at] = rng.randbytes(rng.randint(1, 4))
            case 1:
                del data[at : at + rng.randint(1, 8)]
            case 2 if data:
                data[at % len(data)] ^= 1 << rng.randrange(8)
            case 3:
                other = rng.choice(pool)
                data[at:at] = other[rng.randrange(len(other) + 1) :]
            case _:
                data[at:at] = data[at : at + 16] * rng.randint(1, 20)
    return bytes(data[:INPUT_MAX_BYTES])


def _too_long(_signal: int, _frame: FrameType | None) -> None:
    raise TimeoutError(f"more than {INPUT_MAX_S} s for one input")


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for part in value.values():
            yield from _texts(part)
    elif isinstance(value, list):
        for part in value:
            yield from _texts(part)


if __name__ == "__main__":
    sys.exit(main())
