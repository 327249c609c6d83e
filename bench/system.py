"""What a fault can be tried on: a gateway with whoever stores its readings. House (ours) and PeerHouse are such."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from bench.account import Kept
from bench.counting import Address, Channel


class System(Protocol):
    """The gateway polls the bench's devices and sends through `uplink_port`, which leads to the broker."""

    name: str

    def start(self) -> None:
        """Start the gateway and what stores its readings; return when readings arrive."""

    def start_gateway(self) -> None:
        """Start the gateway again, with what it kept; returns at once."""

    def kill_gateway(self) -> float:
        """SIGKILL it; the host monotonic time at which it was sure to be dead."""

    def stop_gateway(self) -> None:
        """Ask it to leave in order, and wait."""

    def gateway_pid(self) -> int:
        """The process to be measured."""

    def storing_pid(self) -> int:
        """The process that stores."""

    def check(self) -> None:
        """Raise StageError when something ended on its own."""

    def stored(self) -> Mapping[Channel, list[Kept]]:
        """What is stored, per channel, in the order a reader gets it."""

    def count(self) -> int:
        """How many readings are stored."""

    def first_arrival_ms(self, since_ms: int) -> int | None:
        """Wall time at which the first readings were stored at or after `since_ms`."""

    def close(self) -> None:
        """End everything."""


class Place(msgspec.Struct, frozen=True):
    """Where a system lives and what it is connected to.

    devices: from dev-{first_device} on; none: nothing to poll.
    cloud_tables: for the configuration of our cloud, of a broker as we ship it; none: plain MQTT.
    time_file: of simulated time, in place of the machine's.
    """

    folder: Path
    devices: list[Address]
    broker_port: int
    uplink_port: int
    cloud_tables: str = ""
    interval_s: float = 1.0
    registers: int = 10
    first_device: int = 0
    time_file: Path | None = None

    @property
    def channels(self) -> int:
        """How many series there are."""
        return len(self.devices) * self.registers
