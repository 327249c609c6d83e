"""Asks a running gateway over its control socket. Blocking: for the command line."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.commission import letters

ANSWER_S = 10.0


class NotRunning(Exception):
    """No gateway answers there; `str()` says so."""


class Line:
    """One conversation."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._held = b""

    def answers(self, *, within_s: float | None = ANSWER_S) -> Iterator[letters.Answer]:
        """What the gateway says, until it hangs up. within_s: for each; None waits for ever. Raises NotRunning."""
        self._connection.settimeout(within_s)
        while True:
            line = self._line()
            if not line:
                return
            try:
                yield letters.read_answer(line)
            except ValueError as error:
                raise NotRunning(f"the gateway that runs is of another version ({error}); restart it") from error

    def one(self, *, within_s: float | None = ANSWER_S) -> letters.Answer:
        """The next answer. Raises NotRunning."""
        for answer in self.answers(within_s=within_s):
            return answer
        raise NotRunning("the gateway hung up: it is leaving, or too many people ask at once")

    def _line(self) -> bytes:
        while b"\n" not in self._held:
            try:
                data = self._connection.recv(65536)
            except TimeoutError:
                raise NotRunning("the gateway does not answer; see `coldproof edge status`") from None
            except OSError as error:
                raise NotRunning(f"the gateway is gone ({error})") from error
            if not data:
                return b""
            self._held += data
            if len(self._held) > letters.ANSWER_MAX_BYTES:
                raise NotRunning("the gateway says more than it should; it is of another version")
        line, _, self._held = self._held.partition(b"\n")
        return line


@contextmanager
def asking(folder: Path, request: letters.Request) -> Iterator[Line]:
    """A conversation with the gateway of this data folder. Raises NotRunning."""
    try:
        place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise NotRunning(f"{folder}: {error.strerror}") from error
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(ANSWER_S)
        try:
            connection.connect(f"/proc/self/fd/{place}/{letters.SOCKET_NAME}")
            connection.sendall(letters.line(request))
        except PermissionError as error:
            raise NotRunning(
                f"{folder / letters.SOCKET_NAME}: not yours to use; run this as the gateway's user (sudo -u coldproof)"
            ) from error
        except OSError as error:
            raise NotRunning(f"no gateway runs on {folder} (coldproof edge run, systemctl start)") from error
        yield Line(connection)
    finally:
        connection.close()
        os.close(place)
