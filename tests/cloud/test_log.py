"""The log for machines: every line is JSON, with the template, the message and what it names."""

from __future__ import annotations

import json
import logging
import sys

from cloud.log import TEXT_MAX, JsonFormatter


def _line(template: str, *args: object, error: bool = False) -> dict[str, object]:
    info = None
    if error:
        try:
            raise ValueError("broken\nin two lines")
        except ValueError:
            info = sys.exc_info()
    record = logging.LogRecord("cloud.ingest", logging.WARNING, "file", 1, template, args, info)
    text = JsonFormatter().format(record)
    assert "\n" not in text
    found: dict[str, object] = json.loads(text)
    return found


def test_named_values_are_fields() -> None:
    line = _line("asked again: %s gateway=%s stream=%s first=%d share=%.1f %%", "why", "gw-1", b"x", 7, 0.5)
    assert line["event"] == "asked again: %s gateway=%s stream=%s first=%d share=%.1f %%"
    assert str(line["message"]).startswith("asked again: why gateway=gw-1")
    assert line["fields"] == {"gateway": "gw-1", "stream": "b'x'", "first": 7, "share": 0.5}
    assert (line["level"], line["logger"]) == ("warning", "cloud.ingest")


def test_hostile_values_stay_on_their_line() -> None:
    line = _line("topic=%s", 'a"\n{"level":"error"}\x1b[2J\ud800'.encode(errors="replace").decode())
    assert line["level"] == "warning"


def test_error_comes_with_its_traceback() -> None:
    assert "ValueError: broken" in str(_line("a part failed", error=True)["error"])


def test_endless_values_are_cut() -> None:
    assert len(str(_line("what=%s", "x" * 100_000)["message"])) == TEXT_MAX
