"""People at their browsers: a real Chromium, a real server, no JavaScript."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import uvicorn
from fastapi import FastAPI
from playwright.sync_api import Browser
from playwright.sync_api import Page as BrowserPage

from cloud.web.page import lot_path
from tests.cloud.web import world

pytestmark = pytest.mark.browser

WIDE, PHONE = 1280, 390
LOT = lot_path(world.GTIN, world.FAILED)
GATEWAY, SERIES = "/gateways/gw-kho-01", "/gateways/gw-kho-01/series/room-1/air"


@pytest.fixture
def address(app: FastAPI) -> Iterator[str]:
    """Where the application is served."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, args=([listener],), name="web")
        thread.start()
        deadline = time.monotonic() + 10
        while not server.started:
            assert time.monotonic() < deadline, "the web server does not start"
            time.sleep(0.01)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(10)


@pytest.fixture
def open_browser(chromium: Browser, address: str) -> Iterator[Callable[..., BrowserPage]]:
    """Opens a window of its own, signed in when a login is given."""
    contexts = []

    def window(login: str | None = None, *, width: int = WIDE) -> BrowserPage:
        context = chromium.new_context(
            viewport={"width": width, "height": 900}, java_script_enabled=False, base_url=address
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        if login:
            page.goto("/sign-in")
            fill_in_sign_in(page, login, world.PASSWORD)
        return page

    yield window
    for context in contexts:
        context.close()


def follow(page: BrowserPage, role: Literal["button", "link"], name: str) -> None:
    """Click, and wait until the page it leads to is there."""
    with page.expect_navigation():
        page.get_by_role(role, name=name).click()


def fill_in_sign_in(page: BrowserPage, login: str, password: str) -> None:
    page.get_by_label("Tên đăng nhập").fill(login)
    page.get_by_label("Mật khẩu").fill(password)
    follow(page, "button", "Đăng nhập")


def has_sideways_scroll(page: BrowserPage) -> bool:
    """Whether anything sticks out of the window (the browser is asked; the page itself runs no script)."""
    widest: int = page.evaluate("document.documentElement.scrollWidth")
    return widest > page.viewport_size["width"]


def test_operator_and_official_bring_a_lot_to_approval(open_browser: Callable[..., BrowserPage]) -> None:
    operator, official = open_browser("operator"), open_browser("official")

    operator.get_by_label("Tìm lô").fill("251009-a")
    follow(operator, "button", "Tìm")
    follow(operator, "link", "Sầu riêng Ri6 Đắk Lắk")
    assert "Lô hàng không đạt" in operator.locator(".sentence").inner_text()
    follow(operator, "button", "Nộp để xem xét")
    assert "Chờ xem xét" in operator.locator(".review").inner_text()

    official.goto("/")
    follow(official, "link", "chờ xem xét")
    follow(official, "link", "Sầu riêng Ri6 Đắk Lắk")
    assert official.locator("figure.journey svg.chart-wide").is_visible()
    official.get_by_label("Lý do trả lại").fill("Thiếu số liệu đêm 10/10, xin giải trình.")
    follow(official, "button", "Trả lại")
    assert "Đã trả lại" in official.locator(".review-state").inner_text()

    operator.goto(LOT)
    assert "Thiếu số liệu đêm 10/10" in operator.locator(".history").inner_text()
    follow(operator, "button", "Nộp lại")

    official.goto(LOT)
    follow(official, "button", "Phê duyệt")
    assert "Đã phê duyệt" in official.locator(".review-state").inner_text()
    assert official.locator(".history li").count() == 4


def test_wrong_password_is_told_and_can_be_corrected(open_browser: Callable[..., BrowserPage]) -> None:
    page = open_browser()
    page.goto(LOT)
    fill_in_sign_in(page, "official", "wrong password")
    assert "không đúng" in page.get_by_role("alert").inner_text()
    assert page.get_by_label("Tên đăng nhập").input_value() == "official"
    fill_in_sign_in(page, "official", world.PASSWORD)
    assert page.url.endswith(LOT)


@pytest.mark.parametrize("path", ["/", LOT, "/nowhere", LOT + "?lang=en", GATEWAY, SERIES, SERIES + "?span=year"])
def test_a_phone_shows_everything_without_sideways_scroll(open_browser: Callable[..., BrowserPage], path: str) -> None:
    page = open_browser("official", width=PHONE)
    page.goto(path)
    assert not has_sideways_scroll(page)


def test_each_width_gets_the_chart_drawn_for_it(open_browser: Callable[..., BrowserPage]) -> None:
    for width, shown, hidden in ((PHONE, "narrow", "wide"), (WIDE, "wide", "narrow")):
        page = open_browser("official", width=width)
        page.goto(LOT)
        assert page.locator(f"svg.chart-{shown}").first.is_visible()
        assert not page.locator(f"svg.chart-{hidden}").first.is_visible()


def test_print_has_the_wide_chart_and_no_buttons(open_browser: Callable[..., BrowserPage]) -> None:
    page = open_browser("official")
    page.goto(LOT)
    page.emulate_media(media="print")
    assert page.locator("svg.chart-wide").first.is_visible()
    assert not page.get_by_role("button", name="Đăng xuất").is_visible()
    assert page.pdf(prefer_css_page_size=True).startswith(b"%PDF")


def test_keyboard_reaches_content_and_language_first(open_browser: Callable[..., BrowserPage]) -> None:
    page = open_browser("official")
    page.goto(LOT)
    page.keyboard.press("Tab")
    assert page.locator(":focus").inner_text() == "Chuyển đến nội dung chính"


def test_english_is_one_click_away_and_stays(open_browser: Callable[..., BrowserPage]) -> None:
    page = open_browser("official")
    page.goto(LOT)
    follow(page, "link", "English")
    assert "The lot is not compliant." in page.locator(".sentence").inner_text()
    follow(page, "link", "← All lots")
    assert page.get_by_role("heading", name="Lots to look at").is_visible()
    follow(page, "button", "Sign out")
    assert page.get_by_role("heading", name="Sign in").is_visible()
