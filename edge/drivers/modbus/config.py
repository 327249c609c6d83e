"""The keys of a `[[device]]` with `driver = "modbus"`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from edge.drivers.base import Claim
from edge.drivers.modbus.codec import (
    PROFILE_MAX_CHARS,
    CodecError,
    Profile,
    Requests,
    Serial,
    parse_profile,
    plan,
    shipped_profile,
)
from edge.drivers.modbus.codec.profile import Gap, PauseS, RegisterCount
from edge.drivers.ports import Port

TCP_PORT = 502  # Modbus Messaging on TCP/IP V1.0b §4.3.2
LOOK_MAX_S = 50.0  # under the minute after which the supervisor takes a driver for hung


Usual = TypeVar("Usual", Serial, Requests)


class ProfileChoice:
    """A profile by the name of one that comes with coldproof, or by the path of a document (`….toml`)."""

    __slots__ = ("profile",)

    def __init__(self, profile: Profile) -> None:
        self.profile = profile

    @classmethod
    def from_config(cls, value: object, folder: Path) -> ProfileChoice:
        """Find and read it. Raises ValueError."""
        if not isinstance(value, str) or "\0" in value:
            raise ValueError(f"expected the name of a profile or the path of one (….toml), got {value!r:.60}")
        if not value.endswith(".toml"):
            return cls(shipped_profile(value))
        try:
            with (folder / value).open(encoding="utf-8") as document:
                return cls(parse_profile(document.read(PROFILE_MAX_CHARS + 1)))
        except (OSError, UnicodeDecodeError, CodecError) as error:
            raise ValueError(f"{folder / value}: {error}") from error


class ModbusConfig(msgspec.Struct, frozen=True, kw_only=True):
    """One Modbus device, on a serial line (`port`) or over TCP (`host`).

    baudrate, bytesize, parity and stopbits are the profile's where they are not given, and so are max_gap,
    max_registers, one_by_one and pause_s. framing: over TCP, `rtu` for a converter that passes RTU frames on.
    """

    profile: ProfileChoice
    port: Port | None = None
    host: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] | None = None
    tcp_port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = TCP_PORT
    unit_id: Annotated[int, msgspec.Meta(ge=1, le=247)] = 1  # Modbus over Serial Line V1.02 §2.2: 248–255 reserved
    baudrate: Annotated[int, msgspec.Meta(ge=300, le=1_000_000)] | None = None
    bytesize: Literal[7, 8] | None = None
    parity: Literal["N", "E", "O"] | None = None
    stopbits: Literal[1, 2] | None = None
    timeout_s: Annotated[float, msgspec.Meta(ge=0.02, le=60)] = 1.0
    framing: Literal["tcp", "rtu"] | None = None
    max_gap: Gap | None = None
    max_registers: RegisterCount | None = None
    one_by_one: bool | None = None
    pause_s: PauseS | None = None
    pause_after_open_s: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.0

    @property
    def serial(self) -> Serial:
        """How the line is set."""
        return self._over(self.profile.profile.serial)

    @property
    def requests(self) -> Requests:
        """How the device is asked."""
        return self._over(self.profile.profile.requests)

    @property
    def link(self) -> str:
        """The key of the serial line or socket that devices share."""
        return f"serial:{self.port}" if self.port is not None else f"tcp:{self.host}:{self.tcp_port}"

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong) for rules between keys."""
        if (self.port is None) == (self.host is None):
            yield "port", "give either port (a serial line) or host (TCP), exactly one of them"
        if self.port is None:
            for name in self.profile.profile.serial.__struct_fields__:
                if getattr(self, name) is not None:
                    yield name, "belongs to a serial line, and this device is reached over TCP"
        elif self.framing == "tcp":
            yield "framing", "a serial line carries RTU frames: leave it out, or give host"
        yield from self._plan_problems()

    def claims(self) -> list[Claim]:
        """What this device occupies."""
        settings = ""
        if self.port is not None:
            line = self.serial
            settings = f"{line.baudrate} {line.bytesize}{line.parity}{line.stopbits}"
        return [Claim(key="unit_id", what=self.link, part=f"unit {self.unit_id}", settings=settings)]

    def _plan_problems(self) -> Iterator[tuple[str, str]]:
        requests = self.requests
        widest = max(self.profile.profile.points, key=lambda point: point.width)
        if widest.width > requests.max_registers:
            yield "max_registers", f"point {widest.name} alone takes {widest.width} registers"
            return
        pauses = len(plan(self.profile.profile, requests)) - 1
        if pauses * requests.pause_s > LOOK_MAX_S:
            yield "pause_s", f"{pauses} pauses of {requests.pause_s:g} s are more than the {LOOK_MAX_S:g} s of one look"

    def _over(self, usual: Usual) -> Usual:
        """The profile's own settings, with ours where they are given."""
        own: dict[str, Any] = {name: getattr(self, name) for name in usual.__struct_fields__}
        return msgspec.structs.replace(usual, **{name: value for name, value in own.items() if value is not None})
