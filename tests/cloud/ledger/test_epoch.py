"""Epochs: after a restore the log goes on under a new name, opened by a leaf, and what was signed before stays good."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from pathlib import Path

from sqlalchemy import Engine, select

from cloud.config import LedgerConfig
from cloud.db.engine import reading, writing
from cloud.db.tables import checkpoint as checkpoint_table
from cloud.ledger import checkpoint, epoch, keys, log, proof
from cloud.ledger.checkpoint import EPOCH_WAIT_S, Checkpointer
from cloud.ledger.epoch import Shown
from standards.tlog.checkpoint import opened
from standards.tlog.proof import verify_consistency, verify_inclusion
from standards.tlog.tree import leaf_hash
from tests.cloud.ledger.conftest import NOW_MS, ORIGIN, Clock, grow

SHOWN = [Shown("gateway gw-1", 12, "aa" * 32), Shown("gateway gw-2", 30, "bb" * 32)]


def restore(engine: Engine) -> epoch.Epoch:
    with writing(engine) as conn:
        return epoch.open_epoch(conn, now_ms=NOW_MS)


def newest(engine: Engine) -> checkpoint.Signed:
    with reading(engine) as conn:
        found = checkpoint.latest(conn)
    assert found is not None
    return found


def signing_after(engine: Engine, folder: Path, clock: Clock) -> Checkpointer:
    """What signs in the process that starts on the restored database."""
    return Checkpointer(
        engine,
        folder,
        origin="elsewhere.example/ledger",
        now=lambda: clock.now_ms,
        config=LedgerConfig(),
        shown=lambda _: SHOWN,
        witnessed=lambda: [Shown("witness w.example", 40, "")],
        elapsed_s=lambda: clock.elapsed_s,
    )


def test_restored_log_goes_on_under_a_new_name_and_says_why(
    engine: Engine, signing: Checkpointer, tmp_path: Path, clock: Clock
):
    grow(engine, 10)
    signing.step()
    old = newest(engine)
    name = restore(engine).origin
    assert re.fullmatch(re.escape(ORIGIN) + "/2-[0-9a-f]{8}", name)
    grow(engine, 3, first=10)
    after = signing_after(engine, tmp_path, clock)
    clock.advance(EPOCH_WAIT_S - 1)
    assert after.step() == 0, "gateways are waited for"
    with writing(engine) as conn:
        assert checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS) == old, "nothing is signed meanwhile"
    clock.advance(2)
    assert after.step() == 1
    new = newest(engine)
    with reading(engine) as conn:
        at, vkeys = epoch.current(conn), keys.verifiers(conn)
        growth = proof.consistency(conn, old.size, new.size)
        path = proof.inclusion(conn, 13, new.size)
        leaf = log.read_leaf(conn, 13)
    assert at is not None
    assert (at.number, at.base_size, at.leaf_index, new.epoch, new.size) == (2, 10, 13, 2, 14)
    assert opened(old.note, origin=ORIGIN, log=vkeys).size == 10
    assert opened(new.note, origin=name, log=vkeys).size == 14
    verify_consistency(size1=10, size2=14, root1=old.root, root2=new.root, proof=growth)
    data = log.leaf_data("epoch", log.payload_hash(at.body.encode()))
    verify_inclusion(leaf_hash(data), index=13, size=14, proof=path, root=new.root)
    assert leaf == log.Leaf("epoch", log.payload_hash(at.body.encode()), "epoch 2")
    said = json.loads(at.body)
    assert said["checkpoint"] == {"size": 10, "root": old.root.hex()}
    assert said["shown"] == [
        {"by": "witness w.example", "size": 40, "root": ""},
        {"by": "gateway gw-2", "size": 30, "root": "bb" * 32},
        {"by": "gateway gw-1", "size": 12, "root": "aa" * 32},
    ]


def test_second_restore_opens_the_third_epoch(engine: Engine, signing: Checkpointer, tmp_path: Path, clock: Clock):
    grow(engine, 2)
    signing.step()
    names = [ORIGIN]
    for number in (2, 3):
        names.append(restore(engine).origin)
        again = restore(engine)
        assert again.number == number, "restoring twice before the start opens one"
        assert again.origin != names[-1], "the backup may be one from before that start: what was signed then?"
        names[-1] = again.origin
        after = signing_after(engine, tmp_path, clock)
        clock.advance(EPOCH_WAIT_S)
        assert after.step() == 1
    with reading(engine) as conn:
        assert [one.origin for one in epoch.epochs(conn)] == names
        rows = conn.execute(select(checkpoint_table.c.size, checkpoint_table.c.epoch)).all()
    assert sorted(tuple(row) for row in rows) == [(2, 1), (3, 2), (4, 3)]


class _BackToTheBackup(Exception):
    """Nothing of this life is in the backup."""


def test_two_restores_of_one_backup_never_sign_under_one_name(
    engine: Engine, signing: Checkpointer, tmp_path: Path, clock: Clock
):
    """Restored, gone on, restored again: the second one knows nothing of what the first one signed."""
    grow(engine, 3)
    signing.step()
    signed = []
    for first in (100, 200):
        with suppress(_BackToTheBackup), writing(engine) as conn:
            epoch.open_epoch(conn, now_ms=NOW_MS)
            log.append(conn, "event", payload=b"%d" % first, ref="different lives")
            epoch.complete(conn, now_ms=NOW_MS, shown=())
            signed.append(checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS))
            raise _BackToTheBackup
    one, other = signed
    assert one is not None
    assert other is not None
    assert (one.size, one.root) != (other.size, other.root)
    assert one.size == other.size
    assert one.note.splitlines()[0] != other.note.splitlines()[0]


def test_backup_from_before_the_first_checkpoint_never_takes_the_old_name(engine: Engine, tmp_path: Path, clock: Clock):
    grow(engine, 2)
    name = restore(engine).origin
    after = signing_after(engine, tmp_path, clock)
    clock.advance(EPOCH_WAIT_S)
    assert after.step() == 1
    assert newest(engine).note.startswith(f"{name}\n3\n")
    assert name.startswith(f"restored.invalid/ledger-{NOW_MS}/2-")


def test_leaf_holds_the_largest_of_what_was_shown():
    many = [Shown(f"gateway gw-{at}", at, "") for at in range(2_000)]
    kept = epoch.largest([*many, *many])
    assert [one.size for one in kept] == list(range(1_999, 999, -1))
