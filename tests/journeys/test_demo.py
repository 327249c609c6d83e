"""The demonstration as a newcomer runs it: real processes, both faults, then an operator and an official at work."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.journey, pytest.mark.timeout(400)]

SEED = int(os.environ.get("COLDPROOF_DEMO_SEED", "1"))
PLAY_WITHIN_S = 300


class Demonstration:
    """A running `coldproof demo` that has printed its object and gone on live."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        words = ["demo", "--json", "--data", str(folder), "--seed", str(SEED)]
        self.process = subprocess.Popen(
            [sys.executable, "-m", "coldproof.main", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert self.process.stdout is not None
        print(f"demo with seed {SEED}")
        deadline = time.monotonic() + PLAY_WITHIN_S
        line = self.process.stdout.readline()
        assert line, f"the demo ended without its object: {self.end()}"
        assert time.monotonic() < deadline
        self.found: dict[str, Any] = json.loads(line)
        self.url, *people = (folder / "sign-in.txt").read_text().splitlines()
        self.people = {role: (login, password) for role, login, password in map(str.split, people)}

    def end(self) -> str:
        """Ctrl-C; what it had said on the way."""
        self.process.send_signal(signal.SIGINT)
        _, said = self.process.communicate(timeout=60)
        return said


@pytest.fixture(scope="module")
def demonstration(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demonstration]:
    """One demonstration for all tests of this module."""
    running = Demonstration(tmp_path_factory.mktemp("demo") / "data")
    yield running
    if running.process.poll() is None:
        running.end()


def test_nothing_is_lost_or_doubled_although_broker_and_gateway_failed(demonstration: Demonstration) -> None:
    found = demonstration.found
    for side in (found["readings"], found["scans"]):
        assert side["lost"] == 0
        assert side["duplicated"] == 0
        assert side["produced"] == side["stored"] + side["unaccepted"]
    assert found["readings"]["produced"] > 3_000
    assert found["scans"]["unaccepted"] == 0
    assert found["scans"]["produced"] == 16


def test_every_stay_has_evidence_and_the_story_its_verdict(demonstration: Demonstration) -> None:
    found = demonstration.found
    assert [stay["place"] for stay in found["stays"]] == ["Phòng đóng gói", "Kho lạnh số 1", "Xe tải lạnh 01"]
    for stay in found["stays"]:
        assert stay["count"] > 5
        assert stay["min"] <= stay["mean"] <= stay["max"]
        assert stay["coverage"] > 0.8
    assert found["stays"][2]["excursions"] >= 1
    assert found["verdict"] in {"pass_with_remarks", "insufficient_data"}  # a starved machine makes real gaps
    assert found["events"] == 16


def test_simulated_gateways_are_marked_for_ever(demonstration: Demonstration) -> None:
    from cloud.db.engine import open_engine, reading, sqlite_url
    from cloud.registry.query import gateways

    engine = open_engine(sqlite_url(demonstration.folder / "cloud" / "cloud.db"))
    with reading(engine) as conn:
        assert {(one.name, one.simulated) for one in gateways(conn)} == {("gw-kho-01", True), ("gw-xe-01", True)}
    engine.dispose()


@pytest.mark.browser
def test_operator_and_official_bring_the_lot_to_approval(demonstration: Demonstration, chromium: Any) -> None:
    lot = demonstration.found["lot"]
    official = _sign_in(chromium, demonstration, "official")
    official.get_by_label("Tìm lô").fill(lot.lower())
    _follow(official, official.get_by_role("button", name="Tìm"))
    _follow(official, official.get_by_role("link", name=re.compile("Tôm")).first)
    assert lot in official.content()
    assert "Đạt có ghi chú" in official.content() or "Không đủ dữ liệu" in official.content()
    assert official.locator("svg[role=img]").count() >= 3
    official.get_by_label(re.compile("Lý do")).fill("Bổ sung giải trình lúc xếp hàng lên xe")
    _follow(official, official.get_by_role("button", name="Trả lại"))
    assert "Đã trả lại" in official.content()

    operator = _sign_in(chromium, demonstration, "operator")
    operator.goto(demonstration.found["url"])
    assert "Bổ sung giải trình lúc xếp hàng lên xe" in operator.content()
    assert operator.get_by_role("button", name="Phê duyệt").count() == 0
    _follow(operator, operator.get_by_role("button", name=re.compile("^Nộp")))
    assert "Chờ xem xét" in operator.content()

    official.goto(demonstration.found["url"] + "?lang=en")
    _follow(official, official.get_by_role("button", name="Approve"))
    assert "Approved" in official.content()


@pytest.mark.browser
def test_an_unknown_lot_is_answered_in_plain_words(demonstration: Demonstration, chromium: Any) -> None:
    page = _sign_in(chromium, demonstration, "official")
    answer = page.goto(demonstration.url + "/lots/01/08930000010018/10/KHONG-CO")
    assert answer.status == 404
    assert "KHONG-CO" in page.content()


def test_the_lots_bundle_is_intact_for_another_program_in_another_place(
    demonstration: Demonstration, tmp_path: Path
) -> None:
    config, file = str(demonstration.folder / "cloud.toml"), tmp_path / "lot.coldproof"
    made = _coldproof("lot", "bundle", demonstration.found["lot"], "-o", str(file), "--config", config)
    assert made.returncode == 0, made.stderr
    keys = _coldproof("cloud", "ledger", "key", "--config", config)
    assert keys.returncode == 0, keys.stderr
    judged = _coldproof("verify", str(file), "--json", "--ledger-key", keys.stdout.split("\t")[0], cwd=tmp_path)
    assert judged.returncode == 0, judged.stdout
    told = json.loads(judged.stdout)
    assert (told["wrong"], told["first_bad"]) == ([], None)
    assert told["anchored"]
    assert told["simulated"]
    assert 0 < told["counts"]["event"] <= demonstration.found["events"], "of this lot alone"
    assert told["counts"]["evidence version"] >= 1
    assert [one["code"] for one in told["missing"] if one["code"] == "numbers"] == []
    assert sum(one["count"] for one in told["series"]) >= sum(one["count"] for one in demonstration.found["stays"])

    data = bytearray(file.read_bytes())
    data[-200] ^= 1
    file.write_bytes(data)
    judged = _coldproof("verify", str(file), cwd=tmp_path)
    assert judged.returncode == 1
    assert "first bad record" in judged.stdout


def _coldproof(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, "-m", "coldproof.main", *words]
    return subprocess.run(line, cwd=cwd, capture_output=True, text=True, timeout=120, check=False)


def test_ctrl_c_ends_everything(demonstration: Demonstration) -> None:
    said = demonstration.end()
    assert "ended." in said
    assert "Traceback" not in said
    ours = [line for line in _processes() if str(demonstration.folder) in line]
    assert not ours, f"left running: {ours}"


def _sign_in(chromium: Any, demonstration: Demonstration, role: str) -> Any:
    context = chromium.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    context.set_default_timeout(15_000)
    page = context.new_page()
    page.goto(demonstration.url)
    login, password = demonstration.people[role]
    page.locator("input[name=login]").fill(login)
    page.locator("input[name=password]").fill(password)
    with page.expect_navigation():
        page.locator("input[name=password]").press("Enter")
    page.get_by_role("button", name=re.compile("Đăng xuất")).wait_for()
    return page


def _follow(page: Any, control: Any) -> None:
    """Click, and wait until the page it leads to is there."""
    with page.expect_navigation():
        control.click()


def _processes() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace"))
            except OSError:
                continue  # it has just ended
    return found
