"""`coldproof edge …` as an installer types it."""

from __future__ import annotations

import base64
import json
import stat
import time
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner, Result

from coldproof.edge_command import app
from edge.buffer.base import BufferState
from edge.device import DeviceState
from edge.health import Health, buffer_health, write_health
from edge.host import HostState
from edge.intake import IntakeState
from edge.uplink.base import UplinkState
from edge.uplink.uplink import FORGED
from wire.enrolment import new_code, write_code

CONFIG = """\
[gateway]
name = "gw-kho-01"
data_dir = "data"
[uplink]
host = "127.0.0.1"
cloud_key = "cloud-public.json"
[[device]]
name = "room-1"
driver = "modbus"
interval_s = 60
profile = "xy-md02"
port = "/dev/ttyUSB0"
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "gateway.toml"
    path.write_text(CONFIG)
    public = {"cloud_key": base64.b64encode(bytes(range(32))).decode()}
    (tmp_path / "cloud-public.json").write_text(json.dumps(public))
    return path


def edge(*words: object) -> Result:
    return CliRunner().invoke(app, [str(word) for word in words])


def test_check_of_a_good_configuration(config: Path) -> None:
    result = edge("check", config)
    assert result.exit_code == 0
    assert "fine; gateway gw-kho-01, devices: 1" in result.stdout


def test_check_prints_every_problem_and_exits_2(config: Path) -> None:
    config.write_text(CONFIG.replace("60", '"often"').replace("gw-kho-01", "GW").replace("xy-md02", "xy"))
    result = edge("check", config)
    assert result.exit_code == 2
    assert [line.split(": ")[:2] for line in result.stderr.splitlines()] == [
        ["gateway.toml:2", "gateway.name"],
        ["gateway.toml:10", "device[0].interval_s"],
        ["gateway.toml:11", "device[0].profile"],
    ]


def test_check_misses_the_files_that_running_needs(config: Path) -> None:
    (config.parent / "cloud-public.json").unlink()
    config.write_text(CONFIG + '[clock]\nsimulated = "time.json"\n')
    result = edge("check", config)
    assert result.exit_code == 2
    assert "uplink.cloud_key" in result.stderr
    assert "clock.simulated" in result.stderr


@pytest.mark.parametrize("command", ["run", "check", "key", "status"])
def test_absent_configuration_is_told(tmp_path: Path, command: str) -> None:
    result = edge(command, tmp_path / "absent.toml")
    assert result.exit_code == 2
    assert "absent.toml: cannot be read" in result.stderr


def test_key_is_made_once_and_its_public_half_named(config: Path) -> None:
    (config.parent / "cloud-public.json").unlink()  # the gateway's half is needed before the cloud's
    first = edge("key", config)
    assert first.exit_code == 0, first.stderr
    public = Path(first.stdout.strip())
    half = json.loads(public.read_text())
    assert (half["gateway"], half["simulated"], len(base64.b64decode(half["public_key"]))) == ("gw-kho-01", False, 32)
    private = public.parent / "gateway-key.pem"
    assert stat.S_IMODE(private.stat().st_mode) == 0o600
    assert edge("key", config).stdout == first.stdout
    assert json.loads(public.read_text()) == half


def test_run_refuses_an_unknown_log_level(config: Path) -> None:
    result = edge("run", config, "--log-level", "loud")
    assert result.exit_code == 2
    assert "allowed are debug, info, warning, error" in result.stderr


FINE = BufferState(
    bytes(16), 1_000, bytes(32), 990, 0, 10, 5_000, 0, None, 5_000_000, False,
    unsent_bytes=18_000, archive_packs=990, archive_bytes=1_782_000, max_bytes=1_000_000_000,
)  # fmt: skip


def health(**more: object) -> Health:
    device = DeviceState("room-1", "silent", 0, None, "no answer", 0, 9, 0, 0, 9, 0, 1, True)
    state = BufferState(bytes(16), 3, bytes(32), 2, 5, 1, 20, 1, 1_700_000_000_000, 4_200_000, True, ("b.corrupt",))
    return msgspec.structs.replace(
        Health(
            gateway="gw-kho-01",
            version="0.1",
            simulated=True,
            running=True,
            pid=1,
            written_at_ms=int(time.time() * 1000),
            clock_ms=1_700_000_000_000,
            clock_state="synced",
            buffer=buffer_health(state),
            uplink=UplinkState(False, "connection refused", 0, None, 0, "", {}),
            intake=IntakeState(10, 2, "disk is full"),
            devices=[device],
        ),
        **more,
    )


def test_status_tells_what_a_person_must_know(config: Path) -> None:
    (config.parent / "data").mkdir()
    write_health(config.parent / "data", health())
    result = edge("status", config)
    assert result.exit_code == 0
    for words in (
        "gw-kho-01: running, simulated",
        "5 open and 20 unsent observations in 1 packs, the oldest from 2023-11-",
        "not connected: connection refused; last receipt never",
        "BUFFER FULL",
        "REFUSED by the cloud, and kept: 1 packs",
        "SET ASIDE b.corrupt",
        "NOT RECORDED: 2 observations, disk is full",
        "silent   room-1: never seen, 0 observations, probed now and then; no answer",
    ):
        assert words in result.stdout


def test_status_says_what_to_do_when_receipts_do_not_come(config: Path) -> None:
    (config.parent / "data").mkdir()
    waiting = health(uplink=UplinkState(True, "", 4, None, 0, "", {}, unanswered_s=61))
    write_health(config.parent / "data", waiting)
    assert "coldproof cloud gateway add" in edge("status", config).stdout
    forged = msgspec.structs.replace(
        waiting, uplink=UplinkState(True, FORGED, 0, None, 0, "", {"letters_forged": 3}, 61)
    )
    write_health(config.parent / "data", forged)
    shown = edge("status", config).stdout
    assert f"uplink   connected: {FORGED}" in shown
    assert "gateway add" not in shown


def test_status_tells_what_was_lost_and_why_or_that_nothing_was(config: Path) -> None:
    (config.parent / "data").mkdir()
    write_health(config.parent / "data", health(buffer=buffer_health(FINE), intake=IntakeState(10, 0, "")))
    assert "losses   none\n" in edge("status", config).stdout
    poor = msgspec.structs.replace(FINE, thinned_readings=70, lost_packs=3, damaged_observations=2)
    gone = UplinkState(True, "", 0, None, 0, "", {"asked_for_and_gone": 5})
    write_health(config.parent / "data", health(buffer=buffer_health(poor), uplink=gone))
    assert (
        "losses   2 observations not recorded, 2 observations damaged on the disk before they were sealed, "
        "70 readings thinned, and declared, 3 packs declared lost, 5 packs asked for again, and gone\n"
    ) in edge("status", config).stdout


def test_status_reckons_room_card_and_certificate(config: Path) -> None:
    (config.parent / "data").mkdir()
    seen = health(
        buffer=buffer_health(FINE),
        intake=IntakeState(1_000_000, 0, ""),
        host=HostState(86_400, 30, 40_000_000, 300_000_000, 20_000_000_000),
        card_endurance_bytes=30e12,
        uplink=UplinkState(True, "", 0, None, 0, "", {}, 0, 12.4),
    )
    write_health(config.parent / "data", seen)
    shown = edge("status", config).stdout
    assert "room     for 505 days without the cloud; 20.0 GB free on the disk\n" in shown
    assert "card     300 B written per observation; lasts 274 years at 30 TB\n" in shown
    assert "certificate for 12 days" in shown
    assert "CERTIFICATE EXPIRES in 12 days" in shown
    young = msgspec.structs.replace(seen, host=HostState(60), uplink=UplinkState(False, "", 0, None, 0, "", {}, 0, -1))
    write_health(config.parent / "data", young)
    shown = edge("status", config).stdout
    assert "room     not known yet for how long" in shown
    assert "its life is not known yet" in shown
    assert "CERTIFICATE EXPIRED" in shown


def test_status_as_json_and_as_prometheus_at_once_is_refused(config: Path) -> None:
    assert edge("status", config, "--json", "--prometheus").exit_code == 2


def test_status_as_json(config: Path) -> None:
    (config.parent / "data").mkdir()
    write_health(config.parent / "data", health())
    shown = json.loads(edge("status", config, "--json").stdout)
    assert (shown["buffer"]["head_hash"], shown["devices"][0]["state"]) == ("00" * 32, "silent")


@pytest.mark.parametrize("more", [{"running": False}, {"written_at_ms": 1_700_000_000_000}], ids=["stopped", "stale"])
def test_status_of_a_gateway_that_does_not_run_is_1(config: Path, more: dict[str, object]) -> None:
    (config.parent / "data").mkdir()
    write_health(config.parent / "data", health(**more))
    result = edge("status", config)
    assert result.exit_code == 1
    assert "not running (last heard of" in result.stdout


@pytest.mark.parametrize(
    ("content", "why"), [(None, "has this gateway run yet"), (b"{}", "not a status"), (b"\xff", "not a status")]
)
def test_status_that_cannot_be_read_is_2(config: Path, content: bytes | None, why: str) -> None:
    if content is not None:
        (config.parent / "data").mkdir()
        (config.parent / "data" / "status.json").write_bytes(content)
    result = edge("status", config)
    assert result.exit_code == 2
    assert why in result.stderr


def _code(gateway: str = "gw-kho-01", url: str = "http://127.0.0.1:1") -> str:
    key = Ed25519PrivateKey.from_private_bytes(bytes(32)).public_key()
    return write_code(new_code(cloud_key=key, gateway=gateway, url=url, issued_s=1))


def test_enrol_tells_a_mistake_in_the_code(tmp_path: Path) -> None:
    result = edge("enrol", _code()[:-1], "--config", tmp_path / "gateway.toml", "--data-dir", tmp_path / "data")
    assert result.exit_code == 2
    assert "copy it again" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_enrol_without_network_may_be_tried_again(tmp_path: Path) -> None:
    words = ["enrol", "-", "--config", tmp_path / "gateway.toml", "--data-dir", tmp_path / "data"]
    for _ in range(2):
        result = CliRunner().invoke(app, [str(word) for word in words], input=_code() + "\n")
        assert result.exit_code == 1
        assert "no answer" in result.stderr
    assert not (tmp_path / "gateway.toml").exists()


def test_enrol_refuses_the_code_of_another_gateway(config: Path) -> None:
    result = edge("enrol", _code("gw-other"), "--config", config)
    assert result.exit_code == 2
    assert "for gateway gw-other, this one is gw-kho-01" in result.stderr


def test_rotate_key_makes_the_next_key_once(config: Path) -> None:
    first, again = edge("rotate-key", config), edge("rotate-key", config)
    assert first.exit_code == 0
    assert first.stdout == again.stdout
    folder = config.parent / "data"
    assert (folder / "gateway-key-next.pem").stat().st_mode & 0o777 == 0o600
    assert "gateway-key-next.pem is gone" in first.stdout
