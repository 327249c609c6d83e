"""What a simulated peripheral offers to whoever connects: services of characteristics."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple


class Characteristic(NamedTuple):
    """read: its bytes now. write: what it does with bytes, and the frames that its service notifies in answer."""

    uuid: str
    flags: tuple[str, ...]
    read: Callable[[], bytes] | None = None
    write: Callable[[bytes], list[bytes]] | None = None


class Service(NamedTuple):
    """A primary service. What is written to one characteristic is answered on its first that notifies."""

    uuid: str
    characteristics: tuple[Characteristic, ...]


class Peripheral(NamedTuple):
    """A device that can be connected to. answer_s: how long a connection takes."""

    address: str
    services: tuple[Service, ...]
    answer_s: float = 0.01
