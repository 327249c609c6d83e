"""An installer with a phone: a real Chromium at 390 px, no JavaScript, from the password to a test alarm."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect
from playwright.sync_api import Page as BrowserPage

from edge.agent import Stop, run
from edge.config import load_config
from tests.edge.local.conftest import PASSWORD, PageSite

pytestmark = pytest.mark.browser

PHONE, DESK = 390, 1280


@contextmanager
def running(site: PageSite) -> Iterator[None]:
    """The gateway and its devices in a thread of their own; the browser has this one."""
    stop, ready, over = Stop(), threading.Event(), threading.Event()
    loop = asyncio.new_event_loop()

    async def work() -> None:
        async with site.devices():
            task = asyncio.create_task(run(load_config(site.config_path), stop=stop))
            while not (site.folder / "data" / "control.sock").exists():
                await asyncio.sleep(0.05)
            ready.set()
            while not over.is_set():
                await asyncio.sleep(0.05)
            stop.ask()
            await asyncio.wait_for(task, 15)

    thread = threading.Thread(target=lambda: loop.run_until_complete(work()), name="gateway")
    thread.start()
    try:
        assert ready.wait(15)
        yield
    finally:
        over.set()
        thread.join(30)
        loop.close()


@contextmanager
def window(chromium: Browser, site: PageSite, *, width: int = PHONE) -> Iterator[BrowserPage]:
    context = chromium.new_context(
        viewport={"width": width, "height": 844},
        java_script_enabled=False,
        base_url=site.address,
        timezone_id="Asia/Ho_Chi_Minh",
    )
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def enter(page: BrowserPage) -> None:
    page.goto("/")
    page.get_by_label("Mật khẩu").fill(PASSWORD)
    page.get_by_role("button", name="Đăng nhập").click()
    expect(page.get_by_role("heading", level=1)).to_contain_text("gw-kho-01")


def fits(page: BrowserPage) -> bool:
    width: int = page.evaluate("document.documentElement.scrollWidth")
    return width <= (page.viewport_size or {"width": 0})["width"]


def test_phone_shows_values_and_makes_a_test_alarm(site: PageSite, chromium: Browser, tmp_path: Path) -> None:
    with running(site), window(chromium, site) as page:
        enter(page)
        page.wait_for_timeout(2500)
        page.goto("/")
        expect(page.get_by_text("−21,3 °C")).to_be_visible()
        expect(page.get_by_role("img").first).to_be_visible()
        assert fits(page)
        page.screenshot(path=tmp_path / "status-phone.png", full_page=True)
        page.get_by_role("button", name="Thử cảnh báo").click()
        page.get_by_text("Cảnh báo gần đây").click()
        expect(page.get_by_text("thử: room-1/air: −17,0 °C cao hơn giới hạn −18 °C")).to_be_visible()
        page.get_by_role("link", name="English").click()
        expect(page.get_by_role("heading", name="Devices")).to_be_visible()
        assert fits(page)
        page.get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("Password")).to_be_visible()


def test_phone_finds_what_is_wrong_and_where(site: PageSite, chromium: Browser, tmp_path: Path) -> None:
    with running(site), window(chromium, site) as page:
        enter(page)
        page.get_by_role("link", name="Tìm thiết bị").click()
        page.get_by_label("Địa chỉ Modbus").fill("1-2")
        page.get_by_label("Tìm cả trên cổng đang dùng").check()
        assert fits(page)
        page.screenshot(path=tmp_path / "find-form-phone.png", full_page=True)
        page.get_by_role("button", name="Bắt đầu tìm").click()
        expect(page.get_by_role("heading", name="Đã tìm thấy")).to_be_visible(timeout=40_000)
        expect(page.get_by_role("button", name="Bắt đầu tìm")).to_be_visible(timeout=40_000)
        expect(page.get_by_role("heading", name="XY-MD02")).to_be_visible()
        expect(page.get_by_text("Không trả lời: kiểm tra nguồn")).to_be_visible()
        page.get_by_text("Đặt tên và gắn vào địa điểm").first.click()
        expect(page.get_by_label("Tên thiết bị")).to_be_visible()
        assert fits(page)
        page.screenshot(path=tmp_path / "found-phone.png", full_page=True)
        page.get_by_role("link", name="Áp dụng").click()
        expect(page.get_by_text("Cấu hình đang chạy đúng như tệp.")).to_be_visible()
        assert fits(page)


def test_alarm_is_seen_at_once_on_a_wide_screen(site: PageSite, chromium: Browser, tmp_path: Path) -> None:
    site.config_path.write_text(site.config_path.read_text().replace("above = -18.0", "above = -22.0"))
    with running(site), window(chromium, site, width=DESK) as page:
        enter(page)
        page.wait_for_timeout(2000)
        page.goto("/")
        expect(page.get_by_role("alert")).to_contain_text("room-1/air: −21,3 °C cao hơn giới hạn −22 °C")
        assert fits(page)
        page.screenshot(path=tmp_path / "alarm-desk.png", full_page=True)
