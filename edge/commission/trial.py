"""Test observations: made by a person trying the installation, marked TEST for ever, never evidence. Pure.

A test alarm is a reading just beyond the limit of its channel, so that everything behind it (the local alarm, the
cloud's notification) is tried as it would be used.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal, InvalidOperation
from typing import Protocol

from edge.commission.letters import Test
from edge.config import DeviceConfig, GatewayConfig
from edge.limits import Limit
from wire.observation import CODE_MAX_BYTES, MAX_EXPONENT, MIN_EXPONENT, Observation, Quality, Reading, Scan, Stamp

MANTISSA_MAX = 10**15


class TestRefused(ValueError):
    """No such test can be made; `str()` says why and what to do."""

    __test__ = False


class Devices(Protocol):
    """What runs."""

    @property
    def devices(self) -> list[DeviceConfig]:
        """The configured devices."""

    def channels(self, name: str) -> list[tuple[str, str]]:
        """(channel, unit) of every reading a device can give."""


def make_test(request: Test, config: GatewayConfig, crew: Devices, stamp: Stamp) -> Observation:
    """The observation that a test asks for. Raises TestRefused."""
    name = request.channel.partition("/")[0]
    device = next((device for device in crew.devices if device.name == name), None)
    if device is None:
        known = ", ".join(device.name for device in crew.devices) or "none"
        raise TestRefused(f"no device is called {name[:63]!r}; there are: {known}")
    if request.kind == "scan":
        return _scan(request, device, crew.channels(name), stamp)
    unit = _unit(request.channel, crew.channels(name))
    value = _beyond(request.channel, config.limits) if request.kind == "alarm" else _number(request.value)
    exponent = int(value.as_tuple().exponent)
    exponent = max(MIN_EXPONENT, min(exponent, MAX_EXPONENT, 0))
    mantissa = int(value.scaleb(-exponent))
    if abs(mantissa) > MANTISSA_MAX:
        raise TestRefused(f"{request.value[:40]!r} is no number that a sensor could give")
    return Reading(request.channel, unit, mantissa, exponent, stamp, Quality.TEST)


def _scan(request: Test, device: DeviceConfig, channels: Sequence[tuple[str, str]], stamp: Stamp) -> Scan:
    point = getattr(device.options, "point", None)
    if not isinstance(point, str):
        raise TestRefused(f"{device.name} gives readings, not scans ({', '.join(name for name, _ in channels)})")
    if not request.value or len(request.value.encode()) > CODE_MAX_BYTES:
        raise TestRefused(f"a test scan needs a code of 1 to {CODE_MAX_BYTES} bytes")
    return Scan(f"{device.name}/{point}", request.value, "", stamp, Quality.TEST)


def _unit(channel: str, channels: Sequence[tuple[str, str]]) -> str:
    for name, unit in channels:
        if name == channel:
            return unit
    known = ", ".join(name for name, _ in channels) or "no channels with readings"
    raise TestRefused(f"no channel is called {channel[:127]!r}; this device has {known}")


def _beyond(channel: str, limits: Sequence[Limit]) -> Decimal:
    limit = next((limit for limit in limits if limit.channel == channel), None)
    if limit is None:
        raise TestRefused(f'{channel} has no limit to go beyond: add [[limit]] channel = "{channel}", above = …')
    if limit.above is not None:
        return Decimal(repr(limit.above)) + 1
    assert limit.below is not None  # one of the two, by Limit
    return Decimal(repr(limit.below)) - 1


def _number(text: str) -> Decimal:
    try:
        value = Decimal(text.replace(",", "."))
    except InvalidOperation:
        value = Decimal("nan")
    if not value.is_finite():
        raise TestRefused(f"{text[:40]!r} is no number")
    return value
