"""What stands in an installation report, in one language, as plain text. Pure but for reading its words.

The report says what is; what is missing or wrong is listed first, so that nobody signs it off unseen.
"""

from __future__ import annotations

import datetime
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any, Literal

import msgspec

from edge.commission.installation import Installation, Position
from edge.commission.kept import digest
from edge.commission.letters import Look, Seen
from edge.commission.words import SIGNS
from edge.config import DeviceConfig, GatewayConfig
from edge.crew import claims_of
from edge.drivers.registry import name_of
from edge.limits import Limit

Language = Literal["vi", "en"]


class Report(msgspec.Struct, frozen=True):
    """Everything as text. tables: rows of cells, in the order of their headings."""

    words: dict[str, str]
    language: Language
    simulated: bool
    faults: list[str]
    facts: list[tuple[str, str]]
    devices: list[list[str]]
    points: list[list[str]]
    calibration: list[list[str]]
    tests: list[str]
    software: list[tuple[str, str]]


def make_report(
    look: Look,
    config: GatewayConfig,
    *,
    installation: Installation,
    positions: Mapping[str, Position],
    kid: str,
    software: Mapping[str, str],
    language: Language,
    now: datetime.datetime,
) -> Report:
    """The report at this moment. kid: the gateway's signing key, by its id. now: aware, local."""
    words = words_in(language)
    maker = _Maker(look, config, installation=installation, positions=positions, language=language)
    return Report(
        words=words,
        language=language,
        simulated=look.health.simulated,
        faults=maker.faults(now.date()),
        facts=maker.facts(kid, now),
        devices=[maker.device(device) for device in config.devices],
        points=[maker.point(channel) for channel in maker.channels],
        calibration=maker.calibration(),
        tests=[f"{_when(seen.at_ms)}  {seen.channel}  {maker.value(seen)}" for seen in look.tests],
        software=list(software.items()),
    )


@cache
def words_in(language: Language) -> dict[str, str]:
    """The words of a language."""
    text = (resources.files("edge.commission") / "report.toml").read_text("utf-8")
    found: dict[str, str] = tomllib.loads(text)[language]
    return found


