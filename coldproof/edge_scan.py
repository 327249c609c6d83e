"""What `coldproof edge devices scan` needs beside the scan: where to look, what the gateway holds, how to tell it."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import typer

from edge.commission import letters
from edge.commission.bind import table_text
from edge.commission.client import NotRunning, asking
from edge.commission.finder import Finding
from edge.commission.ports import Port, named_ports, one_port, ports_in, usb_ports
from edge.commission.scan import Held, Lend
from edge.commission.words import printable, printable_lines
from edge.config import GatewayConfig
from edge.crew import claims_of
from edge.drivers.base import DeviceUnavailable

W1_BUS = "/sys/bus/w1/devices"


def finding_text(number: int, finding: Finding) -> str:
    """A finding as it is shown."""
    certainty = {"sure": "", "likely": " (most likely)", "possible": " (possibly)", "unknown": ""}[finding.certainty]
    lines = [f"{number:>3}  {finding.where}", f"     {finding.what}{certainty}"]
    if finding.live:
        lines.append(f"     now: {', '.join(finding.live)}")
    if finding.also:
        lines.append(f"     fits as well: {', '.join(finding.also)}")
    if finding.fault:
        lines.append(f"     FAULT {finding.cause or 'unknown'}: {finding.fault}")
    if finding.table:
        lines += [f"         {line}" for line in table_text("device", finding.table).splitlines()]
    return printable_lines("\n".join(lines))


def ports_of(config: GatewayConfig, named: list[str] | None, folder: Path | None) -> list[Port]:
    """The ports that are meant: those named, else every USB port and what the configuration names. Raises OSError."""
    if named or folder:
        return [*named_ports(named or []), *(ports_in(folder) if folder else [])]
    ports = usb_ports()
    configured = [claim.what for device in config.devices for claim in claims_of(device)]
    for path in dict.fromkeys(what.partition(":")[2] for what in configured if what.startswith("serial:")):
        if not any(one_port(port.path, path) for port in ports):
            ports.append(Port(path))
    return ports


def hosts_in(config: GatewayConfig) -> list[str]:
    """The hosts that the configuration names."""
    claims = [claim.what for device in config.devices for claim in claims_of(device)]
    return [what.removeprefix("tcp:") for what in claims if what.startswith("tcp:")]


def buses_of(config: GatewayConfig, named: list[str]) -> list[str]:
    """The 1-wire buses: the kernel's, those named, and those of the configuration."""
    claims = [claim.what for device in config.devices for claim in claims_of(device)]
    configured = [what.removeprefix("w1:") for what in claims if what.startswith("w1:")]
    return list(dict.fromkeys([W1_BUS, *named, *configured]))


def held_by_gateway(config: GatewayConfig) -> Held:
    """What the running gateway occupies; nothing where none runs."""
    try:
        with asking(config.data_dir, letters.Status()) as line:
            answer = line.one()
    except NotRunning:
        return Held()
    return Held(answer if isinstance(answer, letters.Look) else None)


def lender(config: GatewayConfig) -> Lend:
    """How a port is borrowed of the running gateway."""

    @asynccontextmanager
    async def lend(what: str) -> AsyncIterator[None]:
        with asking(config.data_dir, letters.Lend(what)) as line:
            answer = await asyncio.to_thread(line.one, within_s=60.0)
            if not isinstance(answer, letters.Lent):
                raise DeviceUnavailable(f"{what}: the gateway does not give it up ({answer})")
            yield

    return lend


@contextmanager
def progress() -> Iterator[Say]:
    """How a person is told how it goes."""
    say = Say()
    try:
        yield say
    finally:
        say.clear()


class Say:
    """One line that changes in a terminal, lines otherwise."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()

    def __call__(self, text: str) -> None:
        text = printable(text)
        typer.echo(f"\r\x1b[K… {text[:110]}" if self._live else f"… {text}", err=True, nl=not self._live)

    def clear(self) -> None:
        """Take the line away."""
        if self._live:
            typer.echo("\r\x1b[K", err=True, nl=False)
