"""What lies in the quarantine is judged again after a fix: by command, and by the cloud when keys become known."""

from __future__ import annotations

import hashlib
import threading
from pathlib import Path

import msgspec
import pytest
from sqlalchemy import Engine, func, select
from typer.testing import CliRunner

from cloud.db import tables
from cloud.db.engine import DatabaseUnavailable, reading, writing
from cloud.ingest import quarantine
from cloud.ingest import record as record_module
from cloud.ingest.quarantine import Refused
from cloud.ingest.record import Arrival, record, replay
from cloud.ingest.second_look import SecondLook
from cloud.registry.keys import add_gateway
from coldproof.cloud_command import app
from tests.cloud.field import START_MS, Gateway
from wire.pack import KeyChange

STOP = threading.Event()
NEXT = Gateway("gw-kho-01", seed=2)


def _reasons(engine: Engine) -> list[str]:
    with reading(engine) as conn:
        return list(conn.scalars(select(tables.quarantine.c.reason).order_by(tables.quarantine.c.id)))


def _stored(engine: Engine) -> list[int]:
    with reading(engine) as conn:
        return list(conn.scalars(select(tables.pack.c.seq).order_by(tables.pack.c.seq)))


def _admit(engine: Engine, gateway: Gateway) -> None:
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)


def _come(engine: Engine, gateway: Gateway, *envelopes: bytes) -> None:
    record(engine, [Arrival(gateway.topic, one, START_MS) for one in envelopes])


def _signed_by_next(gateway: Gateway, *seqs: int) -> list[bytes]:
    return [NEXT.seal(msgspec.structs.replace(gateway.pack(seq), stream=gateway.stream)) for seq in seqs]


def test_gateway_added_later_gets_what_it_sent_before(engine: Engine) -> None:
    early = Gateway("gw-early")
    _come(engine, early, *early.chain(3))
    look = SecondLook(engine)
    assert (look.run_once(STOP), _reasons(engine)) == (0, ["unknown_gateway"] * 3)
    _admit(engine, early)
    assert look.run_once(STOP) == 3
    assert (_stored(engine), _reasons(engine)) == ([1, 2, 3], [])
    assert look.run_once(STOP) == 0
    with reading(engine) as conn:
        assert set(conn.scalars(select(tables.pack.c.received_ms))) == {START_MS}, (
            "when it came, not when it was judged"
        )


def test_packs_left_behind_by_a_death_between_key_and_replay_are_judged_at_the_start(
    engine: Engine, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    _come(engine, gateway, *_signed_by_next(gateway, 3, 4))
    change = msgspec.structs.replace(gateway.pack(2), key_change=KeyChange(NEXT.key.public_key().public_bytes_raw(), 3))

    def die(_engine: Engine, _gateway: str) -> list[object]:
        raise DatabaseUnavailable("the process ends here, after the commit of the key")

    monkeypatch.setattr(record_module, "_waiting", die)
    with pytest.raises(DatabaseUnavailable):
        _come(engine, gateway, gateway.seal(change))
    assert (_stored(engine), _reasons(engine)) == ([2], ["unknown_key"] * 2)
    assert SecondLook(engine).run_once(STOP) == 2
    assert (_stored(engine), _reasons(engine)) == ([2, 3, 4], [])


def test_entry_that_came_after_the_look_is_looked_at_too(engine: Engine, gateway: Gateway) -> None:
    """Another worker judged it before the key was known, and wrote it down after."""
    look = SecondLook(engine)
    look.run_once(STOP)
    with writing(engine) as conn:
        quarantine.keep(conn, [Refused(gateway.topic, gateway.envelope(1), "unknown_key", "late", START_MS)])
    assert look.run_once(STOP) == 1
    assert _stored(engine) == [1]


def test_replay_stores_once_and_gives_the_rest_its_new_reason(engine: Engine, gateway: Gateway) -> None:
    _come(engine, gateway, gateway.envelope(1))
    kept = [gateway.envelope(1), gateway.envelope(2), b"\x00", Gateway(gateway.name, seed=3).envelope(9)]
    with writing(engine) as conn:
        quarantine.keep(
            conn, [Refused(gateway.topic, one, "unknown_type", "an older program", START_MS) for one in kept]
        )
    with reading(engine) as conn:
        entries = [quarantine.entry(conn, one) for one in quarantine.ids(conn)]
    outcome = replay(engine, [one for one in entries if one is not None])
    assert (outcome.accepted, outcome.duplicates, outcome.quarantined) == (1, 1, 0)
    assert _stored(engine) == [1, 2]
    assert _reasons(engine) == ["malformed", "unknown_key"]
    with reading(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(tables.leaf)) == 3, "a key and two packs"


def test_part_of_a_message_is_never_judged(engine: Engine, gateway: Gateway) -> None:
    with writing(engine) as conn:
        conn.execute(
            tables.quarantine.insert().values(
                topic=gateway.topic,
                reason="unknown_key",
                detail="",
                hash=hashlib.sha256(gateway.envelope(1) + b"more").digest(),
                raw=gateway.envelope(1),
                received_ms=START_MS,
                times=1,
            )
        )
    assert SecondLook(engine).run_once(STOP) == 0
    assert _stored(engine) == []


def _run(folder: Path, engine: Engine, *words: str, status: int = 0) -> str:
    file = folder / "cloud.toml"
    file.write_text(f'[cloud]\ndatabase_url = "{engine.url.render_as_string(hide_password=False)}"\n')
    result = CliRunner().invoke(app, ["quarantine", "replay", *words, "--config", str(file)])
    assert result.exit_code == status, result.output
    return result.output


def test_command_judges_what_is_named(engine: Engine, gateway: Gateway, tmp_path: Path) -> None:
    early = Gateway("gw-early")
    _come(engine, early, *early.chain(3))
    _come(engine, gateway, b"poison")
    _admit(engine, early)
    assert "judged again: 1, left the quarantine: 1, stayed: 0" in _run(tmp_path, engine, "2")
    assert _stored(engine) == [2]
    assert "judged again: 2, left the quarantine: 2, stayed: 0" in _run(tmp_path, engine, "--reason", "unknown_gateway")
    said = _run(tmp_path, engine, "--all")
    assert "judged again: 1, left the quarantine: 0, stayed: 1" in said
    assert "malformed: 1" in said
    assert _stored(engine) == [1, 2, 3]


@pytest.mark.parametrize("words", [(), ("1", "--all"), ("--all", "--reason", "malformed")])
def test_command_wants_one_choice(engine: Engine, tmp_path: Path, words: tuple[str, ...]) -> None:
    assert "one of the three" in _run(tmp_path, engine, *words, status=1)


def test_command_names_the_entry_that_is_not_there(engine: Engine, tmp_path: Path) -> None:
    assert "no entry 7" in _run(tmp_path, engine, "7", status=1)
