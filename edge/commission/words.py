"""Observations in words, for a person at a terminal."""

from __future__ import annotations

import datetime

from wire.observation import Observation, Quality, Reading

SIGNS = {"CEL": " °C", "P1": " %", "DBZ": " dBm", "2N": " dB", "C62": "", "SEC": " s", "4L": " MB", "HPA": " hPa"}
MARKS = {
    Quality.SENSOR_ERROR: "PROBE FAULT",
    Quality.OUT_OF_RANGE: "OUT OF RANGE",
    Quality.STALE: "SILENT",
    Quality.TEST: "TEST",
}


def value_of(observation: Observation) -> str:
    """`-21.3 °C`, `PROBE FAULT`, or the code of a scan; control characters are shown, not obeyed."""
    if isinstance(observation, Reading):
        mark = MARKS.get(observation.quality, "")
        number = observation.value
        if number is None:
            return mark or "no number"
        text = f"{number:f}{SIGNS.get(observation.unit, ' ' + observation.unit)}"
    else:
        mark = MARKS.get(observation.quality, "")
        text = "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in observation.code)
        if observation.symbology:
            text += f" (]{observation.symbology})"
    return f"{text} {mark}".rstrip()


def words_of(observation: Observation) -> str:
    """The point's name and its value: `air -21.3 °C`."""
    return f"{observation.channel.partition('/')[2]} {value_of(observation)}"


def line_of(observation: Observation) -> str:
    """One line of `tail`: local time, channel, value."""
    at = datetime.datetime.fromtimestamp(observation.stamp.observed_at_ms / 1000, datetime.UTC).astimezone()
    return f"{at:%H:%M:%S}  {observation.channel:<32}  {value_of(observation)}"


def printable(text: str) -> str:
    """`text` without what a terminal would obey: control and escape characters become replacement characters."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def printable_lines(text: str) -> str:
    """The same for text of several lines: names and values come from outside."""
    return "\n".join(printable(line) for line in text.split("\n"))
