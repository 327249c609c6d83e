"""The Prometheus text keeps the rules of the exposition format (version 0.0.4) and of naming, whatever is in it."""

from __future__ import annotations

import re
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from coldproof.edge_command import app
from coldproof.edge_metrics import exposition
from edge.device import DeviceState
from edge.health import write_health
from tests.coldproof.test_edge_command import CONFIG, health

NAME = re.compile(r"[a-z_:][a-z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\[\\"n])*)"(?:,|$)')
BASE_UNITS = ("_seconds", "_bytes", "_ratio", "_total", "_info")

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def parse(text: str) -> Samples:
    """A strict reading: HELP, TYPE and samples of a family in this order and in one group, no sample twice."""
    assert text.endswith("\n")
    assert "\n\n" not in text
    kinds: dict[str, str] = {}
    samples: Samples = {}
    family = helped = ""
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            helped, _, told = line[7:].partition(" ")
            assert told
        elif line.startswith("# TYPE "):
            family, kind = line[7:].split(" ")
            assert family == helped
            assert family not in kinds, "a family is one group"
            assert NAME.fullmatch(family)
            assert kind in {"gauge", "counter"}
            assert family.endswith("_total") == (kind == "counter")
            kinds[family] = kind
        else:
            found = re.fullmatch(r"([a-z0-9_:]+)(?:\{(.*)\})? (\S+)", line)
            assert found is not None, line
            assert found[1] == family, "samples stand below their TYPE"
            labels = tuple(LABEL.findall(found[2] or ""))
            assert LABEL.sub("", found[2] or "") == "", line
            assert (family, labels) not in samples
            samples[family, labels] = float(found[3])
    return samples


def test_what_the_status_holds_is_there() -> None:
    samples = parse(exposition(health()))
    assert samples["coldproof_gateway_observations_refused_total", ()] == 2
    assert samples["coldproof_gateway_buffer_full", ()] == 1
    device = ("device", "room-1")
    states = {state: samples["coldproof_gateway_device_state", (device, ("state", state))] for state in STATES}
    assert states == {"up": 0, "silent": 1, "down": 0}
    assert samples["coldproof_gateway_info", (("gateway", "gw-kho-01"), ("version", "0.1"), ("simulated", "true"))] == 1


STATES = ("up", "silent", "down")


def test_what_is_not_known_has_no_sample() -> None:
    names = {name for name, _ in parse(exposition(health()))}
    assert "coldproof_gateway_uplink_last_receipt_timestamp_seconds" not in names
    assert "coldproof_gateway_certificate_expiry_seconds" not in names
    assert "coldproof_gateway_room_seconds" not in names


def test_units_are_base_units() -> None:
    for name, _ in parse(exposition(health())):
        assert not re.search(r"_(ms|milliseconds|minutes|hours|days|kb|mb|percent)(_|$)", name), name
        if re.search(r"seconds|bytes|ratio", name):
            assert name.endswith(BASE_UNITS), name


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.text(max_size=20), min_size=1, max_size=4, unique=True), st.integers(0, 2**40))
def test_no_name_breaks_the_format(names: list[str], number: int) -> None:
    ill = DeviceState("x", "up", 0, None, "", None, 1, 1, 0, 0, 0, 0)
    devices = [msgspec.structs.replace(ill, name=name, polls=number) for name in names]
    samples = parse(exposition(health(devices=devices)))
    assert sum(name == "coldproof_gateway_device_polls_total" for name, _ in samples) == len(devices)


@pytest.mark.parametrize(("age_s", "status", "up"), [(0, 0, 1), (3600, 1, 0)])
def test_the_command_prints_it_also_of_a_stopped_gateway(tmp_path: Path, age_s: float, status: int, up: int) -> None:
    (tmp_path / "gateway.toml").write_text(CONFIG)
    (tmp_path / "data").mkdir()
    write_health(tmp_path / "data", health(written_at_ms=int((time.time() - age_s) * 1000)))
    result = CliRunner().invoke(app, ["status", str(tmp_path / "gateway.toml"), "--prometheus"])
    assert result.exit_code == status
    assert parse(result.stdout)["coldproof_gateway_up", ()] == up
