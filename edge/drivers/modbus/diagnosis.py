"""What is told of a Modbus line: proposals, and what is wrong with those that cannot be understood. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from edge.commission.finder import Asked, Cause, Finding, Place
from edge.commission.ports import Port
from edge.drivers.modbus.fingerprint import Fit, spare_profiles
from edge.drivers.modbus.probe import Judged, Verdict

BITS = {"N": 10, "E": 11, "O": 11}


class Setting(NamedTuple):
    """How a line is set."""

    baudrate: int
    parity: str
    stopbits: int

    def __str__(self) -> str:
        return f"{self.baudrate} 8{self.parity}{self.stopbits}"

    @property
    def character_s(self) -> float:
        """The time of one character on the wire."""
        return (BITS[self.parity] + self.stopbits - 1) / self.baudrate


class Heard(NamedTuple):
    """What a unit did at the setting where it did most."""

    unit_id: int
    setting: Setting
    judged: Judged


def usual_setting(heard: Iterable[Heard]) -> Setting | None:
    """How most of the line speaks."""
    counts = Counter(one.setting for one in heard if one.judged.verdict is Verdict.ANSWER)
    return max(counts, key=lambda setting: counts[setting]) if counts else None


def line_keys(port: Port, one: Heard) -> dict[str, object]:
    setting = one.setting
    return {
        "port": port.path,
        "unit_id": one.unit_id,
        "baudrate": setting.baudrate,
        "parity": setting.parity,
        "stopbits": setting.stopbits,
    }


def device(place: Place, one: Heard, fits: Sequence[Fit], usual: Setting | None) -> Finding:
    where = f"{place.address} unit {one.unit_id}, {one.setting}"
    assert place.port is not None
    if not fits:
        return _unknown(where, one.judged)
    finding = proposal(where, fits, line_keys(place.port, one))
    if usual is not None and one.setting != usual and not finding.fault:
        return Finding(
            where=where,
            what=finding.what,
            certainty=finding.certainty,
            table=finding.table,
            live=finding.live,
            also=finding.also,
            channels=finding.channels,
            cause=Cause.OTHER_SETTINGS,
            fault=f"it speaks {one.setting}, its neighbours on this line {usual}: set it to {usual}, then scan again",
        )
    return finding


def proposal(where: str, fits: Sequence[Fit], line: dict[str, object]) -> Finding:
    best = fits[0]
    alike = [f"{fit.profile} ({', '.join(fit.live[:2])})" for fit in fits[1:] if fit.rank[0] == best.rank[0]]
    broken = ", ".join(best.broken)
    return Finding(
        where=where,
        what=best.title,
        certainty="possible" if alike else "likely",
        table={"driver": "modbus", "profile": best.profile, **spare_profiles(best.profile, line)},
        live=best.live,
        also=alike,
        channels=best.channels,
        cause=Cause.PROBE_FAULT if broken else None,
        fault=f"the device answers, and says that its probe is broken ({broken}): look at the probe and its cable"
        if broken
        else "",
    )


def _unknown(where: str, judged: Judged) -> Finding:
    said = f"exception {judged.exception}" if judged.exception else judged.data[3:-2].hex(" ")
    return Finding(
        where=where,
        what="a Modbus device that no profile fits",
        live=[f"it says {said}"],
        fault="write a profile from its manual (docs/devices.md, Profiles), and name it in `profile`",
    )


def trouble(place: Place, one: Heard, heard: Sequence[Heard], *, speaks: bool) -> Finding:
    """Why a unit that makes sounds cannot be understood."""
    where = f"{place.address} unit {one.unit_id}, {one.setting}"
    clean = any(other.judged.verdict is Verdict.ANSWER for other in heard)
    rubble = sum(other.judged.verdict is Verdict.RUBBLE for other in heard)
    alone = one.judged.verdict is Verdict.DOUBLE or (not speaks and (clean or rubble == 1))
    if alone:
        return Finding(
            where=where,
            what="two devices with one address",
            cause=Cause.DUPLICATE_ADDRESS,
            fault=f"only when unit {one.unit_id} is asked, {_shown(one.judged.data)} come: two devices answer at once. "
            "Take one of them off the line, give it another address, and scan again",
        )
    return Finding(
        where=where,
        what="a noisy line",
        cause=Cause.NOISE,
        fault=f"{_shown(one.judged.data)} come, and are no frame"
        + (", also when nobody is asked" if speaks else "")
        + ": check A and B, the shield, the end resistors and the way of the cable beside motors",
    )


def _shown(data: bytes) -> str:
    return f"{len(data)} bytes ({data[:12].hex(' ')}{' …' if len(data) > 12 else ''})"


def nobody(place: Place, asked: Asked, *, settings: int, speaks: bool) -> Finding:
    units = f"units {asked.units[0]} to {asked.units[-1]}" if asked.units else "no units"
    if speaks:
        return Finding(
            where=place.address,
            what="something that speaks by itself",
            cause=Cause.NOISE,
            fault="bytes come without being asked for, in no form we know: noise, or a device that is no Modbus device",
        )
    return Finding(
        where=place.address,
        what="a serial port with nobody on it",
        cause=Cause.NO_ANSWER,
        fault=f"no answer at any of {settings} line settings from {units}: is the device powered, A and B not "
        "swapped, its address among these (--units 1-247 tries all)?",
    )
