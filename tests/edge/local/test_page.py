"""The page over HTTP: who gets in, what is refused, what it shows and does."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx
import pytest

from edge.local.password import set_password
from edge.local.session import FREE_GUESSES
from tests.edge.local.conftest import PASSWORD, PageSite
from tests.edge.test_agent import until
from wire.observation import Quality


@asynccontextmanager
async def open_page(site: PageSite, *, signed_in: bool = True) -> AsyncIterator[httpx.AsyncClient]:
    async with site.devices(), site.gateway(), httpx.AsyncClient(base_url=site.address) as client:
        await until(lambda: site.readings)
        for _ in range(100):
            try:
                await client.get("/sign-in")
                break
            except httpx.ConnectError:
                import asyncio

                await asyncio.sleep(0.1)
        if signed_in:
            answer = await client.post("/sign-in", data={"password": PASSWORD})
            assert answer.status_code == 303, answer.text
        yield client


async def csrf(client: httpx.AsyncClient, path: str = "/") -> str:
    found = re.search(r'name="csrf" value="([^"]+)"', (await client.get(path)).text)
    assert found is not None
    return found[1]


async def test_nothing_is_shown_to_strangers(site: PageSite) -> None:
    async with open_page(site, signed_in=False) as client:
        for path in ("/", "/find", "/change"):
            answer = await client.get(path)
            assert (answer.status_code, answer.headers["location"]) == (303, "/sign-in")
        for path in ("/find", "/bind", "/change", "/test", "/sign-out"):
            assert (await client.post(path, data={"csrf": "x"})).status_code == 401
        assert (await client.get("/nothing")).status_code == 404
        page = await client.get("/sign-in")
        assert "room-1" not in page.text
        assert "script" not in page.text
        assert "default-src 'none'" in page.headers["content-security-policy"]


async def test_password_opens_and_guessing_is_slowed_down(site: PageSite) -> None:
    async with open_page(site, signed_in=False) as client:
        for _ in range(FREE_GUESSES):
            assert (await client.post("/sign-in", data={"password": "sai sai sai sai"})).status_code == 401
        answer = await client.post("/sign-in", data={"password": PASSWORD})
        assert answer.status_code == 429
        assert "Hãy đợi" in answer.text


async def test_cookie_is_out_of_reach_for_scripts_and_other_sites(site: PageSite) -> None:
    async with open_page(site, signed_in=False) as client:
        answer = await client.post("/sign-in", data={"password": PASSWORD})
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie


async def test_forms_of_other_sites_and_without_a_token_are_refused(site: PageSite) -> None:
    async with open_page(site) as client:
        token = await csrf(client)
        form = {"kind": "alarm", "channel": "room-1/air"}
        assert (await client.post("/test", data=form)).status_code == 403
        for header in ({"origin": "http://evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert (await client.post("/test", data={**form, "csrf": token}, headers=header)).status_code == 403
        assert (await client.post("/test", json=form)).status_code == 415
        assert (await client.post("/test", data={"csrf": token, "value": "x" * 20_000})).status_code == 413
        assert (await client.post("/test", content=b"\xff\xfe", headers={
            "content-type": "application/x-www-form-urlencoded"})).status_code == 400  # fmt: skip
        assert not [each for each in site.cloud.observations if each.quality is Quality.TEST]


async def test_status_shows_values_curves_link_and_buffer_in_two_languages(site: PageSite) -> None:
    async with open_page(site) as client:
        await until(lambda: len(site.readings) > 20)
        vi, en = (await client.get("/")).text, (await client.get("/?lang=en")).text
    assert "−21,3 °C" in vi
    assert "−21.3 °C" in en
    assert "hoạt động" in vi
    assert "Biên nhận gần nhất" in vi
    assert vi.count("<svg") == 2
    assert "No alarms." in en
    assert "connected" in en


async def test_breach_is_shown_without_the_cloud(site: PageSite) -> None:
    site.config_path.write_text(site.config_path.read_text().replace("above = -18.0", "above = -22.0"))
    site.cloud.stop()
    async with site.devices(), site.gateway(), httpx.AsyncClient(base_url=site.address) as client:
        await until(lambda: len(site.produced) > 4)
        site.broker.stop()
        await client.post("/sign-in", data={"password": PASSWORD})
        page = (await client.get("/")).text
        assert "room-1/air: −21,3 °C cao hơn giới hạn −22 °C" in page
        site.broker.start()


async def test_test_alarm_and_scan_are_recorded_as_tests(site: PageSite) -> None:
    async with open_page(site) as client:
        token = await csrf(client)
        answer = await client.post("/test", data={"csrf": token, "kind": "alarm", "channel": "room-1/air"})
        assert answer.status_code == 303
        form = {"csrf": token, "kind": "scan", "channel": "scanner/scan", "value": "THỬ-1"}
        assert (await client.post("/test", data=form)).status_code == 303
        await until(lambda: len([o for o in site.cloud.observations if o.quality is Quality.TEST]) == 2)
        page = (await client.get("/")).text
        assert "thử: room-1/air: −17,0 °C cao hơn giới hạn −18 °C" in page
        assert "THỬ-1" in page
        wrong = {"csrf": token, "kind": "alarm", "channel": "room-1/humidity"}
        assert (await client.post("/test", data=wrong)).status_code == 400


async def test_find_bind_and_apply_without_a_keyboard(site: PageSite) -> None:
    """The room's device is taken out of the configuration, found again, bound and applied, all on the page."""
    text = site.config_path.read_text()
    room = text[text.index("[[device]]") : text.index("[[device]]", text.index("[[device]]") + 1)]
    site.config_path.write_text(
        text.replace(room, "").replace('[[limit]]\nchannel = "room-1/air"\nabove = -18.0\nbelow = -25.0\n', "")
    )
    async with site.devices(), site.gateway(), httpx.AsyncClient(base_url=site.address) as client:
        await until((site.folder / "data" / "status.json").exists)
        await client.post("/sign-in", data={"password": PASSWORD})
        token = await csrf(client)
        form = {"csrf": token, "units": "1-2", "ports": str(site.folder / "bus")}
        assert (await client.post("/find", data=form)).status_code == 303
        assert (await client.post("/find", data=form)).status_code == 409
        page = ""
        for _ in range(300):
            page = (await client.get("/find")).text
            if "Đang tìm" not in page:
                break
            import asyncio

            await asyncio.sleep(0.1)
        assert "XY-MD02" in page
        number = re.search(r'name="number" value="(\d+)"', page)
        assert number is not None
        form = {"csrf": token, "number": number[1], "name": "kho-1", "place": "8930000000125", "above": "-18"}
        bad = await client.post("/bind", data={**form, "place": "8930000000126"})
        assert bad.status_code == 400
        assert "not a GLN" in bad.text
        bound = await client.post("/bind", data={**form, "interval": "1"})
        assert "Đã ghi kho-1 vào cấu hình" in bound.text
        assert 'channel = "kho-1/air"' in (site.folder / "registry.toml").read_text()
        change = (await client.get("/change")).text
        assert "Thêm: kho-1" in change
        expected = re.search(r'name="expected" value="([0-9a-f]{64})"', change)
        assert expected is not None
        answer = await client.post("/change", data={"csrf": token, "expected": expected[1], "within": "10"})
        assert answer.status_code == 303
        await until(lambda: any(reading.channel == "kho-1/air" for reading in site.readings))
        assert "Đã áp dụng" in (await client.get("/change")).text


async def test_report_is_a_pdf_in_the_language_asked_for(site: PageSite) -> None:
    async with open_page(site) as client:
        answer = await client.get("/report?lang=en", timeout=60)
        assert answer.headers["content-type"] == "application/pdf"
        assert "gw-kho-01-installation-en.pdf" in answer.headers["content-disposition"]
        assert answer.content.startswith(b"%PDF-")


async def test_new_password_signs_everybody_out(site: PageSite) -> None:
    async with open_page(site) as client:
        assert (await client.get("/")).status_code == 200
        set_password(site.folder / "data", "một mật khẩu khác")
        assert (await client.get("/")).status_code == 303


async def test_without_a_password_there_is_no_page(site: PageSite) -> None:
    (site.folder / "data" / "local-password.json").unlink()
    async with site.devices(), site.gateway(), httpx.AsyncClient(base_url=site.address) as client:
        await until(lambda: len(site.readings) > 4)
        with pytest.raises(httpx.ConnectError):
            await client.get("/")
