"""docs/devices/rfid.md is held against the code: its examples load, its tables are complete, its output is true."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest

from coldproof.epc_command import decode_line
from coldproof.filter_lines import decoded
from edge.config import parse_config
from edge.drivers.llrp.config import LlrpConfig
from edge.drivers.rfid.scan import PassKeys
from edge.drivers.uhf.config import UhfConfig
from tests.docs.markdown import ROOT, fenced

PAGE = (ROOT / "docs" / "devices" / "rfid.md").read_text()
REST = '[gateway]\nname = "gw"\ndata_dir = "data"\n[uplink]\nhost = "broker"\ncloud_key = "cloud-public.json"\n'
COMMON = set(PassKeys.__struct_fields__)


def parse(text: str) -> Any:
    return parse_config(REST + text, path=Path("gateway.toml"))


def test_examples_are_configurations() -> None:
    examples = fenced(PAGE, "toml")
    assert [type(parse(text).devices[0].options) for text in examples] == [LlrpConfig, UhfConfig]


def table(heading: str) -> dict[str, str]:
    """Key → default, of the table below a heading; a row may name two keys."""
    section = re.split(r"^#{1,3} ", PAGE.partition(f"{heading}\n")[2], maxsplit=1, flags=re.MULTILINE)[0]
    rows = [[cell.strip() for cell in line.split("|")[1:]] for line in section.splitlines() if line.startswith("| `")]
    return {key: row[2].strip("`") for row in rows for key in re.findall(r"`(\w+)`", row[0])}


@pytest.mark.parametrize(("heading", "config"), [('driver = "llrp"', LlrpConfig), ('driver = "uhf"', UhfConfig)])
def test_tables_of_keys_are_complete(heading: str, config: type[msgspec.Struct]) -> None:
    own, common = table(f"### Keys of `{heading}`"), table("## Keys of both drivers")
    assert {*own, *common} == set(config.__struct_fields__)
    assert not {*own} & {*common}
    for field in msgspec.structs.fields(config):
        if field.name in own and isinstance(field.default, int | float) and not isinstance(field.default, bool):
            assert own[field.name] == str(field.default)
    assert set(common) == COMMON | {"timeout_s"}


def test_shown_decoding_is_what_comes_out() -> None:
    (shown,) = fenced(PAGE, "console")
    command, out = shown.strip().split("\n")
    assert list(decoded(io.BytesIO(command.split()[2].encode()), decode_line)) == [out.encode()]


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("outside = [1]", "inside: a direction needs antennas on both sides"),
        ("outside = [1]\ninside = [1, 2]", "inside: antenna 1 cannot be on both sides"),
        ("antennas = [1, 2]\noutside = [1]\ninside = [3]", r"inside: antenna 3 is not among antennas = \[1, 2\]"),
        ('outside = [1]\ninside = [2]\npoint = "in"', "point: 'in' is the channel of a direction"),
        ("dwell_s = 10\nlongest_s = 5", r"longest_s: 5 s is shorter than dwell_s \(10 s\)"),
        ("dwell_s = 0", "dwell_s"),
        ("antennas = [0]", "antennas"),
        ("port = 70000", "port"),
        ("unknown = 1", "unknown"),
    ],
)
def test_wrong_configurations_are_named(line: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse(f'[[device]]\nname = "d"\ndriver = "llrp"\nhost = "h"\n{line}\n')


def test_two_devices_cannot_share_a_reader() -> None:
    one = '[[device]]\nname = "{}"\ndriver = "llrp"\nhost = "h"\n'
    with pytest.raises(ValueError, match="tcp:h:5084"):
        parse(one.format("a") + one.format("b"))
