"""What the page has set going: at most one scan and one change at a time, which go on when the browser is closed."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
import time
import tomllib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec

from edge.commission import last_scan, letters
from edge.commission.bind import BindRefused, Bound, Wish, bind
from edge.commission.control import Desk
from edge.commission.finder import Asked, Finding
from edge.commission.kept import digest
from edge.commission.network import TooMany, hosts_of, units_of
from edge.commission.ports import Port, named_ports, one_port, usb_ports
from edge.commission.scan import Held, scan
from edge.config import GatewayConfig, load_config
from edge.durable import replace_file

SAID_MAX = 30  # lines of progress that are shown
LISTEN_MAX_S = 60.0
REGISTRY_NAME = "registry.toml"

log = logging.getLogger(__name__)


class Busy(Exception):
    """Something is under way already."""


class Activity:
    """One kind of work: what it said, and how it ended."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.error = ""
        self.done = ""
        self._task: asyncio.Task[None] | None = None

    @property
    def running(self) -> bool:
        """Whether it is under way."""
        return self._task is not None and not self._task.done()

    def say(self, text: str) -> None:
        """A line of progress."""
        self.said = [*self.said, text][-SAID_MAX:]

    def begin(self, work: asyncio.Task[None]) -> None:
        """It is under way."""
        self.said, self.error, self.done = [], "", ""
        self._task = work

    async def cancel(self) -> None:
        """The gateway leaves."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


class Work:
    """Everything that forms of the page may set going."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self.scan, self.change = Activity(), Activity()
        self.findings: list[Finding] = []
        with contextlib.suppress(last_scan.NoScan):
            self.findings = last_scan.read(self.config.data_dir).findings

    @property
    def config(self) -> GatewayConfig:
        """What runs."""
        return self._desk.applier.running

    async def close(self) -> None:
        """The gateway leaves."""
        await self.scan.cancel()
        await self.change.cancel()

    def start_scan(self, form: Mapping[str, str]) -> None:
        """Look for devices as a form asks. Raises Busy, or ValueError for what cannot be asked."""
        if self.scan.running or self.change.running:
            raise Busy
        asked = self._asked(form)
        lend = self._lend if form.get("lend") else None
        self.findings = []
        self.scan.begin(asyncio.create_task(self._scan(asked, lend), name="local scan"))

    def wanted(self) -> GatewayConfig:
        """What the file says now. Raises ConfigError."""
        return load_config(self.config.path)

    def start_change(self, within_s: float, expected: str) -> None:
        """Take over what the file says. Raises Busy."""
        if self.scan.running or self.change.running:
            raise Busy
        request = letters.Apply(str(self.config.path), expected, within_s)
        self.change.begin(asyncio.create_task(self._change(request), name="local change"))

    def bind(self, form: Mapping[str, str]) -> str:
        """Write a found device into the files; its name. Raises BindRefused, ConfigError, OSError or ValueError."""
        number = int(form.get("number", "0"))
        if not 1 <= number <= len(self.findings):
            raise BindRefused("this finding is gone: look again")
        config = self.wanted()
        file = config.path.with_name(REGISTRY_NAME)
        before = file.read_text("utf-8") if file.exists() else ""
        wish = _wish(form)
        finding = self.findings[number - 1]
        bound = bind(config.path, config.text, before, gateway=config.name, finding=finding, wish=wish)
        _write(config.path, file, bound)
        return wish.name

    def places(self) -> list[tuple[str, str]]:
        """(GLN, name) of the places that the registry document names."""
        file = self.config.path.with_name(REGISTRY_NAME)
        return known_places(file)

    def _asked(self, form: Mapping[str, str]) -> Asked:
        ports = usb_ports()
        held = [
            claim.what.partition(":")[2] for _, claim in self._desk.crew.claims() if claim.what.startswith("serial:")
        ]
        for path in dict.fromkeys([*form.get("ports", "").split(), *held]):
            if not any(one_port(port.path, path) for port in ports):
                ports += named_ports([path]) or [Port(path)]
        return Asked(
            ports=ports,
            hosts=hosts_of(form.get("hosts", "").split(), []),
            w1_buses=["/sys/bus/w1/devices"],
            units=units_of(form.get("units") or "1-16"),
            listen_s=min(LISTEN_MAX_S, float(form.get("listen") or 0)),
            radio_s=15.0,
        )

    async def _scan(self, asked: Asked, lend: object) -> None:
        activity = self.scan
        try:
            held = Held(self._desk.status())
            self.findings = await scan(
                asked, activity.say, self.findings.append, held=held, lend=self._lend if lend else None
            )
            last_scan.keep(self.config.data_dir, self.findings, time.time_ns() // 1_000_000)
        except (OSError, TooMany) as error:
            activity.error = str(error)
        except Exception as error:
            log.exception("a scan failed")
            activity.error = f"{type(error).__name__}: {error}"

    @asynccontextmanager
    async def _lend(self, what: str) -> AsyncIterator[None]:
        async with self._desk.crew.lent(what):
            yield

    async def _change(self, request: letters.Apply) -> None:
        async def send(answer: letters.Answer) -> None:
            match answer:
                case letters.Said(text):
                    self.change.say(text)
                case letters.Refused(text):
                    self.change.error = text
                case letters.Done(text, warnings):
                    self.change.done = "\n".join([text, *warnings])

        await self._desk.apply(request, send)


def expected_of(config: GatewayConfig) -> str:
    """The digest by which a form says which text it showed."""
    return digest(config.text)


def known_places(file: Path) -> list[tuple[str, str]]:
    """(GLN, name) of a registry document's places; none where it cannot be read."""
    try:
        places = tomllib.loads(file.read_text("utf-8")).get("place", [])
        return [(str(place["gln"]), str(place.get("name", ""))) for place in places]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []


def _wish(form: Mapping[str, str]) -> Wish:
    number = {key: float(form[key].replace(",", ".")) for key in ("above", "below") if form.get(key, "").strip()}
    fields = {
        "name": form.get("name", "").strip(),
        "place": form.get("place", "").strip(),
        "sensor": form.get("sensor", "").strip(),
        "note": form.get("note", "").strip(),
        "interval_s": float(form.get("interval") or 60),
        "step": form.get("step") or None,
        "valid_from": datetime.datetime.now(datetime.UTC).astimezone(),
        **number,
    }
    try:
        return msgspec.convert(fields, Wish)
    except msgspec.ValidationError as error:
        raise BindRefused(str(error)) from error


def _write(config: Path, registry: Path, bound: Bound) -> None:
    """Both files; a service that may not write there says what to do. Raises BindRefused."""
    try:
        for path, text in ((registry, bound.registry), (config, bound.config)):
            mode = path.stat().st_mode & 0o777 if path.exists() else 0o640
            replace_file(path, text.encode(), mode=mode)
    except OSError as error:
        raise BindRefused(
            f"{error.filename or config}: {error.strerror}; the service needs ReadWritePaths={config.parent}"
        ) from error
