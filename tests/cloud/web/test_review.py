"""Decisions by form: by the right people, from our own pages, on what they saw."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading
from cloud.review.submissions import submission
from cloud.web.page import lot_path
from tests.cloud.web import world
from tests.cloud.web.conftest import Visitor

Visit = Callable[..., Visitor]
PATH = lot_path(world.GTIN, world.FAILED)


async def decide(visitor: Visitor, kind: str, path: str = PATH, **fields: str) -> httpx.Response:
    """Send a form of the lot page."""
    fields = {"csrf": await visitor.csrf(), **fields}
    return await visitor.post(f"{path}/{kind}?lang=en", data=fields)


def state_of(engine: Engine, lot: str = world.FAILED) -> str:
    with reading(engine) as conn:
        return submission(conn, world.GTIN, lot).state


async def test_submit_return_submit_again_approve(visit: Visit, engine: Engine) -> None:
    operator, official = await visit().sign_in("operator"), await visit().sign_in("official")
    answer = await decide(operator, "submit")
    assert answer.status_code == 200
    assert "Waiting for review" in answer.text
    answer = await decide(official, "return", version="1", reason="Thiếu số liệu 2 giờ 30 phút.\r\nXin giải trình.")
    assert "Returned" in answer.text
    assert "Thiếu số liệu 2 giờ 30 phút.\nXin giải trình." in answer.text
    assert state_of(engine) == "returned"
    await decide(operator, "submit")
    answer = await decide(official, "approve", version="1")
    assert "The lot&#39;s history has been approved." in answer.text
    assert state_of(engine) == "approved"


async def test_forms_are_offered_to_those_who_may_use_them(visit: Visit) -> None:
    operator, official = await visit().sign_in("operator"), await visit().sign_in("official")
    assert f'action="{PATH}/submit"' in (await operator.get(PATH)).text
    assert "/approve" not in (await official.get(PATH)).text, "nothing was submitted yet"
    await decide(operator, "submit")
    assert f'action="{PATH}/submit"' not in (await operator.get(PATH)).text, "nothing has changed since"
    assert "/approve" not in (await operator.get(PATH)).text
    assert f'action="{PATH}/approve"' in (await official.get(PATH)).text
    frozen = (await official.get(PATH + "?version=1")).text
    assert "/approve" not in frozen, "a frozen version is looked at, not decided on"


@pytest.mark.parametrize(
    ("login", "kind", "fields"),
    [
        ("official", "submit", {}),
        ("operator", "approve", {"version": "1"}),
        ("operator", "return", {"version": "1", "reason": "x"}),
    ],
)
async def test_the_wrong_role_is_refused(
    visit: Visit, engine: Engine, login: str, kind: str, fields: dict[str, str]
) -> None:
    await decide(await visit().sign_in("operator"), "submit")
    answer = await decide(await visit().sign_in(login), kind, **fields)
    assert answer.status_code == 403
    assert "Your role may not do this" in answer.text
    assert state_of(engine) == "submitted"


@pytest.mark.parametrize("csrf", [None, "", "wrong", "x" * 10_000])
async def test_a_form_without_its_secret_does_nothing(visit: Visit, engine: Engine, csrf: str | None) -> None:
    visitor = await visit().sign_in("operator")
    answer = await visitor.post(f"{PATH}/submit", data={} if csrf is None else {"csrf": csrf})
    assert answer.status_code in {403, 415}
    assert state_of(engine) == "draft"


async def test_the_secret_of_another_session_does_nothing(visit: Visit, engine: Engine) -> None:
    other = await (await visit().sign_in("official2")).csrf()
    visitor = await visit().sign_in("operator")
    assert (await visitor.post(f"{PATH}/submit", data={"csrf": other})).status_code == 403
    assert state_of(engine) == "draft"


async def test_a_form_from_another_site_does_nothing(visit: Visit, engine: Engine) -> None:
    visitor = await visit().sign_in("operator")
    answer = await visitor.post(
        f"{PATH}/submit", data={"csrf": await visitor.csrf()}, headers={"origin": "https://evil.example"}
    )
    assert answer.status_code == 403
    assert state_of(engine) == "draft"


async def test_opening_an_address_decides_nothing(visit: Visit, engine: Engine) -> None:
    visitor = await visit().sign_in("operator")
    assert (await visitor.get(f"{PATH}/submit")).status_code == 404, "a lot called so is not known"
    assert state_of(engine) == "draft"


@pytest.mark.parametrize(
    ("fields", "status", "why"),
    [
        ({"version": "1", "reason": "  "}, 422, "A reason is needed"),
        ({"version": "1"}, 422, "A reason is needed"),
        ({"version": "1", "reason": "ế" * 2001}, 422, "The reason is too long"),
        ({"version": "1", "reason": "x" * 50_000}, 413, "Too much was sent"),
        ({"version": "7", "reason": "x"}, 409, "just been submitted again"),
        ({"version": "one", "reason": "x"}, 400, "can&#39;t be read"),
        ({"reason": "x"}, 400, "can&#39;t be read"),
    ],
)
async def test_bad_returns_are_refused_and_nothing_is_saved(
    visit: Visit, engine: Engine, fields: dict[str, str], status: int, why: str
) -> None:
    await decide(await visit().sign_in("operator"), "submit")
    answer = await decide(await visit().sign_in("official"), "return", **fields)
    assert answer.status_code == status
    assert why in answer.text
    assert state_of(engine) == "submitted"


async def test_the_longest_reason_there_may_be_is_taken(visit: Visit, engine: Engine) -> None:
    await decide(await visit().sign_in("operator"), "submit")
    answer = await decide(await visit().sign_in("official"), "return", version="1", reason="ế" * 2000)
    assert answer.status_code == 200
    assert state_of(engine) == "returned"


async def test_a_hostile_reason_stays_text(visit: Visit) -> None:
    await decide(await visit().sign_in("operator"), "submit")
    hostile = "<script>alert(1)</script><img src=x onerror=alert(1)>{{ 7*7 }}"
    answer = await decide(await visit().sign_in("official"), "return", version="1", reason=hostile)
    assert "<script" not in answer.text
    assert "<img" not in answer.text
    assert "&lt;script&gt;" in answer.text
    assert "{{ 7*7 }}" in answer.text


async def test_of_two_officials_the_second_is_told(visit: Visit, engine: Engine) -> None:
    await decide(await visit().sign_in("operator"), "submit")
    await decide(await visit().sign_in("official"), "approve", version="1")
    answer = await decide(await visit().sign_in("official2"), "return", version="1", reason="x")
    assert answer.status_code == 409
    assert "nothing to decide any more" in answer.text
    assert f'href="{PATH}?lang=en"' in answer.text, "the way back leads to the lot"
    assert state_of(engine) == "approved"


async def test_a_lot_nobody_knows_cannot_be_submitted(visit: Visit) -> None:
    answer = await decide(await visit().sign_in("operator"), "submit", path=lot_path(world.GTIN, "unknown"))
    assert answer.status_code == 404


async def test_a_lot_with_a_hostile_number_can_be_decided_on(visit: Visit, engine: Engine) -> None:
    path = lot_path(world.GTIN, world.HOSTILE)
    assert (await decide(await visit().sign_in("operator"), "submit", path=path)).status_code == 200
    assert state_of(engine, world.HOSTILE) == "submitted"


async def test_frozen_version_stays_readable(visit: Visit) -> None:
    operator = await visit().sign_in("operator")
    await decide(operator, "submit")
    page = (await operator.get(f"{PATH}?version=1&lang=en")).text
    assert "This is evidence version 1" in page
