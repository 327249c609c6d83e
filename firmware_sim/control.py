"""A Unix socket by which somebody outside makes things happen in a running simulation, one line a command.

    links                               what cables there are, and what is wrong with each
    link NAME clear|hang|unplug         make a cable good, swallow everything, pull it out
    link NAME delay_s=0.2 garble=0.01   set faults (links.Faults); what is not named is good
    scan SCANNER SYMBOLOGY CODE         scan a code now (the code is the rest of the line)

Each line is answered with one line: `ok`, `ok …` or `error: …`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

import msgspec

from firmware_sim.devices.scanner import Scanner
from firmware_sim.links import GOOD, Faults, Link

MAX_LINE_BYTES = 8192  # the longest code and its command
MAX_SOCKET_PATH = 107  # sun_path of Linux, without its closing zero


Thing = TypeVar("Thing")


class ControlError(ValueError):
    """A command that cannot be carried out."""


class Control:
    """Carries out commands on the links and scanners of a simulation."""

    def __init__(self, links: Mapping[str, Link], scanners: Mapping[str, Scanner]) -> None:
        self._links = links
        self._scanners = scanners

    async def execute(self, line: str) -> str:
        """Carry out one command; the answer without `ok`. Raises ControlError."""
        word, _, rest = line.strip("\r\n").partition(" ")
        if word == "links":
            return msgspec.json.encode({name: link.faults for name, link in self._links.items()}).decode()
        if word == "link":
            name, _, what = rest.partition(" ")
            await _find(self._links, "link", name).change(parse_faults(what))
            return ""
        if word == "scan":
            name, _, what = rest.partition(" ")
            symbology, _, code = what.partition(" ")
            if not code:
                raise ControlError("scan SCANNER SYMBOLOGY CODE")
            try:
                await _find(self._scanners, "scanner", name).send(code, symbology)
            except ValueError as error:
                raise ControlError(str(error)) from error
            return ""
        raise ControlError(f"unknown command {word[:40]!r}; known are links, link, scan")


def parse_faults(text: str) -> Faults:
    """`clear`, `hang`, `unplug` or `name=number …`. Raises ControlError."""
    whole = {"clear": GOOD, "hang": Faults(hang=True), "unplug": Faults(unplugged=True)}
    if text in whole:
        return whole[text]
    try:
        pairs = {name: float(number) for name, number in (word.split("=") for word in text.split())}
        if not pairs:
            raise ControlError("say clear, hang, unplug or faults such as delay_s=0.2")
        return msgspec.convert(pairs, Faults)
    except (ValueError, msgspec.ValidationError) as error:
        raise ControlError(f"{text[:80]!r} are no faults of a link: {error}") from error


async def ask(path: Path, command: str) -> str:
    """Give one command to a running simulation; the answer without `ok`. Raises ControlError, OSError."""
    reader, writer = await asyncio.open_unix_connection(path)
    try:
        writer.write(command.encode() + b"\n")
        await writer.drain()
        answer = (await reader.readline()).decode().rstrip("\n")
    finally:
        writer.close()
    if not answer.startswith("ok"):
        raise ControlError(answer.removeprefix("error: ") or "the simulation has ended")
    return answer.removeprefix("ok").lstrip()


@asynccontextmanager
async def listening(path: Path, control: Control) -> AsyncIterator[None]:
    """Take commands on a Unix socket at `path` while inside. Raises ControlError where it cannot be made."""
    if len(bytes(path)) > MAX_SOCKET_PATH:
        raise ControlError(
            f"{path}: longer than {MAX_SOCKET_PATH} bytes, no socket can be there; take a shorter folder"
        )
    _clear(path)
    server = await asyncio.start_unix_server(partial(_converse, control), path, limit=MAX_LINE_BYTES)
    try:
        yield
    finally:
        server.close()
        await server.wait_closed()
        _clear(path)


def _clear(path: Path) -> None:
    path.unlink(missing_ok=True)


async def _converse(control: Control, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while line := await reader.readline():
            try:
                done = await control.execute(line.decode())
                writer.write(f"ok {done}".rstrip().encode() + b"\n")
            except (ControlError, UnicodeDecodeError) as error:
                writer.write(f"error: {error}\n".encode())
            await writer.drain()
    except (ValueError, ConnectionError):
        pass  # an endless line, or gone: nothing more to say to this one
    finally:
        writer.close()


def _find(things: Mapping[str, Thing], what: str, name: str) -> Thing:
    try:
        return things[name]
    except KeyError:
        raise ControlError(f"no {what} {name[:40]!r}; known are {', '.join(things)}") from None
