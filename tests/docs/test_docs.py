"""The documentation is held against the code: what it names exists, what it shows works, what it lists is complete."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest
import typer

from cloud import config as cloud_config
from cloud import strict_toml
from cloud.registry import document as registry
from cloud.registry.profile import Rule
from coldproof import ledger_witness
from coldproof.main import app
from edge.alarms import AlarmTable
from edge.buffer.base import BufferOptions, SealOptions
from edge.config import ClockTable, DeviceTable, GatewayTable, parse_config
from edge.drivers.barcode.config import BarcodeConfig
from edge.drivers.barcode.options import CommandCard
from edge.drivers.gps.config import GpsConfig
from edge.drivers.hid.config import HidConfig
from edge.drivers.modbus.codec import Block, Point, Profile, Requests, Serial, Settings, parse_profile
from edge.drivers.modbus.config import ModbusConfig
from edge.drivers.onewire.config import OneWireConfig
from edge.drivers.replay.codec import Column
from edge.drivers.replay.config import ReplayConfig
from edge.drivers.serial_line.config import SerialLineConfig
from edge.drivers.serial_line.layout import Point as LinePoint
from edge.health import HealthTable
from edge.limits import Limit
from edge.local.table import LocalTable
from edge.uplink.base import TlsOptions, UplinkOptions
from tests.docs.markdown import (
    PAGES,
    ROOT,
    anchors,
    code,
    commands,
    fenced,
    headings_with_keys,
    key_table,
    links,
    text_of,
    words_of,
)

SCANNERS = ROOT / "docs" / "devices" / "scanners.md"
INSTALLER, CLOUD, ARCHITECTURE = (ROOT / "docs" / name for name in ("installer.md", "cloud.md", "architecture.md"))
ROOMS = ("standards", "wire", "edge", "cloud", "firmware_sim", "coldproof", "tests", "docs", "deploy")

#: The least a gateway needs around an example that shows a part.
REST_OF_A_GATEWAY = {
    "gateway": '[gateway]\nname = "gw"\ndata_dir = "data"\n',
    "uplink": '[uplink]\nhost = "broker"\ncloud_key = "cloud-public.json"\n',
}

GATEWAY_TABLES = {
    "`[gateway]`": GatewayTable,
    "`[clock]`": ClockTable,
    "`[uplink]`": UplinkOptions,
    "`[uplink.tls]`": TlsOptions,
    "`[buffer]`": BufferOptions,
    "`[seal]`": SealOptions,
    "`[[limit]]`": Limit,
    "`[health]`": HealthTable,
    "`[alarm]`": AlarmTable,
    "`[local]`": LocalTable,
    "`[[device]]`": DeviceTable,
    '`[[device]]` with `driver = "modbus"`': ModbusConfig,
    '`[[device]]` with `driver = "gps"`': GpsConfig,
    '`[[device]]` with `driver = "replay"`': ReplayConfig,
    "`[[device.column]]`": Column,
    "The profile": Profile,
    "The profile's `[serial]`": Serial,
    "The profile's `[requests]`": Requests,
    "The profile's `[settings]`": Settings,
    "The profile's `[[point]]`": Point,
    "The profile's `[[block]]`": Block,
}
SCANNER_TABLES = {
    '`[[device]]` with `driver = "barcode"`': BarcodeConfig,
    '`[[device]]` with `driver = "hid"`': HidConfig,
    "`[[device.card]]`": CommandCard,
}
REGISTRY_TABLES = {
    "`[[party]]`": registry.PartyEntry,
    "`[[place]]`": registry.PlaceEntry,
    "`[[read_point]]`": registry.ReadPointEntry,
    "`[[sensor_binding]]`": registry.BindingEntry,
    "`[[profile]]`": registry.ProfileEntry,
    "`[[profile.rules]]`": Rule,
    "`[[product]]`": registry.ProductEntry,
}
CLOUD_TABLES = {
    "`[cloud]`": cloud_config._CloudTable,
    "`[clock]`": cloud_config._ClockTable,
    "`[broker]`": cloud_config.BrokerConfig,
    "`[broker.tls]`": cloud_config.Tls,
    "`[web]`": cloud_config.WebConfig,
    "`[ingest]`": cloud_config.IngestConfig,
    "`[enrol]`": cloud_config.EnrolConfig,
    "`[watch]`": cloud_config.WatchConfig,
    "`[logging]`": cloud_config.LogConfig,
    "`[mirror]`": cloud_config.MirrorConfig,
    "`[ledger]`": cloud_config.LedgerConfig,
    "`[[ledger.witness]]`": cloud_config.WitnessConfig,
    "`[ledger.timestamp]`": cloud_config.TimestampConfig,
}
CLOUD_EXAMPLES = ("cloud", "mirror", "ledger", "watch", "logging")
DEVICES = ROOT / "docs" / "devices"
DEVICE_TABLES = [
    (DEVICES / "serial.md", '`[[device]]` with `driver = "serial_line"`', SerialLineConfig),
    (DEVICES / "serial.md", "`[[device.point]]`", LinePoint),
    (DEVICES / "onewire.md", '`[[device]]` with `driver = "onewire"`', OneWireConfig),
]
TABLES = [
    *DEVICE_TABLES,
    *((INSTALLER, heading, kind) for heading, kind in GATEWAY_TABLES.items()),
    *((SCANNERS, heading, kind) for heading, kind in SCANNER_TABLES.items()),
    *((CLOUD, heading, kind) for heading, kind in (REGISTRY_TABLES | CLOUD_TABLES).items()),
]


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


# --- what is named exists ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    for link in links(text_of(page)):
        if link.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), f"{named(page)}: {link}"
        if anchor:
            assert anchor in anchors(text_of(target)), f"{named(page)}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_paths_named_in_a_document_exist(page: Path) -> None:
    for word in code(text_of(page)):
        path = word.partition("::")[0]
        if path.split("/")[0] in ROOMS and "/" in path and re.fullmatch(r"[\w./-]+", path):
            assert (ROOT / path).exists(), f"{named(page)}: {word}"


def test_every_room_is_on_the_map() -> None:
    told = set(code(text_of(ARCHITECTURE)))
    rooms = [ROOT / room for room in ("standards", "wire", "edge", "cloud", "firmware_sim", "coldproof")]
    inner = [path for room in ("edge", "cloud") for path in (ROOT / room).iterdir() if (path / "__init__.py").exists()]
    for folder in [*rooms, *inner]:
        assert f"{folder.relative_to(ROOT)}/" in told, folder


def test_every_table_of_the_database_is_on_the_map() -> None:
    from cloud.db.tables import metadata

    assert set(metadata.tables) <= set(code(text_of(ARCHITECTURE)))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_test_named_in_a_document_exists(page: Path) -> None:
    for word in code(text_of(page)):
        path, is_test, name = word.partition("::")
        if is_test:
            assert f"def {name}(" in text_of(ROOT / path), f"{named(page)}: {word}"


# --- what is shown works ----------------------------------------------------------------------------------------------


def parse(words: list[str]) -> None:
    """Let the command line's own parser take the words apart, and run nothing. Raises what a user would see."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("coldproof", list(words))
    while hasattr(command, "get_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.make_context(name, list(words), parent=context)


ALL_COMMANDS = [(page, words) for page in PAGES for words in commands(page)]


@pytest.mark.parametrize(
    ("page", "words"), ALL_COMMANDS, ids=lambda value: " ".join(value[:3]) if isinstance(value, list) else ""
)
def test_command_lines_are_taken(page: Path, words: list[str]) -> None:
    parse(words)


@pytest.mark.parametrize("line", ["edge runn x.toml", "edge run", "cloud person add x", "lot show L --langg vi"])
def test_wrong_command_lines_are_not_taken(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no such|missing"):
        parse(shlex.split(line))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_commands_named_in_the_text_exist(page: Path) -> None:
    for text in code(text_of(page)):
        words = text.split()
        if Path(words[0]).name != "coldproof" or len(words) == 1:
            continue
        command: Any = typer.main.get_command(app)
        for word in words[1:]:
            if not hasattr(command, "get_command"):
                break
            found = command.get_command(None, word)
            assert found is not None, f"{named(page)}: {text}"
            command = found
        options = {option for parameter in command.params for option in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= options, f"{named(page)}: {text}"


def examples(*tables: str) -> list[Any]:
    """Every TOML example that has one of these tables, with its page."""
    found = [(page, block) for page in PAGES for block in fenced(text_of(page), "toml")]
    return [pytest.param(block, id=named(page)) for page, block in found if set(tables) & set(tomllib.loads(block))]


def test_every_toml_example_is_of_a_kind_we_check() -> None:
    tables = (("gateway", "device"), ("block", "point"), CLOUD_EXAMPLES, ("party",), ("log",))
    kinds = [examples(*names) for names in tables]
    assert all(kinds)
    assert sum(map(len, kinds)) == sum(len(fenced(text_of(page), "toml")) for page in PAGES)


@pytest.mark.parametrize("example", examples("gateway", "device"))
def test_gateway_examples_pass_the_check(example: str, tmp_path: Path) -> None:
    for block in (param.values[0] for param in examples("block", "point")):
        assert isinstance(block, str)
        name = re.match(r"# (\S+\.toml)\n", block)
        assert name is not None, "a profile's example begins with its file name"
        (tmp_path / name[1]).write_text(block, "utf-8")
    given = tomllib.loads(example)
    whole = "".join(text for table, text in REST_OF_A_GATEWAY.items() if table not in given) + example
    config = parse_config(whole, tmp_path / "gateway.toml")
    assert len(config.devices) == len(given["device"])


@pytest.mark.parametrize("example", examples("block", "point"))
def test_device_profile_examples_are_read(example: str) -> None:
    assert list(parse_profile(example).points)


@pytest.mark.parametrize("example", examples("log"))
def test_witness_examples_are_read(example: str, tmp_path: Path) -> None:
    (tmp_path / "witness.toml").write_text(example, "utf-8")
    assert ledger_witness.load(tmp_path / "witness.toml").log


@pytest.mark.parametrize("example", examples(*CLOUD_EXAMPLES))
def test_cloud_examples_are_read(example: str, tmp_path: Path) -> None:
    (tmp_path / "cloud.toml").write_text(example, "utf-8")
    assert cloud_config.load(tmp_path / "cloud.toml").public_url


@pytest.mark.parametrize("example", examples("party"))
def test_registry_examples_are_taken(example: str) -> None:
    found = strict_toml.parse(example, registry.Document, "example")
    registry.check(found)
    parties, places = {one.gln for one in found.party}, {one.gln for one in found.place}
    assert {one.party for one in [*found.place, *found.product]} <= parties
    assert {one.place for one in [*found.read_point, *found.sensor_binding]} <= places
    assert {one.profile for one in found.product} <= {one.name for one in found.profile}


# --- what is listed is complete ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "heading", "kind"), TABLES, ids=lambda value: getattr(value, "__name__", ""))
def test_tables_of_keys_are_those_of_the_code(page: Path, heading: str, kind: type[msgspec.Struct]) -> None:
    fields = {field.encode_name: field for field in msgspec.structs.fields(kind)}
    if kind in (ModbusConfig, BarcodeConfig, GpsConfig):
        del fields["timeout_s"]  # told once, for every device
    told = key_table(text_of(page), heading)
    assert sorted(key.name for key in told) == sorted(fields)
    for key in told:
        assert key.default == _default(fields[key.name]), f"{heading}: {key.name}"


@pytest.mark.parametrize("page", [INSTALLER, SCANNERS, CLOUD], ids=named)
def test_no_table_of_keys_goes_unchecked(page: Path) -> None:
    assert set(headings_with_keys(text_of(page))) == {heading for other, heading, _ in TABLES if other == page}


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return "required"
    if isinstance(field.default, Path):
        return f'"{field.default}"'
    value = field.default_factory() if field.default is msgspec.NODEFAULT else field.default
    if isinstance(value, msgspec.Struct):
        return "9600 8N1" if isinstance(value, Serial) else "none"
    if value is None:
        return "none"
    if isinstance(value, str):
        return f'"{value}"'
    return msgspec.json.encode(value).decode()


def test_the_units_start_commands_that_exist() -> None:
    for unit in ROOT.glob("deploy/*.service"):
        started = re.search(r"^ExecStart=(.+)$", text_of(unit), re.MULTILINE)
        assert started is not None, unit
        words = words_of(started[1].replace("%i", "2"))  # the instance of a template
        assert words is not None, unit
        parse(words)


def test_the_vietnamese_page_has_the_sections_of_the_english_one() -> None:
    shapes = [
        re.findall(r"^(#{1,4} |\| |\d\. |- )", text_of(ROOT / "docs" / name), re.MULTILINE)
        for name in ("official.md", "can-bo.md")
    ]
    assert shapes[0] == shapes[1]
