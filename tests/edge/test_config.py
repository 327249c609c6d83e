"""Hostile configurations: every one is refused with the path to the key, its line and what is allowed."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from edge.config import CONFIG_MAX_BYTES, ConfigError, load_config, parse_config
from edge.drivers import registry
from edge.drivers.barcode.config import BarcodeConfig
from edge.drivers.modbus.config import ModbusConfig
from edge.drivers.replay.config import ReplayConfig
from edge.limits import Limit

HEAD = """\
[gateway]
name = "gw-kho-01"
data_dir = "data"
[uplink]
host = "127.0.0.1"
cloud_key = "cloud-public.json"
"""

MODBUS = """
[[device]]
name = "room-1"
driver = "modbus"
interval_s = 60
profile = "xy-md02"
port = "/dev/ttyUSB0"
"""

SCANNER = """
[[device]]
name = "scanner"
driver = "barcode"
port = "/dev/ttyACM0"
"""

REPLAY = """
[[device]]
name = "old-logger"
driver = "replay"
file = "log.csv"
time_columns = ["date"]
time_zone = "Asia/Ho_Chi_Minh"
[[device.column]]
column = "freezer 1"
point = "freezer-1"
unit = "CEL"
"""


def problems(text: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        parse_config(text, Path("/etc/coldproof/gateway.toml"))
    return str(caught.value).splitlines()


def test_whole_configuration_is_read() -> None:
    text = (
        HEAD
        + '[clock]\nsimulated = "time.json"\n[buffer]\ncommit_window_ms = 100\n[seal]\nafter_s = 2\n'
        + '[uplink.tls]\nca = "ca.pem"\ncertificate = "/etc/ssl/gw.pem"\nkey = "gw.key"\n'
        + MODBUS
        + "baudrate = 19200\nunit_id = 7\ntimeout_s = 0.5\n"
        + SCANNER
        + 'ack = "\\u0006"\n'
        + REPLAY
        + '[[limit]]\nchannel = "room-1/air"\nabove = 8\n'
    )
    config = parse_config(text, Path("/etc/coldproof/gateway.toml"))
    assert (config.name, config.data_dir) == ("gw-kho-01", Path("/etc/coldproof/data"))
    assert config.simulated_time == Path("/etc/coldproof/time.json")
    assert (config.buffer.commit_window_ms, config.seal.after_s, config.uplink.port) == (100, 2, 1883)
    assert config.uplink.tls is not None
    assert (config.uplink.tls.ca, config.uplink.tls.certificate) == ("/etc/coldproof/ca.pem", "/etc/ssl/gw.pem")
    modbus, scanner, replay = (device.options for device in config.devices)
    assert isinstance(modbus, ModbusConfig)
    assert (modbus.serial.baudrate, modbus.unit_id, modbus.timeout_s) == (19200, 7, 0.5)
    assert isinstance(scanner, BarcodeConfig)
    assert (scanner.ack, scanner.point) == ("\x06", "scan")
    assert isinstance(replay, ReplayConfig)
    assert replay.file == Path("/etc/coldproof/log.csv")
    assert config.limits == [Limit("room-1/air", above=8.0)]
    assert [(device.interval_s, device.timeout_s) for device in config.devices] == [(60, 0.5), (None, 1), (None, 1)]


CASES = [
    ("", "gateway: this table is missing: add [gateway]"),
    ("= =", "gateway.toml: not TOML"),
    ("[" * 5000, "gateway.toml: not TOML"),
    (HEAD.replace('name = "gw-kho-01"\n', ""), "gateway.toml:1: gateway: name is missing"),
    (HEAD.replace("gw-kho-01", "GW 1"), "gateway.toml:2: gateway.name: expected a name of a-z, 0-9 and '-'"),
    (HEAD.replace("gw-kho-01", "gw\\n"), "gateway.toml:2: gateway.name: expected a name"),
    (HEAD.replace("gw-kho-01", "g" * 64), "gateway.toml:2: gateway.name: expected a name"),
    (HEAD.replace('"data"', "7"), "gateway.toml:3: gateway.data_dir: expected a path, got 7"),
    (HEAD.replace('"data"', '"\\u0000"'), "gateway.toml:3: gateway.data_dir: expected a path"),
    (HEAD + "prot = 1\n", "gateway.toml:7: uplink.prot: unknown key, did you mean port?"),
    (HEAD + "port = 99999\n", "gateway.toml:7: uplink.port: port = 99999: allowed are 1 to 65535"),
    (HEAD + 'port = "1883"\n', 'gateway.toml:7: uplink.port: expected a whole number, got "1883"'),
    (HEAD + "port = true\n", "gateway.toml:7: uplink.port: expected a whole number, got True"),
    (HEAD + "tls = 1\n", "gateway.toml:7: uplink.tls: expected a table, got 1"),
    (HEAD + '[uplink.tls]\nkey = "x"\n', "gateway.toml:7: uplink.tls: certificate and key belong together"),
    (HEAD + '[uplink.tls]\ncaa = "x"\n', "gateway.toml:8: uplink.tls.caa: unknown key, did you mean ca?"),
    (HEAD + "[buffer]\nmax_bytes = 1\n", "gateway.toml:8: buffer.max_bytes: max_bytes = 1: at least"),
    (HEAD + "[seal]\nmax_readings = 0\n", "gateway.toml:8: seal.max_readings: max_readings = 0: allowed are 1"),
    (HEAD + "[bufer]\n", "gateway.toml:7: bufer: unknown table, known here: [gateway]"),
    ("gateway = 3\n" + HEAD[HEAD.index("[uplink]") :], "gateway.toml:1: gateway: expected a table [gateway], got 3"),
    (HEAD + "[limit]\n", "gateway.toml:7: limit: expected tables [[limit]]"),
    (HEAD + "[[limit]]\nabove = 8\n", "gateway.toml:7: limit[0]: channel is missing"),
    (HEAD + '[[limit]]\nchannel = "room 1"\nabove = 8\n', "gateway.toml:8: limit[0].channel: expected a channel"),
    (HEAD + '[[limit]]\nchannel = "a/b"\n', "gateway.toml:7: limit[0]: a limit says `above`, `below` or both"),
    (
        HEAD + '[[limit]]\nchannel = "a/b"\nabove = 8\n' * 2,
        "gateway.toml:11: limit[1].channel: a/b has limit[0] already",
    ),
    (HEAD + "[device]\n", "gateway.toml:7: device: expected tables [[device]]"),
    (
        HEAD + MODBUS.replace('"modbus"', '"modbuss"'),
        "gateway.toml:10: device[0].driver: unknown driver 'modbuss', known:",
    ),
    (HEAD + MODBUS.replace('driver = "modbus"\n', ""), "gateway.toml:8: device[0]: driver is missing"),
    (HEAD + MODBUS.replace("interval_s = 60\n", ""), "gateway.toml:8: device[0]: interval_s is missing"),
    (
        HEAD + MODBUS.replace("60", "0"),
        "gateway.toml:11: device[0].interval_s: expected a number from 0.01 to 86_400, got 0",
    ),
    (HEAD + MODBUS.replace("60", "nan"), "gateway.toml:11: device[0].interval_s: expected a number"),
    (HEAD + MODBUS.replace("room-1", "Room/1"), "gateway.toml:9: device[0].name: expected a name of a-z"),
    (
        HEAD + MODBUS.replace("xy-md02", "xy-md03"),
        "gateway.toml:12: device[0].profile: unknown profile 'xy-md03', known: carel-ir33, ",
    ),
    (HEAD + MODBUS.replace('"xy-md02"', '"absent.toml"'), "device[0].profile: /etc/coldproof/absent.toml: [Errno 2]"),
    (HEAD + MODBUS.replace('"xy-md02"', "5"), "device[0].profile: expected the name of a profile"),
    (HEAD + MODBUS + 'baudrate = "fast"\n', "gateway.toml:14: device[0].baudrate: expected a whole number from 300"),
    (HEAD + MODBUS + 'parity = "X"\n', 'device[0].parity: expected one of "E", "N", "O", got "X"'),
    (HEAD + MODBUS + "unit_id = 248\n", "device[0].unit_id: expected a whole number from 1 to 247, got 248"),
    (HEAD + MODBUS + 'host = "10.0.0.5"\n', "device[0].port: give either port (a serial line) or host (TCP)"),
    (
        HEAD + MODBUS.replace('port = "/dev/ttyUSB0"', 'host = "h"\nbaudrate = 9600'),
        "device[0].baudrate: belongs to a serial",
    ),
    (
        HEAD + MODBUS + "timeout_s = 0\n",
        "gateway.toml:14: device[0].timeout_s: expected a number from 0.02 to 60, got 0",
    ),
    (HEAD + MODBUS + 'point = "x"\n', "gateway.toml:14: device[0].point: unknown key, did you mean port?"),
    (
        HEAD + MODBUS + MODBUS.replace("USB0", "USB1"),
        'gateway.toml:16: device[1].name: "room-1" is the name of device[0]',
    ),
    (
        HEAD + MODBUS + MODBUS.replace("room-1", "room-2"),
        "device[1].unit_id: serial:/dev/ttyUSB0 unit 1 belongs to device[0]",
    ),
    (
        HEAD + MODBUS + MODBUS.replace("room-1", "room-2") + "unit_id = 2\nbaudrate = 19200\n",
        "gateway.toml:15: device[1]: sets serial:/dev/ttyUSB0 to 19200 8N1, device[0] sets it to 9600 8N1",
    ),
    (HEAD + MODBUS + SCANNER.replace("ttyACM0", "ttyUSB0"), "device[1].port: serial:/dev/ttyUSB0 belongs to device[0]"),
    (
        HEAD + SCANNER + 'suffix = "x"\n',
        'gateway.toml:12: device[0].suffix: expected one of "cr", "crlf", "lf", "line", "tab"',
    ),
    (HEAD + SCANNER + 'ack = "✓"\n', "device[0].ack: expected a text of at most 32 characters up to U+00FF"),
    (
        HEAD + REPLAY.replace("Asia/Ho_Chi_Minh", "Mars/Base"),
        "gateway.toml:13: device[0].time_zone: unknown time zone 'Mars/Base'",
    ),
    (HEAD + REPLAY.replace("Asia/Ho_Chi_Minh", "../../etc/passwd"), "device[0].time_zone: unknown time zone"),
    (
        HEAD + REPLAY.replace('"freezer-1"', '"Freezer 1"'),
        "gateway.toml:16: device[0].column[0].point: expected a name of a-z",
    ),
    (
        HEAD + REPLAY + '[[device.column]]\ncolumn = "b"\npoint = "freezer-1"\nunit = "CEL"\n',
        'gateway.toml:20: device[0].column[1].point: "freezer-1" is used twice',
    ),
    (
        HEAD + REPLAY.replace('file = "log.csv"', 'file = "log.csv"\ndecimal = ","'),
        'device[0].decimal: "," is also the delimiter',
    ),
]


@pytest.mark.parametrize(("text", "expected"), CASES, ids=[expected[:60] for _, expected in CASES])
def test_wrong_configuration_is_refused_with_its_place(text: str, expected: str) -> None:
    found = problems(text)
    assert any(expected in problem for problem in found), found


def test_all_problems_are_told_at_once_in_order() -> None:
    text = HEAD.replace("gw-kho-01", "X").replace('"data"', "1") + "[seal]\nafter_s = 'x'\n" + MODBUS + "unit_id = 0\n"
    places = [problem.split(": ")[:2] for problem in problems(text)]
    assert places == [
        ["gateway.toml:2", "gateway.name"],
        ["gateway.toml:3", "gateway.data_dir"],
        ["gateway.toml:8", "seal.after_s"],
        ["gateway.toml:16", "device[0].unit_id"],
    ]


def test_units_on_one_line_are_welcome() -> None:
    second = MODBUS.replace("room-1", "room-2") + "unit_id = 2\n"
    assert len(parse_config(HEAD + MODBUS + second, Path("g.toml")).devices) == 2


def test_same_host_on_other_ports_is_another_device() -> None:
    text = MODBUS.replace('port = "/dev/ttyUSB0"', 'host = "10.0.0.5"')
    other = text.replace("room-1", "room-2") + "tcp_port = 1502\n"
    assert len(parse_config(HEAD + text + other, Path("g.toml")).devices) == 2


def test_own_profile_is_read_beside_the_configuration(tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(
        'name = "mine"\ntitle = "t"\nsource = "s"\n[[block]]\nfunction = 3\naddress = 9\ncount = 1\n'
        '[[block.point]]\nname = "core"\nunit = "CEL"\nregister = 9\n'
    )
    config = parse_config(HEAD + MODBUS.replace("xy-md02", "mine.toml"), tmp_path / "gateway.toml")
    assert [point.name for point in config.devices[0].options.profile.profile.points] == ["core"]
    (tmp_path / "mine.toml").write_text("name = 5")
    with pytest.raises(ConfigError, match=r"device\[0\].profile: .*mine.toml: profile: "):
        parse_config(HEAD + MODBUS.replace("xy-md02", "mine.toml"), tmp_path / "gateway.toml")


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read"), (b"\xff\xfe", "not UTF-8"), (b"#" * (CONFIG_MAX_BYTES + 1), "longer than")],
    ids=["absent", "binary", "huge"],
)
def test_unreadable_file_is_refused(tmp_path: Path, content: bytes | None, why: str) -> None:
    path = tmp_path / "gateway.toml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=why):
        load_config(path)


def test_too_many_devices_are_refused() -> None:
    assert any("1001 devices, the limit is 1000" in problem for problem in problems(HEAD + SCANNER * 1001))


def test_nothing_is_opened_by_checking(tmp_path: Path) -> None:
    config = parse_config(HEAD + MODBUS + SCANNER + REPLAY, tmp_path / "gateway.toml")
    assert not config.data_dir.exists()
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def entry_points(monkeypatch: pytest.MonkeyPatch) -> list[EntryPoint]:
    points: list[EntryPoint] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == registry.GROUP else [])
    return points


def test_driver_of_another_distribution_is_found(entry_points: list[EntryPoint]) -> None:
    entry_points.append(EntryPoint("scanner2", "edge.drivers.barcode.driver:BarcodeDriver", registry.GROUP))
    assert "scanner2" in registry.driver_names()
    config = parse_config(HEAD + SCANNER.replace('"barcode"', '"scanner2"'), Path("g.toml"))
    assert isinstance(config.devices[0].options, BarcodeConfig)


@pytest.mark.parametrize(
    ("target", "why"),
    [
        ("absent_library.driver:X", "No module named 'absent_library'"),
        ("edge.drivers.barcode.driver:Nope", "its entry point .* is wrong"),
        ("edge.config:GatewayConfig", "is not a driver"),
    ],
)
def test_driver_that_cannot_be_imported_is_explained(entry_points: list[EntryPoint], target: str, why: str) -> None:
    entry_points.append(EntryPoint("other", target, registry.GROUP))
    with pytest.raises(ConfigError, match=rf"g.toml:10: device\[0\].driver: driver 'other'.*{why}"):
        parse_config(HEAD + SCANNER.replace('"barcode"', '"other"'), Path("g.toml"))


def test_missing_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(registry._TABLE, "modbus", registry._Entry("absent_library:X", "edge"))
    with pytest.raises(ConfigError, match=r"pip install 'coldproof\[edge\]'"):
        parse_config(HEAD + MODBUS, Path("g.toml"))
