"""Pages over a real database: what they show, and what they answer to addresses that make no sense."""

from __future__ import annotations

import re
from collections.abc import Callable
from html.parser import HTMLParser
from urllib.parse import quote

import pytest
from fastapi import FastAPI
from sqlalchemy import Engine, delete, select, text

from cloud.config import CloudConfig
from cloud.db.engine import OutcomeUnknown, writing
from cloud.db.tables import settled
from cloud.health import Health, PartHealth
from cloud.web.app import create_app
from cloud.web.page import lot_path
from cloud.web.wording import wording
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor

Visit = Callable[..., Visitor]
VIETNAMESE = re.compile(r"[ăâđêôơưạảấầẩẫậắằẳẵặẹẻẽếềểễệỉịọỏốồổỗộớờởỡợụủứừửữựỳỵỷỹ]", re.IGNORECASE)


class Text(HTMLParser):
    """The visible words of a page, and what would run if there were any script."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script" or any(name.startswith("on") or name == "style" for name, _ in attrs):
            self.scripts.append(tag)

    def handle_data(self, data: str) -> None:
        if data.strip():
            self.words.append(data.strip())

    @property
    def text(self) -> str:
        return " ".join(self.words).replace("\u00a0", " ").replace("\u202f", " ").replace("\u2060", "")


def path_of(lot: str) -> str:
    return lot_path(world.GTIN, lot)


@pytest.mark.parametrize("path", ["/", path_of(world.FAILED), path_of("no-such-lot"), "/?show=waiting"])
async def test_nobody_reads_without_signing_in(visit: Visit, path: str) -> None:
    visitor = visit()
    answer = await visitor.get(path)
    assert answer.url.path == "/sign-in"
    assert world.FAILED not in Text(answer.text).text


async def test_start_page_lists_what_needs_a_look_first(visit: Visit) -> None:
    visitor = await visit().sign_in("operator")
    page = await visitor.get("/")
    lots = re.findall(r'<span class="sub">Lô ([^\s<]+)', page.text)
    assert set(lots[:2]) == {world.FAILED, world.BLIND}
    assert len(lots) == 4


@pytest.mark.parametrize(
    ("search", "found"),
    [
        ("sau rieng", 4),
        ("SẦU RIÊNG", 4),
        ("dak lak durian", 4),
        ("251009-a", 1),
        ("buon ma thuot", 1),
        (world.GTIN, 4),
        ("không có gì", 0),
        ("%", 1),
        ("<script>", 0),
        ("a" * 5000, 0),
    ],
)
async def test_search_ignores_accents_and_survives_anything(visit: Visit, search: str, found: int) -> None:
    visitor = await visit().sign_in("official")
    page = await visitor.get("/", params={"q": search})
    assert page.status_code == 200
    assert page.text.count('class="lot-row"') == found
    assert not Text(page.text).scripts


@pytest.mark.parametrize("query", ["show=nonsense", "page=-1", "page=999999999999", "page=²", "show=waiting&page=2"])
async def test_filters_in_the_address_never_fail(visit: Visit, query: str) -> None:
    visitor = await visit().sign_in("official")
    assert (await visitor.get(f"/?{query}")).status_code == 200


async def test_filter_and_search_keep_each_other_and_the_language(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    page = await visitor.get("/?show=attention&q=251009&lang=en")
    assert 'href="/?show=waiting&amp;q=251009&amp;lang=en"' in page.text
    assert page.text.count('class="lot-row"') == 2


async def test_lot_page_tells_the_verdict_the_excursion_and_the_gap(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    text = Text((await visitor.get(path_of(world.FAILED))).text).text
    assert "Lô hàng không đạt." in text
    assert "cho phép 2–8 °C" in text
    assert "Các lần vượt ngưỡng" in text
    assert "Các khoảng trống dữ liệu" in text
    assert "cảm biến báo lỗi" in text
    assert "2 giờ 30 phút" in text
    assert "Đóng gói, gắn mã , 40 thùng" in text
    assert "mô phỏng" in text


async def test_every_chart_has_a_table_and_words(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    html = (await visitor.get(path_of(world.FAILED))).text
    figures = re.findall(r'<figure class="series">.*?</figure>', html, re.DOTALL)
    assert len(figures) == 4
    for figure in figures:
        assert figure.count("<svg") == 2, "one for wide and one for narrow screens"
        assert "<table" in figure
        assert "<desc" in figure
    identifiers = re.findall(r'\bid="([^"]+)"', html)
    assert len(identifiers) == len(set(identifiers)), "ids are unique on the page"


async def test_simulated_gateways_are_marked_and_real_ones_are_not(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    assert "simulated" in Text((await visitor.get(path_of(world.FAILED) + "?lang=en")).text).text
    assert "simulated" not in Text((await visitor.get(path_of(world.PASSED) + "?lang=en")).text).text


async def test_missing_evidence_is_never_shown_as_a_pass(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    html = (await visitor.get(path_of(world.BLIND) + "?lang=en")).text
    assert "There is not enough data to assess the lot." in html
    assert "no sensor measures Temperature here" in html


async def test_missing_pack_numbers_are_told(visit: Visit, engine: Engine) -> None:
    with writing(engine) as conn:
        row = conn.execute(select(settled).where(settled.c.gateway == "gw-kho-01")).one()
        conn.execute(delete(settled).where(settled.c.gateway == "gw-kho-01"))
        rest = {"gateway": row.gateway, "stream": row.stream}
        conn.execute(settled.insert().values(**rest, first_seq=1, last_seq=3))
        conn.execute(settled.insert().values(**rest, first_seq=6, last_seq=row.last_seq))
    visitor = await visit().sign_in("official")
    text = Text((await visitor.get(path_of(world.FAILED) + "?lang=en")).text).text
    assert "2 packs are missing" in text


async def test_english_is_complete_and_kept_in_links(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    names = {"Hợp tác xã mẫu", "Cán bộ thẩm định 1", "Tiếng Việt"}
    for path in ("/", path_of(world.FAILED), path_of(world.BLIND), "/nothing-here", path_of("unknown")):
        html = (await visitor.get(path, params={"lang": "en"})).text
        words = [word for word in Text(html).words if word not in names]
        assert not [word for word in words if VIETNAMESE.search(word)]
        assert '<html lang="en">' in html
        links = re.findall(r'(?:href|action)="(/[^"]*)"', html)
        foreign = [link for link in links if "lang=en" not in link and not link.startswith(("/static/", "/api/"))]
        assert len(foreign) <= 1 + html.count('action="/"'), "only the switch to Vietnamese leaves English"


async def test_vietnamese_is_the_default_and_complete(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    english = {wording("en").message(key) for key in wording("en").keys}
    vietnamese = {wording("vi").message(key) for key in wording("vi").keys}
    for path in ("/", path_of(world.FAILED)):
        html = (await visitor.get(path)).text
        assert '<html lang="vi">' in html
        assert not set(Text(html).words) & (english - vietnamese)


async def test_hostile_lot_and_place_names_stay_text(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    page = await visitor.get(path_of(world.HOSTILE))
    assert page.status_code == 200
    assert world.HOSTILE in Text(page.text).text
    assert not Text(page.text).scripts
    assert "<i>" not in page.text
    blind = await visitor.get(path_of(world.BLIND))
    assert "Kho chờ <b>số 9</b>" in Text(blind.text).text
    assert "<b>" not in blind.text


@pytest.mark.parametrize(
    ("path", "status", "title"),
    [
        (path_of("unknown"), 404, "This lot is not known"),
        ("/lots/01/12345/10/L1", 404, "not the address of a lot"),
        (f"/lots/01/{world.GTIN}/10/{'x' * 21}", 404, "not the address of a lot"),
        (f"/lots/01/{world.GTIN}/10/{quote('lô', safe='')}", 404, "not the address of a lot"),
        (f"/lots/01/{world.GTIN}/10/{quote('../../etc/passwd', safe='')}", 404, "This lot is not known"),
        (f"/lots/01/{world.GTIN}/10/%00", 404, "not the address of a lot"),
        (path_of(world.FAILED) + "?version=7", 404, "no such evidence version"),
        (path_of(world.FAILED) + "?version=-1", 404, "no such evidence version"),
        ("/nowhere", 404, "no such page"),
        ("/static/../app.py", 404, "no such page"),
        ("/static/%2e%2e/app.py", 404, "no such page"),
        ("/static/%2e%2e%2fapp.py", 404, "no such page"),
        ("/sign-out", 405, "can't be opened like this"),
    ],
)
async def test_addresses_without_a_page_are_answered_in_plain_words(
    visit: Visit, path: str, status: int, title: str
) -> None:
    visitor = await visit().sign_in("official")
    answer = await visitor.get(path + ("&" if "?" in path else "?") + "lang=en")
    assert answer.status_code == status
    assert title in Text(answer.text).text
    assert "Traceback" not in answer.text


async def test_short_gtin_leads_to_the_same_lot(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    short = world.GTIN.removeprefix("0")
    assert (await visitor.get(lot_path(short, world.PASSED))).status_code == 200


@pytest.mark.parametrize("path", ["/sign-in", "/nowhere", "/static/coldproof.css", "/healthz", "/api/v1/lots"])
async def test_every_answer_forbids_scripts_and_frames(visit: Visit, path: str) -> None:
    headers = (await visit().get(path)).headers
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy
    assert "unsafe" not in policy
    assert "frame-ancestors 'none'" in policy
    assert headers["x-content-type-options"] == "nosniff"


async def test_pages_with_data_are_kept_by_no_cache(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    assert (await visitor.get(path_of(world.FAILED))).headers["cache-control"] == "no-store"


async def test_healthz_says_what_is_wrong(visit: Visit, app: FastAPI) -> None:
    answer = await visit().get("/healthz")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
    app.state.health = lambda: Health({"broker": PartHealth(False, "refused")}, {"accepted": 7})
    answer = await visit().get("/healthz")
    assert (answer.status_code, answer.json()["reasons"]) == (503, ["broker: refused"])
    assert answer.json()["counters"] == {"accepted": 7}


@pytest.mark.parametrize("path", ["/", "/api/v1/lots"])
async def test_a_failing_database_is_told_and_can_be_tried_again(visit: Visit, engine: Engine, path: str) -> None:
    visitor = await visit().sign_in("official")
    with writing(engine) as conn:
        conn.execute(text("DROP TABLE event_item"))
    answer = await visitor.get(path + "?lang=en")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "The system is busy" in answer.text


async def test_a_database_lost_while_it_saved_leaves_that_open(app: FastAPI, visit: Visit) -> None:
    async def lose_it() -> None:
        raise OutcomeUnknown("lost")

    app.add_api_route("/lost", lose_it)
    answer = await visit().get("/lost?lang=en")
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "30")
    assert "look before you repeat it" in answer.text


async def test_a_defect_is_answered_without_its_innards(engine: Engine, config: CloudConfig) -> None:
    def broken_clock() -> int:
        raise RuntimeError("secret innards")

    app = create_app(engine, broken_clock, config)
    async with Visitor(app, "10.0.0.1", raise_defects=False) as visitor:
        await visitor.sign_in("official")
        answer = await visitor.get("/?lang=en")
    assert answer.status_code == 500
    assert "Something unexpected went wrong" in answer.text
    assert "innards" not in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
