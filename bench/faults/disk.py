"""The gateway's disk fails: full, read-only, and its file damaged."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.faults.row import Bench, Result
from bench.faults.trial import Trial
from edge.agent import BUFFER_NAME
from edge.health import read_health

IMAGE_MB = 64
RECORDS_AGAIN_S = 2.0
AGAIN = ("doubled",)  # what a damaged file no longer knows to be receipted may come again, and is marked as a copy
SMALL = {"buffer": {"max_bytes": 48_000_000, "min_free_bytes": 1_000_000}}


class CannotMount(Exception):
    """A file system of our own cannot be had here."""


class Disk:
    """An ext4 file system in a file, mounted where the gateway keeps its data."""

    def __init__(self, image: Path, mounted: Path) -> None:
        self._image = image
        self._mounted = mounted

    def make(self) -> None:
        """Make and mount it. Raises CannotMount."""
        if os.geteuid() != 0:
            raise CannotMount("needs root, to mount a small file system")
        if shutil.which("mkfs.ext4", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin") is None:
            raise CannotMount("needs mkfs.ext4 (Debian's e2fsprogs)")
        with self._image.open("wb") as file:
            file.truncate(IMAGE_MB * 1_000_000)
        self._mounted.mkdir(parents=True, exist_ok=True)
        _run("mkfs.ext4", "-q", "-m", "0", str(self._image))
        self.mount()

    def mount(self) -> None:
        """Mount it, as a boot does."""
        _run("mount", "-o", "loop", str(self._image), str(self._mounted))

    def unmount(self) -> None:
        """Unmount it; harmless when it is not mounted."""
        subprocess.run(["umount", str(self._mounted)], capture_output=True, check=False)

    def fail(self) -> None:
        """Let it find an error: ext4 stops its journal and refuses every write, also to open files."""
        _run("mount", "-o", "remount,abort", str(self._mounted))

    def fill(self) -> None:
        """Take every free block."""
        with (self._mounted / "filler").open("wb", buffering=0) as file:
            for size in (1 << 16, 1 << 12, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    continue

    def free(self) -> None:
        """Give the blocks back."""
        (self._mounted / "filler").unlink()


def full(bench: Bench) -> Result:
    """No block is left, with the link down as well; then there is room again."""
    with _on_own_disk(bench) as (trial, disk):
        trial.line.refuse()
        trial.run_for(5.0)
        trial.say("disk full")
        from_s = time.monotonic()
        disk.fill()
        trial.run_for(bench.pick(30.0, 12.0))
        disk.free()
        freed_s = time.monotonic()
        trial.say("disk has room again")
        trial.run_for(5.0)
        trial.line.admit()
        trial.windows.append((from_s - 1.0, freed_s + RECORDS_AGAIN_S))
        trial.run_for(8.0)
        refused = read_health(trial.house.data).intake.refused
        found = trial.end(recording_since_s=freed_s, refused=refused)
        silent = found.unaccepted > refused
        return trial.also(found, why="the gateway does not tell all that it could not record" if silent else "")


def read_only(bench: Bench) -> Result:
    """The file system fails under the running gateway; the gateway is killed, the disk mounted anew, and it starts."""
    with _on_own_disk(bench) as (trial, disk):
        trial.say("file system read-only")
        from_s = time.monotonic()
        disk.fail()
        time.sleep(bench.pick(20.0, 8.0))
        kept_running = trial.house.stage.runs("gateway")
        trial.kill_gateway()
        disk.unmount()
        disk.mount()
        trial.system.start_gateway()
        back_s = trial.wait_until_polled()
        trial.say("mounted anew")
        trial.windows.append((from_s - 1.0, back_s))
        return trial.end(recording_since_s=back_s, kept_running=kept_running)


def corrupted(bench: Bench) -> Result:
    """The buffer's file is damaged while the gateway is down, again and again, with unsent packs in it."""
    rng = random.Random(bench.seed)
    damages = int(bench.pick(12, 3))
    with Trial(bench) as trial:
        for turn in range(damages):
            trial.line.refuse()
            trial.run_for(rng.uniform(4.0, 7.0))
            trial.kill_gateway()
            what = _damage(trial.house.data, rng)
            trial.say(f"{what}, {turn + 1} of {damages}")
            trial.system.start_gateway()
            trial.declarable.append((0.0, trial.wait_until_polled()))
            trial.run_for(3.0)
            trial.line.admit()
            trial.run_for(3.0)
        aside = [file.name for file in trial.house.data.iterdir() if "corrupt" in file.name or "aside" in file.name]
        return trial.end(forgiven=AGAIN, damages=damages, set_aside=len(aside))


def _damage(data: Path, rng: random.Random) -> str:
    """Flip bits in, or cut off, the database or its write-ahead log."""
    files = [
        file for file in (data / BUFFER_NAME, data / f"{BUFFER_NAME}-wal") if file.exists() and file.stat().st_size
    ]
    file = rng.choice(files)
    size = file.stat().st_size
    if rng.random() < 0.3:
        left = rng.randrange(size)
        os.truncate(file, left)
        return f"{file.name} cut off at {left} of {size} bytes"
    bits = rng.choice((1, 8, 64))
    with file.open("r+b") as opened:
        for _ in range(bits):
            at = rng.randrange(size)
            opened.seek(at)
            byte = opened.read(1)[0]
            opened.seek(at)
            opened.write(bytes([byte ^ (1 << rng.randrange(8))]))
    return f"{bits} bits flipped in {file.name} of {size} bytes"


@contextmanager
def _on_own_disk(bench: Bench) -> Iterator[tuple[Trial, Disk]]:
    disk = Disk(bench.folder / "disk.img", bench.folder / "house" / "data")
    disk.make()
    try:
        with Trial(bench, extra=SMALL) as trial:
            yield trial, disk
    finally:
        disk.unmount()


def _run(*words: str) -> None:
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
    found = subprocess.run(words, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
    if found.returncode:
        raise CannotMount(f"`{' '.join(words[:3])}` fails here: {found.stderr.strip()[:200]}")
