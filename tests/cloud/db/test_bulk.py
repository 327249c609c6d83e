"""Rows by the hundred: every value comes back as it was, or the whole is refused, on either database."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, select
from sqlalchemy.exc import DBAPIError, IntegrityError

from cloud.db import bulk
from cloud.db.bulk import insert_rows
from cloud.db.engine import is_one_file, reading, writing
from cloud.db.tables import evidence_version, gateway, person, scan_finding
from tests.cloud.db.test_engine import STRANGE

MANY = bulk.COPIED_MIN + 3
PERSON = [person.c.login, person.c.name, person.c.role, person.c.password_hash, person.c.added_ms]


def _people(count: int) -> list[tuple[Any, ...]]:
    return [(f"login {at}", "n", "official", "a secret", at) for at in range(count)]


@pytest.mark.parametrize("count", [0, 1, MANY])
def test_every_value_comes_back_as_it_was(engine: Engine, count: int):
    texts = [STRANGE[at % len(STRANGE)] for at in range(count)]
    numbers = [(-(2**63), 2**63 - 1, 0, -1)[at % 4] for at in range(count)]
    ordinals = [(-(2**31), 2**31 - 1, 0, -1)[at % 4] for at in range(count)]
    blobs = [bytes(range(256)) * at for at in range(count)]
    findings = list(zip(range(count), ordinals, texts, texts, numbers, strict=True))
    gateways = [(f"gw-{at}", at % 2 == 0, at) for at in range(count)]
    versions = [("g", f"{at}", 1, at, "{}", blobs[at], at) for at in range(count)]
    with writing(engine) as conn:
        for table, rows in ((scan_finding, findings), (gateway, gateways), (evidence_version, versions)):
            insert_rows(conn, list(table.columns), rows)
    with reading(engine) as conn:
        assert sorted(map(tuple, conn.execute(select(scan_finding)))) == findings
        assert sorted(map(tuple, conn.execute(select(gateway)))) == sorted(gateways)
        assert list(conn.scalars(select(evidence_version.c.hash).order_by(evidence_version.c.leaf_index))) == blobs


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("number", [2**63, -(2**63) - 1, 2**70])
def test_number_that_does_not_fit_is_refused_never_cut(engine: Engine, count: int, number: int):
    rows = _people(count)
    rows[-1] = (*rows[-1][:-1], number)
    with pytest.raises((DBAPIError, OverflowError)), writing(engine) as conn:
        insert_rows(conn, PERSON, rows)
    with reading(engine) as conn:
        assert conn.execute(select(person)).all() == []


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize("number", [2**31, -(2**31) - 1])
def test_smaller_number_that_does_not_fit_is_refused_or_kept_never_cut(engine: Engine, count: int, number: int):
    rows = [(at, number, "c", "r", 1) for at in range(count)]
    if is_one_file(engine):  # where every INTEGER has 64 bits
        with writing(engine) as conn:
            insert_rows(conn, list(scan_finding.columns), rows)
    else:
        with pytest.raises((DBAPIError, OverflowError)), writing(engine) as conn:
            insert_rows(conn, list(scan_finding.columns), rows)
    with reading(engine) as conn:
        assert set(conn.scalars(select(scan_finding.c.ordinal))) <= {number}


@pytest.mark.parametrize("count", [1, MANY])
@pytest.mark.parametrize(("column", "value"), [(2, "nobody"), (3, None), (0, "login 0")], ids=["check", "null", "key"])
def test_row_that_breaks_a_rule_is_refused_and_not_told(engine: Engine, count: int, column: int, value: Any):
    with writing(engine) as conn:
        insert_rows(conn, PERSON, _people(1))
    rows = [(f"new {at}", *row[1:]) for at, row in enumerate(_people(count))]
    rows[-1] = (*rows[-1][:column], value, *rows[-1][column + 1 :])
    with pytest.raises(IntegrityError) as caught, writing(engine) as conn:
        insert_rows(conn, PERSON, rows)
    assert "a secret" not in f"{caught.value} {caught.value.__cause__}"
    with reading(engine) as conn:
        assert len(conn.execute(select(person)).all()) == 1


def test_lone_surrogate_is_refused_like_everywhere(engine: Engine):
    rows = [("a", "\ud800", "official", "x", 1), *_people(MANY)]
    with pytest.raises(UnicodeEncodeError), writing(engine) as conn:
        insert_rows(conn, PERSON, rows)


def test_connection_is_good_for_the_next_one_after_a_refusal(engine: Engine, open_again: Callable[[], Engine]):
    for _ in range(3):
        with pytest.raises((DBAPIError, OverflowError)), writing(engine) as conn:
            insert_rows(conn, PERSON, [*_people(MANY), ("z", "n", "official", "x", 2**63)])
    with writing(engine) as conn:
        insert_rows(conn, PERSON, _people(MANY))
    with reading(open_again()) as conn:
        assert len(conn.execute(select(person)).all()) == MANY
