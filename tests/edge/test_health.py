"""The status file: whole or absent, quick to follow the devices, and never in the way."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from edge import health as health_module
from edge.buffer.base import BufferState
from edge.device import DeviceState
from edge.health import STATUS_NAME, Health, StatusError, buffer_health, keep_writing, read_health, write_health
from edge.intake import IntakeState
from edge.uplink.base import UplinkState

BUFFER = BufferState(bytes(16), 0, None, 0, 0, 0, 0, 0, None, 0, False)
DEVICE = DeviceState("room-1", "up", 0, 0, "", None, 1, 1, 0, 0, 0, 0)
HEALTH = Health(
    gateway="gw",
    version="",
    simulated=False,
    running=True,
    pid=1,
    written_at_ms=0,
    clock_ms=0,
    clock_state="synced",
    buffer=buffer_health(BUFFER),
    uplink=UplinkState(False, "", 0, None, 0, "", {}),
    intake=IntakeState(0, 0, ""),
    devices=[DEVICE],
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_health(tmp_path, HEALTH)
    assert read_health(tmp_path) == HEALTH
    assert [path.name for path in tmp_path.iterdir()] == [STATUS_NAME]


def test_status_of_another_version_is_told(tmp_path: Path) -> None:
    (tmp_path / STATUS_NAME).write_text('{"gateway": 5}')
    with pytest.raises(StatusError, match=r"\$\.gateway"):
        read_health(tmp_path)


async def test_change_of_a_device_is_written_soon_and_told_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health_module, "LOOK_S", 0.01)
    seen = [HEALTH]
    changes: list[None] = []

    def words() -> dict[str, str]:
        return {device.name: device.state for device in seen[0].devices}

    writing = asyncio.create_task(
        keep_writing(tmp_path, lambda: seen[0], words=words, changed=lambda: changes.append(None))
    )
    await asyncio.sleep(0.05)
    assert read_health(tmp_path).devices[0].state == "up"
    seen[0] = msgspec.structs.replace(HEALTH, devices=[msgspec.structs.replace(DEVICE, state="silent")])
    await asyncio.sleep(0.05)
    assert read_health(tmp_path).devices[0].state == "silent"
    assert len(changes) == 2  # what it was at first, and the change
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)


async def test_folder_that_cannot_be_written_is_told_once_and_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(health_module, "LOOK_S", 0.005)
    monkeypatch.setattr(health_module, "EVERY_S", 0.01)
    writing = asyncio.create_task(keep_writing(tmp_path / "absent", lambda: HEALTH, words=dict, changed=lambda: None))
    await asyncio.sleep(0.1)
    assert not writing.done()
    assert len(caplog.records) == 1
    (tmp_path / "absent").mkdir()
    await asyncio.sleep(0.1)
    assert read_health(tmp_path / "absent") == HEALTH
    writing.cancel()
    await asyncio.gather(writing, return_exceptions=True)
