"""The gateway's configuration: a TOML document, checked whole before anything is opened.

Every problem is told at once, each with its path (`device[1].baudrate`) and line. Files that the configuration
names (profiles, logs, the clock) are relative to its own folder. What the drivers' own keys are, their
`config_type` says.
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated, Any

import msgspec

from edge.alarms import AlarmTable
from edge.buffer.base import BufferOptions, SealOptions
from edge.config_table import Document, Problem
from edge.drivers.base import ChecksItself, Claim, ClaimsDevices
from edge.drivers.registry import DriverClass, DriverNotInstalled, UnknownDriver, driver_names, load_driver
from edge.health import HealthTable
from edge.limits import Limit
from edge.local.table import LocalTable
from edge.self_report import DEVICE as OURSELVES
from edge.uplink.base import UplinkOptions
from wire.topics import GATEWAY_PATTERN

CONFIG_MAX_BYTES = 1024 * 1024  # a gateway with 1,000 devices needs about 200 KiB
LIMITS_MAX = 10_000  # ten for each of DEVICES_MAX
KNOWN_TABLES = "[gateway], [clock], [uplink], [buffer], [seal], [health], [alarm], [local], [[limit]], [[device]]"
TABLES = {"gateway", "clock", "uplink", "buffer", "seal", "health", "alarm", "local", "limit", "device"}
DEVICES_MAX = 1000  # what one gateway can poll once a minute over a few lines
DEVICE_NAME = Annotated[
    str,
    msgspec.Meta(
        pattern="^[a-z0-9][a-z0-9._-]{0,62}\\Z",
        description="a name of a-z, 0-9, '.', '_' and '-' that begins with a letter or digit, up to 63 characters",
    ),
]
GATEWAY_NAME = Annotated[
    str,
    msgspec.Meta(
        pattern=f"^{GATEWAY_PATTERN.pattern}\\Z",
        description="a name of a-z, 0-9 and '-' that begins with a letter or digit, up to 63 characters",
    ),
]


class ConfigError(ValueError):
    """The configuration cannot be used; `problems` are all that were found, `str()` is one line for each."""

    def __init__(self, path: Path, problems: list[Problem]) -> None:
        self.path = path
        self.problems = sorted(problems)
        super().__init__("\n".join(self._line(problem) for problem in self.problems))

    def _line(self, problem: Problem) -> str:
        place = f"{self.path.name}:{problem.line}" if problem.line else self.path.name
        return f"{place}: {problem.path}: {problem.what}" if problem.path else f"{place}: {problem.what}"


class GatewayTable(msgspec.Struct, frozen=True):
    """`[gateway]`: who this is, and where it keeps its data."""

    name: GATEWAY_NAME
    data_dir: Path


class ClockTable(msgspec.Struct, frozen=True):
    """`[clock]`: simulated names the shared file of simulated time; such a gateway is marked simulated for ever."""

    simulated: Path | None = None


class DeviceTable(msgspec.Struct, frozen=True):
    """What every `[[device]]` may say. interval_s: between polls, in the gateway clock's seconds.

    timeout_s: of one exchange, in real seconds.
    """

    name: DEVICE_NAME
    driver: str
    interval_s: Annotated[float, msgspec.Meta(ge=0.01, le=86_400)] | None = None
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 1.0


class DeviceConfig(msgspec.Struct, frozen=True):
    """One device, ready to be made: `driver(name, options, ctx)`."""

    name: str
    driver: DriverClass
    options: Any  # the driver's config_type
    interval_s: float | None
    timeout_s: float


class GatewayConfig(msgspec.Struct, frozen=True):
    """Everything a gateway needs to know."""

    path: Path
    name: str
    data_dir: Path
    simulated_time: Path | None
    uplink: UplinkOptions
    buffer: BufferOptions
    seal: SealOptions
    health: HealthTable
    devices: list[DeviceConfig]
    limits: list[Limit] = []
    alarm: AlarmTable = AlarmTable()
    local: LocalTable | None = None  #: no page without the table
    text: str = ""  #: the document itself


def load_config(path: Path) -> GatewayConfig:
    """Read and check a configuration. Raises ConfigError with every problem found."""
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_MAX_BYTES + 1)
    except OSError as error:
        raise ConfigError(path, [Problem(0, "", f"cannot be read ({error.strerror})")]) from error
    if len(data) > CONFIG_MAX_BYTES:
        raise ConfigError(path, [Problem(0, "", f"longer than {CONFIG_MAX_BYTES} bytes")])
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise ConfigError(path, [Problem(0, "", f"not UTF-8 text ({error})")]) from error
    return parse_config(text, path)


def parse_config(text: str, path: Path) -> GatewayConfig:
    """Check the text of a configuration that lies at `path`. Raises ConfigError with every problem found."""
    try:
        raw = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ConfigError(path, [Problem(0, "", f"not TOML: {error}")]) from error
    document = Document(text, path.parent)
    for key in raw.keys() - TABLES:
        document.complain(key, f"unknown table, known here: {KNOWN_TABLES}")
    gateway = _table(document, raw, "gateway", GatewayTable, required=True)
    clock = _table(document, raw, "clock", ClockTable)
    uplink = _table(document, raw, "uplink", UplinkOptions, required=True)
    buffer = _table(document, raw, "buffer", BufferOptions)
    seal = _table(document, raw, "seal", SealOptions)
    health = _table(document, raw, "health", HealthTable)
    alarm = _table(document, raw, "alarm", AlarmTable)
    local = _table(document, raw, "local", LocalTable) if "local" in raw else None
    devices = _devices(document, raw.get("device", []))
    limits = _limits(document, raw.get("limit", []))
    if document.problems:
        raise ConfigError(path, document.problems)
    # A table that is missing here would be a problem by now.
    return GatewayConfig(
        path=path,
        name=gateway.name,
        data_dir=gateway.data_dir,
        simulated_time=clock.simulated,
        uplink=_beside(path.parent, uplink),
        buffer=buffer,
        seal=seal,
        health=health,
        devices=devices,
        limits=limits,
        alarm=alarm,
        local=local,
        text=text,
    )


def _table(document: Document, raw: dict[str, Any], name: str, kind: type[Any], *, required: bool = False) -> Any:
    table = document.table(raw, name, required=required)
    if table is None:
        return kind() if name not in raw and not required else None
    return document.read(table, kind, name)


def _devices(document: Document, raw: Any) -> list[DeviceConfig]:
    if not isinstance(raw, list) or not all(isinstance(table, dict) for table in raw):
        document.complain("device", "expected tables [[device]], with two brackets on each side")
        return []
    if len(raw) > DEVICES_MAX:
        document.complain("device", f"{len(raw)} devices, the limit is {DEVICES_MAX}")
        return []
    devices: list[DeviceConfig] = []
    names: dict[str, int] = {}
    claims: list[tuple[int, Claim]] = []
    for at, table in enumerate(raw):
        device = _device(document, table, f"device[{at}]")
        name = table.get("name")
        if name == OURSELVES:
            document.complain(f"device[{at}].name", f'"{name}" is the gateway itself: its own readings have that name')
        if isinstance(name, str) and names.setdefault(name, at) != at:
            document.complain(f"device[{at}].name", f'"{name[:63]}" is the name of device[{names[name]}] already')
        if device is not None:
            devices.append(device)
            if isinstance(device.options, ClaimsDevices):
                claims += [(at, claim) for claim in device.options.claims()]
    _check_claims(document, claims)
    return devices


def _limits(document: Document, raw: Any) -> list[Limit]:
    if not isinstance(raw, list) or not all(isinstance(table, dict) for table in raw):
        document.complain("limit", "expected tables [[limit]], with two brackets on each side")
        return []
    if len(raw) > LIMITS_MAX:
        document.complain("limit", f"{len(raw)} limits, the limit is {LIMITS_MAX}")
        return []
    limits: list[Limit] = []
    first: dict[str, int] = {}
    for at, table in enumerate(raw):
        limit = document.read(table, Limit, f"limit[{at}]")
        if limit is None:
            continue
        if first.setdefault(limit.channel, at) != at:
            document.complain(f"limit[{at}].channel", f"{limit.channel} has limit[{first[limit.channel]}] already")
        limits.append(limit)
    return limits


def _device(document: Document, table: dict[str, Any], path: str) -> DeviceConfig | None:
    own = {key: value for key, value in table.items() if key in DeviceTable.__struct_fields__}
    common = document.read(own, DeviceTable, path)
    driver = _driver(document, table.get("driver"), path)
    if driver is None:
        return None
    # A driver that bounds its own exchanges declares timeout_s too; what is wrong with it is told once.
    shared = driver.config_type.__struct_fields__ if common is not None else ()
    rest = {key: value for key, value in table.items() if key in shared or key not in own}
    options = document.read(rest, driver.config_type, path)
    if options is not None and isinstance(options, ChecksItself):
        for key, what in options.problems():
            document.complain(f"{path}.{key}", what)
    if common is not None and common.interval_s is None and hasattr(driver, "poll"):
        document.complain(path, "interval_s is missing (how often to ask the device, in seconds)")
    if common is None or options is None:
        return None
    return DeviceConfig(common.name, driver, options, common.interval_s, common.timeout_s)


def _driver(document: Document, name: Any, path: str) -> DriverClass | None:
    if not isinstance(name, str):
        if name is None:
            document.complain(path, f"known drivers: {', '.join(driver_names())}")
        return None
    try:
        return load_driver(name)
    except (UnknownDriver, DriverNotInstalled) as error:
        document.complain(f"{path}.driver", str(error))
        return None


def _check_claims(document: Document, claims: list[tuple[int, Claim]]) -> None:
    """Two devices may share a line as different units with equal settings, and nothing else."""
    first: dict[str, tuple[int, Claim]] = {}
    parts: dict[tuple[str, str], int] = {}
    for at, claim in claims:
        path = f"device[{at}].{claim.key}"
        other_at, other = first.setdefault(claim.what, (at, claim))
        same_part = parts.setdefault((claim.what, claim.part), at)
        if same_part != at:
            document.complain(path, f"{claim.what} {claim.part}".rstrip() + f" belongs to device[{same_part}] already")
        elif other_at != at and not (claim.part and other.part):
            document.complain(path, f"{claim.what} belongs to device[{other_at}] already")
        elif claim.settings != other.settings:
            document.complain(
                f"device[{at}]",
                f"sets {claim.what} to {claim.settings}, device[{other_at}] sets it to {other.settings}: "
                "devices on one line speak alike",
            )


def _beside(folder: Path, uplink: UplinkOptions) -> UplinkOptions:
    """Certificates lie beside the configuration unless their paths say otherwise."""
    if uplink.tls is None:
        return uplink
    paths = {name: getattr(uplink.tls, name) for name in uplink.tls.__struct_fields__}
    found = {name: str(folder / path) for name, path in paths.items() if path is not None}
    return msgspec.structs.replace(uplink, tls=msgspec.structs.replace(uplink.tls, **found))
