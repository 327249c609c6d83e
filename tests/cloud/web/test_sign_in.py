"""Signing in: what a hostile browser tries, and what it gets."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from fastapi import FastAPI
from sqlalchemy import Engine

from cloud.auth import sessions
from cloud.auth.attempts import MOST_WRONG, WINDOW_S, Attempts
from cloud.clock import system_now_ms
from cloud.config import CloudConfig
from cloud.db.engine import writing
from cloud.web.app import create_app
from cloud.web.page import SESSION_COOKIE, lot_path
from cloud.web.sign_in import safe_target
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor

Visit = Callable[..., Visitor]


async def test_signing_in_leads_where_one_wanted_to_go(visit: Visit) -> None:
    visitor = visit()
    wanted = lot_path(world.GTIN, world.FAILED)
    form = await visitor.get(wanted)
    assert f'name="next" value="{wanted}"' in form.text
    answer = await visitor.post("/sign-in", data={"login": " Official ", "password": world.PASSWORD, "next": wanted})
    assert answer.url.path == wanted


async def test_wrong_password_and_unknown_login_get_the_same_answer(visit: Visit) -> None:
    answers = []
    for login in ("official", "nobody"):
        answer = await visit().post("/sign-in", data={"login": login, "password": "wrong"})
        assert answer.status_code == 401
        answers.append(answer.text.replace(login, "X"))
    assert answers[0] == answers[1]
    assert world.PASSWORD not in answers[0]


async def test_cookie_is_out_of_reach_for_scripts_and_other_sites(visit: Visit) -> None:
    visitor = visit()
    answer = await visitor.post(
        "/sign-in", data={"login": "official", "password": world.PASSWORD}, follow_redirects=False
    )
    cookie = answer.headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=lax" in cookie
    assert "secure" not in cookie, "plain http on loopback"


async def test_cookie_is_secure_behind_https(engine: Engine, config: CloudConfig) -> None:
    app = create_app(engine, lambda: world.NOW_MS, msgspec.structs.replace(config, public_url="https://cold.example"))
    async with Visitor(app, "10.0.0.1") as visitor:
        answer = await visitor.post(
            "/sign-in", data={"login": "official", "password": world.PASSWORD}, follow_redirects=False
        )
    assert "secure" in answer.headers["set-cookie"].lower()
    assert "strict-transport-security" in answer.headers


async def test_a_token_that_was_planted_is_never_taken_over(visit: Visit) -> None:
    visitor = visit()
    visitor.cookies.set(SESSION_COOKIE, "planted-by-somebody-else", domain="coldproof.test")
    answer = await visitor.post(
        "/sign-in", data={"login": "official", "password": world.PASSWORD}, follow_redirects=False
    )
    assert "planted" not in answer.headers["set-cookie"]
    thief = visit()
    thief.cookies.set(SESSION_COOKIE, "planted-by-somebody-else", domain="coldproof.test")
    assert (await thief.get("/")).url.path == "/sign-in"


async def test_signing_in_again_ends_the_session_before(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    before = visitor.cookies[SESSION_COOKIE]
    await visitor.sign_in("operator")
    thief = visit()
    thief.cookies.set(SESSION_COOKIE, before, domain="coldproof.test")
    assert (await thief.get("/")).url.path == "/sign-in"


async def test_signing_out_ends_it_in_the_database_too(visit: Visit) -> None:
    visitor = await visit().sign_in("official")
    token = visitor.cookies[SESSION_COOKIE]
    answer = await visitor.post("/sign-out", data={"csrf": await visitor.csrf()})
    assert answer.url.path == "/sign-in"
    visitor.cookies.set(SESSION_COOKIE, token, domain="coldproof.test")
    assert (await visitor.get("/")).url.path == "/sign-in"


async def test_expired_session_is_told_so_and_nothing_is_done(visit: Visit, engine: Engine) -> None:
    with writing(engine) as conn:
        old = sessions.start(conn, "official", system_now_ms() - sessions.LIFETIME_MS - 1)
    visitor = visit()
    visitor.cookies.set(SESSION_COOKIE, old, domain="coldproof.test")
    answer = await visitor.post(f"{lot_path(world.GTIN, world.FAILED)}/approve?lang=en", data={"csrf": "x"})
    assert answer.status_code == 401
    assert "Your session is over" in answer.text


async def test_guessing_is_stopped_and_the_right_password_waits_too(visit: Visit, app: FastAPI) -> None:
    visitor = visit("10.0.0.66")
    for _ in range(MOST_WRONG):
        assert (await visitor.post("/sign-in", data={"login": "official", "password": "guess"})).status_code == 401
    answer = await visitor.post("/sign-in?lang=en", data={"login": "official", "password": world.PASSWORD})
    assert answer.status_code == 429
    assert int(answer.headers["retry-after"]) <= WINDOW_S
    assert "Too many wrong tries" in answer.text
    assert await visit("10.0.0.1").sign_in("official"), "the official's own desk is not locked out"
    assert isinstance(app.state.site.attempts, Attempts)


@pytest.mark.parametrize(
    "wanted",
    [
        "https://evil.example/",
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/\x00",
        "/a\r\nSet-Cookie: x=1",
        "javascript:alert(1)",
        "",
        "/" * 600,
        "/lô",
    ],
)
def test_nobody_is_sent_to_another_site(wanted: str) -> None:
    assert safe_target(wanted) == "/"


@pytest.mark.parametrize(
    ("content", "content_type", "status"),
    [
        (b"login=official&password=" + b"x" * 40_000, "application/x-www-form-urlencoded", 413),
        (b"&".join(b"a%d=1" % at for at in range(100)), "application/x-www-form-urlencoded", 400),
        (b"login=a&login=b&password=c", "application/x-www-form-urlencoded", 400),
        (b"login=%FF%FE&password=x", "application/x-www-form-urlencoded", 400),
        (b"\xff\xfe\x00", "application/x-www-form-urlencoded", 400),
        (b"login=%00&password=x", "application/x-www-form-urlencoded", 400),
        (b'{"login": "official"}', "application/json", 415),
        (b"--x--", "multipart/form-data; boundary=x", 415),
        (b"", "application/x-www-form-urlencoded", 401),
    ],
)
async def test_bad_forms_are_refused_in_plain_words(
    visit: Visit, content: bytes, content_type: str, status: int
) -> None:
    answer = await visit().post("/sign-in?lang=en", content=content, headers={"content-type": content_type})
    assert answer.status_code == status
    assert "<h1>" in answer.text


async def test_an_endless_form_is_cut_off(visit: Visit) -> None:
    async def endless() -> object:
        while True:
            yield b"a" * 65_536

    answer = await visit().post(
        "/sign-in", content=endless(), headers={"content-type": "application/x-www-form-urlencoded"}
    )
    assert answer.status_code == 413


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
async def test_another_site_cannot_sign_anybody_in(visit: Visit, headers: dict[str, str]) -> None:
    visitor = visit()
    answer = await visitor.post("/sign-in", data={"login": "official", "password": world.PASSWORD}, headers=headers)
    assert answer.status_code == 403
    assert SESSION_COOKIE not in visitor.cookies
