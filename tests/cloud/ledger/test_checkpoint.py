"""Checkpoints: signed by cadence, one root for one size, never back, never past a contradiction."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from sqlalchemy import Engine, delete, select, update

from cloud.db.engine import reading, writing
from cloud.db.tables import checkpoint as checkpoint_table
from cloud.db.tables import leaf, ledger_state, ledger_tile
from cloud.ledger import checkpoint, epoch, keys, log
from cloud.ledger.checkpoint import Checkpointer, Contradicted
from standards.tlog import note
from standards.tlog.checkpoint import Checkpoint, opened
from standards.tlog.note import NoteError
from standards.tlog.tree import Frontier, root
from tests.cloud.ledger.conftest import NOW_MS, ORIGIN, Clock, grow, hashes


def latest(engine: Engine) -> checkpoint.Signed:
    with reading(engine) as conn:
        found = checkpoint.latest(conn)
    assert found is not None
    return found


def test_checkpoint_is_a_note_that_the_printed_key_verifies(engine: Engine, signing: Checkpointer):
    assert signing.step() == 0, "there is nothing to sign in an empty log"
    grow(engine, 5)
    assert signing.step() == 1
    with reading(engine) as conn:
        (vkey,) = keys.verifiers(conn)
    head = opened(latest(engine).note, origin=ORIGIN, log=[vkey])
    assert head == Checkpoint(ORIGIN, 5, root(hashes(5)))


def test_key_is_made_once_for_its_owner_only(engine: Engine, signing: Checkpointer, tmp_path: Path, clock: Clock):
    grow(engine, 1)
    signing.step()
    file = keys.key_file(tmp_path, 1)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = file.read_bytes()
    grow(engine, 1, first=1)
    clock.advance(60)
    assert signing.step() == 1
    assert file.read_bytes() == before


def test_lost_key_is_not_made_again(engine: Engine, signing: Checkpointer, tmp_path: Path, clock: Clock):
    grow(engine, 1)
    signing.step()
    keys.key_file(tmp_path, 1).unlink()
    grow(engine, 1, first=1)
    clock.advance(60)
    with pytest.raises(keys.KeyFileError, match="restore it from the backup"):
        signing.step()
    assert latest(engine).size == 1


def test_cadence_is_by_time_or_by_size(engine: Engine, signing: Checkpointer, clock: Clock):
    grow(engine, 1)
    assert signing.step() == 1, "what was left unsigned is signed at the start"
    grow(engine, 99, first=1)
    assert signing.step() == 0
    grow(engine, 1, first=100)
    assert signing.step() == 1, "100 leaves have come"
    grow(engine, 1, first=101)
    clock.advance(59.9)
    assert signing.step() == 0
    clock.advance(0.2)
    assert signing.step() == 1, "60 s have gone by"
    clock.advance(1_000)
    assert signing.step() == 0, "nothing is new"


def test_sizes_only_grow_and_each_is_signed_once(engine: Engine, signing: Checkpointer, clock: Clock):
    for size in range(1, 30):
        grow(engine, 1, first=size - 1)
        clock.now_ms -= 10_000_000  # the wall clock may go back
        clock.elapsed_s += 60
        assert signing.step() == 1
        assert signing.step() == 0
    with reading(engine) as conn:
        rows = conn.execute(select(checkpoint_table).order_by(checkpoint_table.c.size)).all()
        found = [checkpoint.covering(conn, size) for size in (7, 29, 30)]
    assert [(row.size, row.root) for row in rows] == [(size, root(hashes(size))) for size in range(1, 30)]
    assert [one and one.size for one in found] == [7, 29, None]


def test_another_root_for_a_signed_size_is_never_signed(
    engine: Engine, signing: Checkpointer, clock: Clock, tmp_path: Path
):
    grow(engine, 10)
    signing.step()
    with writing(engine) as conn:
        other = Frontier().extend(hashes(9)).append(b"\x07" * 32)
        conn.execute(update(ledger_state).values(frontier=other.to_bytes()))
    with pytest.raises(Contradicted, match="was signed for"):
        signing.step()
    with writing(engine) as conn, pytest.raises(Contradicted):
        checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS)
    assert latest(engine).root == root(hashes(10))


def test_shorter_log_is_never_signed(engine: Engine, signing: Checkpointer):
    grow(engine, 10)
    signing.step()
    with writing(engine) as conn:
        conn.execute(update(ledger_state).values(size=9, frontier=Frontier().extend(hashes(9)).to_bytes()))
        conn.execute(delete(leaf).where(leaf.c.leaf_index == 9))
    with pytest.raises(Contradicted, match="leaves were removed"):
        signing.step()


def test_growth_over_a_changed_leaf_is_not_signed(engine: Engine, signing: Checkpointer, clock: Clock):
    grow(engine, 10)
    signing.step()
    with writing(engine) as conn:
        conn.execute(update(leaf).where(leaf.c.leaf_index == 3).values(hash=b"\x01" * 32))
    grow(engine, 10, first=10)
    clock.advance(60)
    with pytest.raises(Contradicted, match="leaves were changed"):
        signing.step()
    assert latest(engine).size == 10


def test_growth_over_a_missing_leaf_is_not_signed(engine: Engine, signing: Checkpointer, clock: Clock):
    grow(engine, 10)
    signing.step()
    with writing(engine) as conn:
        conn.execute(delete(leaf).where(leaf.c.leaf_index == 3))
    grow(engine, 10, first=10)
    clock.advance(60)
    with pytest.raises(log.LeafDamaged, match="leaf 3: is missing"):
        signing.step()
    with writing(engine) as conn:
        conn.execute(delete(ledger_tile))


def test_origin_stays_what_the_first_checkpoint_says(
    engine: Engine, signing: Checkpointer, clock: Clock, tmp_path: Path
):
    grow(engine, 1)
    signing.step()
    grow(engine, 1, first=1)
    with writing(engine) as conn:
        signed = checkpoint.sign(conn, tmp_path, origin="moved.example/ledger", now_ms=NOW_MS)
        assert signed is not None
        assert signed.note.startswith(ORIGIN + "\n2\n")
        epoch.require_origin(conn, None)
        epoch.require_origin(conn, ORIGIN)
        with pytest.raises(epoch.OriginFixed, match=ORIGIN):
            epoch.require_origin(conn, "moved.example/ledger")


def test_after_a_rotation_both_keys_sign_until_the_old_one_ends(engine: Engine, signing: Checkpointer, tmp_path: Path):
    grow(engine, 3)
    signing.step()
    with reading(engine) as conn:
        (old,) = keys.verifiers(conn)
    with writing(engine) as conn:
        made = keys.rotate(conn, tmp_path, now_ms=NOW_MS, overlap_days=30)
        handover = checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS)
        log.append(conn, "event", payload=b"later", ref="")
        after = checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS + 31 * 86_400_000)
        change = log.read_leaf(conn, 3)
    assert handover is not None
    assert after is not None
    new = made.vkey(ORIGIN)
    assert made.first_size == handover.size == 4
    for key in (old, new):
        assert opened(handover.note, origin=ORIGIN, log=[key]).size == 4
    assert opened(after.note, origin=ORIGIN, log=[new]).size == 5
    with pytest.raises(NoteError, match="not signed by a key that is trusted"):
        note.verify(note.parse(after.note), [old])
    assert change == log.Leaf("signer", log.payload_hash(made.body.encode()), "key 2")
    assert str(old) in made.body
    assert str(new) in made.body


def test_stolen_key_signs_no_more(engine: Engine, signing: Checkpointer, tmp_path: Path):
    grow(engine, 3)
    signing.step()
    keys.key_file(tmp_path, 1).unlink()
    with writing(engine) as conn:
        with pytest.raises(keys.KeyFileError):
            keys.rotate(conn, tmp_path, now_ms=NOW_MS)
        made = keys.rotate(conn, tmp_path, now_ms=NOW_MS, overlap_days=0)
        signed = checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS)
    assert signed is not None
    assert [one.key_id for one in note.parse(signed.note).signatures] == [made.vkey(ORIGIN).key_id]


def test_unsigned_log_has_no_key_to_change(engine: Engine, tmp_path: Path):
    with writing(engine) as conn, pytest.raises(keys.RotationRefused, match="signed nothing yet"):
        keys.rotate(conn, tmp_path, now_ms=NOW_MS)
