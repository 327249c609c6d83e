"""What is forgotten is gone from tail and chunks, and nothing else is."""

from __future__ import annotations

import pytest
from sqlalchemy import Engine, select, update

from cloud.db.engine import reading as look
from cloud.db.engine import writing
from cloud.db.tables import pack
from cloud.rebuild import rebuild
from cloud.telemetry import query
from cloud.telemetry.compactor import compact
from cloud.telemetry.forget import forget
from tests.cloud.field import Gateway, reading
from tests.cloud.telemetry.test_fold import AIR, EVER, dumped, store


@pytest.mark.parametrize("folded", [0, 3, 6], ids=["in the tail", "in part", "folded"])
@pytest.mark.parametrize("gone", [{2}, {1, 3, 5}, {1, 2, 3, 4, 5, 6}])
def test_only_what_is_forgotten_is_gone(engine: Engine, gateway: Gateway, folded: int, gone: set[int]):
    for seq in range(1, 7):
        rows = [reading(at_s=7200 * seq + 60 * at, mantissa=None if at == 1 else at) for at in range(40)]
        store(engine, gateway, gateway.pack(seq, rows))
        if seq == folded:
            compact(engine, _silent)
    with look(engine) as conn:
        before = query.readings(conn, gateway.name, AIR, 0, EVER)
        ids = conn.scalars(select(pack.c.id).where(pack.c.seq.in_(gone))).all()
    with writing(engine) as conn:
        forget(conn, ids)
        conn.execute(update(pack).where(pack.c.id.in_(ids)).values(envelope=b""))
    with look(engine) as conn:
        assert query.readings(conn, gateway.name, AIR, 0, EVER) == [row for row in before if row.seq not in gone]
        assert query.count(conn) == 40 * (6 - len(gone))
    compact(engine, _silent)
    as_forgotten = dumped(engine)
    rebuild(engine, lambda _share: None)
    compact(engine, _silent)
    assert dumped(engine) == as_forgotten


def _silent(_done: int, _of: int) -> None:
    pass