class _Maker:
    def __init__(
        self,
        look: Look,
        config: GatewayConfig,
        *,
        installation: Installation,
        positions: Mapping[str, Position],
        language: Language,
    ) -> None:
        words = words_in(language)
        self._look, self._config, self._words, self._language = look, config, words, language
        self._installation, self._positions = installation, positions
        self._newest = {seen.channel: seen for seen in look.newest}
        self._first = {seen.channel: seen for seen in look.first}
        self._limits = {limit.channel: limit for limit in config.limits}
        self._intervals = {device.name: device.interval_s for device in config.devices}
        names = set(self._intervals)
        mine = {channel for channel in self._newest if channel.partition("/")[0] in names}
        bound = {channel for channel in positions if channel.partition("/")[0] in names}
        self.channels = sorted(mine | bound)

    def facts(self, kid: str, now: datetime.datetime) -> list[tuple[str, str]]:
        """The head of the report."""
        words, health, installation = self._words, self._look.health, self._installation
        link = words["not_connected"]
        if health.uplink.connected:
            link = words["connected"].format(when=_when(health.uplink.last_receipt_ms))
        return [
            (words["gateway"], health.gateway),
            (words["customer"], installation.customer),
            (words["address"], installation.address),
            (words["installer"], installation.installer),
            (words["made_at"], f"{now:%d/%m/%Y %H:%M:%S %z}"),
            (words["clock"], words[f"clock_{health.clock_state}"]),
            (words["link"], link),
            (words["key"], kid),
            (words["digest"], digest(self._config.text)),
        ]

    def faults(self, today: datetime.date) -> list[str]:
        """What has to be put right before somebody signs."""
        words, found = self._words, []
        for state in self._look.health.devices:
            if state.state != "up":
                word = words[state.state]
                found.append(words["fault_state"].format(device=state.name, state=word, why=state.last_error or "–"))
        for channel in self.channels:
            seen = self._newest.get(channel)
            if seen is not None and seen.quality == "sensor_error":
                found.append(f"{channel}: {words['quality_sensor_error']}")
            if channel not in self._positions and _is_measurement(seen):
                found.append(words["fault_place"].format(channel=channel))
        found += [words["stuck"].format(channel=channel, count=count) for channel, count in self._look.stuck.items()]
        found += [
            words["fault_due"].format(channel=one.channel, due=f"{one.due:%d/%m/%Y}")
            for one in self._installation.calibration
            if one.due is not None and one.due < today
        ]
        if self._look.health.clock_state == "unsynced":
            found.append(f"{words['clock']}: {words['clock_unsynced']}")
        if not self._look.health.uplink.connected:
            found.append(f"{words['link']}: {words['not_connected']}")
        return found

    def device(self, device: DeviceConfig) -> list[str]:
        """Name, kind, connection, serial number, state."""
        state = next((state for state in self._look.health.devices if state.name == device.name), None)
        mine = {each.sensor for channel, each in self._positions.items() if channel.partition("/")[0] == device.name}
        calibrated = {one.sensor for one in self._installation.calibration if one.channel.startswith(f"{device.name}/")}
        serials = sorted((mine | calibrated) - {""})
        where = [f"{claim.what.partition(':')[2]} {claim.part}".rstrip() for claim in claims_of(device)]
        return [
            device.name,
            _kind(device),
            ", ".join(where) or "–",
            ", ".join(serials) or "–",
            self._words[state.state] if state is not None else "–",
        ]

    def point(self, channel: str) -> list[str]:
        """Channel, position, interval, limits, first reading, newest reading."""
        position, words = self._positions.get(channel), self._words
        where = words["no_position"] if _is_measurement(self._newest.get(channel)) else "–"
        if position is not None:
            where = ", ".join(part for part in (position.place or position.gln, position.note) if part)
        interval_s = self._intervals.get(channel.partition("/")[0])
        return [
            channel,
            where,
            self._number(f"{interval_s:g}") + " s" if interval_s else "–",
            self._limit(self._limits.get(channel), channel),
            self._told(self._first.get(channel)),
            self._told(self._newest.get(channel)),
        ]

    def calibration(self) -> list[list[str]]:
        """A row for each measurement, entered or not."""
        entered = {one.channel: one for one in self._installation.calibration}
        measured = [channel for channel in self.channels if _is_measurement(self._newest.get(channel))]
        rows = []
        for channel in dict.fromkeys([*measured, *entered]):
            one = entered.get(channel)
            if one is None:
                rows.append([channel, self._words["no_calibration"], "", "", "", ""])
                continue
            dates = [f"{day:%d/%m/%Y}" if day else "" for day in (one.date, one.due)]
            rows.append([channel, one.certificate, one.laboratory, *dates, one.uncertainty])
        return rows

    def value(self, seen: Seen) -> str:
        """A value and its mark."""
        mark = self._words.get(f"quality_{seen.quality}", "")
        text = (
            self._number(seen.value) + SIGNS.get(seen.unit, f" {seen.unit}") if seen.unit and seen.value else seen.value
        )
        return f"{text} {mark}".strip()

    def _told(self, seen: Seen | None) -> str:
        if seen is None:
            return self._words["no_reading"]
        return f"{self.value(seen)}\n{_when(seen.at_ms)}"

    def _limit(self, limit: Limit | None, channel: str) -> str:
        if limit is None:
            return self._words["no_limit"]
        seen = self._newest.get(channel)
        sign = SIGNS.get(seen.unit, f" {seen.unit}") if seen is not None else ""
        bounds = {"above": limit.above, "below": limit.below}
        told = {name: self._number(f"{bound:g}") + sign for name, bound in bounds.items() if bound is not None}
        return "\n".join(self._words[name].format(value=value) for name, value in told.items())

    def _number(self, text: str) -> str:
        text = text.replace("-", "\N{MINUS SIGN}", 1) if text.startswith("-") else text
        return text.replace(".", ",", 1) if self._language == "vi" else text


def _is_measurement(seen: Seen | None) -> bool:
    """Whether evidence may rest on it: a temperature or a humidity."""
    return seen is not None and (seen.unit == "CEL" or (seen.unit == "P1" and "hum" in seen.channel))


def _kind(device: DeviceConfig) -> str:
    choice: Any = getattr(device.options, "profile", None)
    profile = getattr(choice, "profile", choice)
    title = getattr(profile, "title", "")
    return str(title) or name_of(device.driver)


def _when(at_ms: int | None) -> str:
    if at_ms is None:
        return "–"
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC).astimezone():%d/%m/%Y %H:%M:%S}"
