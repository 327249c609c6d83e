"""A PostgreSQL server of our own, on a socket in a folder of its own: started, restarted, stopped, gone."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any

import psycopg

USER = "coldproof"
ACCOUNT = "postgres"  # the server refuses to be run by root
STARTED = "database system is ready to accept connections"
MADE = "TEMPLATE template0 ENCODING 'UTF8' LC_COLLATE 'C' LC_CTYPE 'C.UTF-8'"


class NoServer(Exception):
    """PostgreSQL cannot be run here; the message says why."""


@functools.cache
def programs() -> Path:
    """The folder of `initdb` and `postgres`. Raises NoServer."""
    found = [Path(folder) for folder in os.environ["PATH"].split(os.pathsep)]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda at: float(at.parent.name), reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoServer("PostgreSQL is not installed (Debian: postgresql)")


def _account() -> dict[str, Any]:
    """Whom a child becomes: root lends it to the account of the server."""
    if os.geteuid() != 0:
        return {}
    try:
        entry = pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise NoServer(f"root cannot run PostgreSQL, and there is no account {ACCOUNT!r}") from None
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


_LIBC = ctypes.CDLL(None)
_PR_SET_PDEATHSIG = 1


def _end_with_parent() -> None:
    """Linux: a test that is killed leaves no server behind."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGQUIT)


class Server:
    """A running server. durable: whether a commit waits for the disk; tests need not."""

    def __init__(self, *, durable: bool = False, settings: tuple[str, ...] = ()) -> None:
        self._as = _account()
        self._bin = programs()
        self.folder = Path(tempfile.mkdtemp(prefix="coldproof-pg-"))
        if self._as:
            os.chown(self.folder, self._as["user"], self._as["group"])
        self._settings = [*settings, *(() if durable else ("fsync=off", "full_page_writes=off"))]
        words = ["--no-sync", "--auth=trust", f"--username={USER}", "--encoding=UTF8", "--locale=C.UTF-8"]
        self._run(str(self._bin / "initdb"), *words, "-D", str(self.folder / "data"))
        self._process: subprocess.Popen[str] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and wait until it takes connections."""
        words = [str(self._bin / "postgres"), "-D", str(self.folder / "data"), "-k", str(self.folder)]
        for setting in ("listen_addresses=", "log_destination=stderr", "max_connections=200", *self._settings):
            words += ["-c", setting]
        self._process = subprocess.Popen(
            words,
            stderr=subprocess.PIPE,
            text=True,
            cwd="/",
            preexec_fn=_end_with_parent,  # noqa: PLW1509 - takes no lock
            **self._as,
        )
        assert self._process.stderr is not None
        said = []
        for line in self._process.stderr:
            said.append(line)
            if STARTED in line:
                break
        else:
            raise NoServer("PostgreSQL does not start: " + "".join(said[-5:]))
        # What else it says goes nowhere, without filling the pipe.
        self._drain = subprocess.Popen(["cat"], stdin=self._process.stderr, stdout=subprocess.DEVNULL)
        self._process.stderr.close()

    def stop(self, how: int = 2) -> None:
        """Stop it: 2 (SIGINT) ends connections, 3 (SIGQUIT) is as if it had crashed."""
        if self._process is not None:
            self._process.send_signal(how)
            self._process.wait(30)
            self._drain.wait(30)
            self._process = None

    def cpu_s(self) -> float:
        """CPU seconds of the server and everything it has started, so far."""
        assert self._process is not None
        ticks = 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                fields = stat.read_text().rpartition(")")[2].split()
                if self._process.pid in (int(stat.parent.name), int(fields[1])):
                    ticks += sum(map(int, fields[11:15]))  # its own, and of those it has waited for
        return ticks / os.sysconf("SC_CLK_TCK")

    def remove(self) -> None:
        """Stop it, and leave nothing."""
        self.stop(3)
        shutil.rmtree(self.folder)

    def url(self, name: str) -> str:
        """The URL of one of its databases."""
        return f"postgresql://{USER}@/{name}?host={self.folder}"

    def create(self, template: str | None = None, made: str = MADE) -> str:
        """A new database's name; with a template, as a copy of that one."""
        name = f"t{uuid.uuid4().hex}"
        self.tell(f'CREATE DATABASE "{name}" ' + (f'TEMPLATE "{template}"' if template else made))
        return name

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected."""
        self.tell(f'DROP DATABASE "{name}" WITH (FORCE)')

    def tell(self, statement: str) -> None:
        """Run one statement as the superuser."""
        with psycopg.connect(host=str(self.folder), user=USER, dbname="postgres", autocommit=True) as conn:
            conn.execute(statement.encode())

    def _run(self, *words: str) -> None:
        done = subprocess.run(words, capture_output=True, text=True, cwd="/", check=False, **self._as)
        if done.returncode != 0:
            raise NoServer(f"{words[0]} fails: {done.stderr.strip()[-500:]}")
