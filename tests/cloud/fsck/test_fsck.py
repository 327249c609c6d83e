"""fsck: a sound record agrees, and whatever row is changed, removed or swapped is named, the first one first."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Connection, Engine, delete, event, func, insert, select, text, update

from cloud.auth.people import Person
from cloud.config import LedgerConfig
from cloud.db import tables
from cloud.db.engine import open_engine, reading, sqlite_url, writing
from cloud.db.sqlite import writer_of
from cloud.fsck.check import check
from cloud.fsck.divergence import KEPT_MAX, Report
from cloud.ingest.record import Arrival, record
from cloud.ledger import checkpoint, epoch, keys, log
from cloud.ledger.checkpoint import Checkpointer
from cloud.ledger.tile import store_step
from cloud.registry.keys import revoke_key
from cloud.retention import holds
from cloud.retention.holds import Hold, Release
from cloud.review.submissions import approve, submit
from standards.tlog import note, timestamp
from standards.tlog.key import Cosigner
from standards.tlog.tree import Frontier, leaf_hash
from tests.cloud.field import Gateway
from tests.cloud.journey import NOW_MS, travel
from tests.cloud.ledger.authority import Authority
from tests.cloud.site import GTIN
from wire.pack import Loss

OPERATOR, OFFICIAL = Person("van-hanh", "Vận hành", "operator"), Person("can-bo-1", "Cán bộ 1", "official")
ORIGIN = "cold.example/ledger"
CHAINED = 300


def build(engine: Engine, folder: Path) -> None:
    """A record with leaves of every kind, checkpoints of two epochs and keys, a cosignature, tiles, refusals."""
    store, truck = travel(engine)
    with writing(engine) as conn:
        submit(conn, GTIN, "L1", by=OPERATOR, now_ms=NOW_MS)
        approve(conn, GTIN, "L1", by=OFFICIAL, now_ms=NOW_MS)
    _sign(engine, folder)
    chained = Gateway("gw-kho-01", seed=2)
    chained.key, chained.kid = store.key, store.kid
    arrivals = [Arrival(chained.topic, one, NOW_MS) for one in chained.chain(CHAINED)]
    assert record(engine, arrivals).accepted == CHAINED
    lossy = chained.pack(CHAINED + 5, losses=[Loss(chained.stream, CHAINED + 1, CHAINED + 3, None, "lost", "full")])
    other = chained.seal(chained.pack(2, prev=b"\x09" * 32))
    assert record(engine, [Arrival(chained.topic, chained.seal(lossy), NOW_MS)]).accepted == 1
    assert record(engine, [Arrival(chained.topic, other, NOW_MS)]).conflicts == 1
    assert record(engine, [Arrival(chained.topic, b"noise", NOW_MS)]).quarantined == 1
    with writing(engine) as conn:
        revoke_key(conn, truck.name, truck.kid, from_place=(truck.stream, 900), reason="lost", now_ms=NOW_MS)
        revoke_key(conn, truck.name, truck.kid, from_place=None, reason="lost", now_ms=NOW_MS)
        _hold_and_prune(conn)
        keys.rotate(conn, folder, now_ms=NOW_MS)
    signed = _sign(engine, folder)
    with writing(engine) as conn:
        line = Cosigner("witness.example", WITNESS, at_s=NOW_MS // 1000).sign(note.parse(signed.note).text)
        vkey = Cosigner("witness.example", WITNESS, at_s=0).verifier
        row = {"size": signed.size, "vkey": str(vkey), "line": line.line(), "cosigned_ms": NOW_MS // 1000 * 1000}
        conn.execute(insert(tables.cosignature).values(row))
        response = Authority(folder / "tsa").answer(timestamp.request(signed.note.encode())[0])
        stamp = {"size": signed.size, "authority": "here", "response": response, "stamped_ms": NOW_MS}
        conn.execute(insert(tables.time_stamp).values(stamp))
        epoch.open_epoch(conn, now_ms=NOW_MS)
        epoch.complete(conn, now_ms=NOW_MS, shown=())
    _sign(engine, folder)
    assert store_step(engine) == 1


WITNESS = Ed25519PrivateKey.from_private_bytes(b"\x06" * 32)
PRUNED_SEQ = 40


def _sign(engine: Engine, folder: Path) -> checkpoint.Signed:
    with writing(engine) as conn:
        signed = checkpoint.sign(conn, folder, origin=ORIGIN, now_ms=NOW_MS)
    assert signed is not None
    return signed


def _hold_and_prune(conn: Connection) -> None:
    """As retention does: bodies that are leaves, and a pack without its bytes."""
    for lot in ("L1", "L2"):
        holds.add(conn, Hold("lot", "a complaint", "lan", NOW_MS, gtin=GTIN, lot=lot))
    holds.release(conn, Release(1, "answered", "lan", NOW_MS))
    pack = tables.pack
    row = conn.execute(select(pack).where(pack.c.seq == PRUNED_SEQ)).one()
    body = msgspec.json.encode({"leaves": [(row.leaf_index, row.leaf_index)]})
    pruning = {"body": body.decode(), "leaf_index": log.append(conn, "pruning", payload=body, ref="pruning 1")}
    conn.execute(insert(tables.pruning).values(id=1, **pruning))
    conn.execute(insert(tables.tombstone).values(leaf_index=row.leaf_index, hash=row.hash, pruning_id=1))
    conn.execute(update(pack).where(pack.c.id == row.id).values(envelope=b""))


@pytest.fixture(scope="session")
def built_file(migrated_file: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The record in an SQLite file, made once: tests damage copies of it."""
    folder = tmp_path_factory.mktemp("built")
    opened = open_engine(sqlite_url(Path(shutil.copy(migrated_file, folder / "cloud.db"))))
    build(opened, folder)
    with opened.connect() as conn:
        conn.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    opened.dispose()
    return folder / "cloud.db"


@pytest.fixture
def built(built_file: Path, tmp_path: Path) -> Iterator[Engine]:
    opened = open_engine(sqlite_url(Path(shutil.copy(built_file, tmp_path / "cloud.db"))))
    yield opened
    opened.dispose()


def fsck(engine: Engine) -> Report:
    with reading(engine) as conn:
        return check(conn)


def test_sound_record_agrees_and_what_was_pruned_is_said(engine: Engine, tmp_path: Path):
    build(engine, tmp_path)
    report = fsck(engine)
    assert report.divergences == []
    assert report.ok
    assert (report.packs, report.pruned, report.checkpoints, report.tiles) == (2 + CHAINED + 1, 1, 3, 1)
    with reading(engine) as conn:
        assert report.leaves == log.head(conn).size
        assert set(conn.scalars(select(tables.leaf.c.kind).distinct())) == log.KINDS, "every kind is in this test"


def test_empty_record_agrees(engine: Engine):
    assert fsck(engine) == Report(0, 0, 0, 0, 0, 0, [], 0)


def flipped(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


Damage = Callable[[Connection], None]


def change(table: Any, column: str, to: Any, where: str = "1 = 1") -> Damage:
    """Change a column of the first row: to a value, or to what a function makes of the old one."""

    def do(conn: Connection) -> None:
        key = list(table.primary_key.columns)
        row = conn.execute(select(table).where(text(where)).order_by(*key).limit(1)).one()
        value = to(getattr(row, column)) if callable(to) else to
        assert value != getattr(row, column)
        mine = [one == getattr(row, one.name) for one in key]
        assert conn.execute(update(table).where(*mine).values({column: value})).rowcount == 1

    return do


def remove(table: Any, where: str = "1 = 1") -> Damage:
    """Remove the first row."""

    def do(conn: Connection) -> None:
        key = list(table.primary_key.columns)
        row = conn.execute(select(*key).where(text(where)).order_by(*key).limit(1)).one()
        mine = [one == getattr(row, one.name) for one in key]
        assert conn.execute(delete(table).where(*mine)).rowcount == 1

    return do


def swap_leaves(conn: Connection) -> None:
    leaf = tables.leaf
    one, two = (conn.execute(select(leaf).where(leaf.c.leaf_index == at)).one() for at in (50, 51))
    for row, index in ((one, 51), (two, 50)):
        values = {"kind": row.kind, "hash": row.hash, "ref": row.ref}
        conn.execute(update(leaf).where(leaf.c.leaf_index == index).values(values))


def swap_envelopes(conn: Connection) -> None:
    pack = tables.pack
    one, two = (conn.execute(select(pack).where(pack.c.seq == at)).one() for at in (50, 51))
    for row, at in ((one, 51), (two, 50)):
        conn.execute(update(pack).where(pack.c.seq == at).values(envelope=row.envelope, hash=row.hash))


def rewrite_history(conn: Connection) -> None:
    """A whole new truth: event, leaf and edge fit together again, only what was signed does not."""
    row = conn.execute(select(tables.event).order_by(tables.event.c.id).limit(1)).one()
    told = msgspec.json.decode(row.body) | {"disposition": "destroyed"}
    body = msgspec.json.encode(told, order="sorted")
    conn.execute(update(tables.event).where(tables.event.c.id == row.id).values(body=body.decode()))
    leaf = tables.leaf
    conn.execute(update(leaf).where(leaf.c.leaf_index == row.leaf_index).values(hash=log.payload_hash(body)))
    conn.execute(delete(tables.ledger_tile))
    every = conn.execute(select(leaf).order_by(leaf.c.leaf_index))
    edge = Frontier().extend([leaf_hash(log.leaf_data(one.kind, one.hash)) for one in every])
    conn.execute(update(tables.ledger_state).values(frontier=edge.to_bytes()))


def extra_event(conn: Connection) -> None:
    row = conn.execute(select(tables.event).order_by(tables.event.c.id).limit(1)).one()._asdict()
    del row["id"]
    conn.execute(insert(tables.event).values(row | {"event_id": "urn:uuid:forged", "leaf_index": 100_000}))


def hidden_pack(conn: Connection) -> None:
    """As if retention had removed its bytes."""
    row = conn.execute(select(tables.pack).where(tables.pack.c.seq == 60)).one()
    conn.execute(insert(tables.tombstone).values(leaf_index=row.leaf_index, hash=row.hash, pruning_id=1))
    conn.execute(update(tables.pack).where(tables.pack.c.id == row.id).values(envelope=b""))


def other_hold_released(conn: Connection) -> None:
    hold = tables.hold
    row = conn.execute(select(hold).where(hold.c.id == 1)).one()
    values = {"release": row.release, "release_leaf_index": row.release_leaf_index}
    conn.execute(update(hold).where(hold.c.id == 1).values(dict.fromkeys(values)))
    conn.execute(update(hold).where(hold.c.id == 2).values(values))


def holds_swapped(conn: Connection) -> None:
    hold = tables.hold
    one, two = conn.execute(select(hold.c.body, hold.c.leaf_index).order_by(hold.c.id)).all()
    conn.execute(update(hold).where(hold.c.id == 1).values(leaf_index=-1))
    for number, row in ((2, one), (1, two)):
        conn.execute(update(hold).where(hold.c.id == number).values(row._asdict()))


def extra_signer(conn: Connection) -> None:
    public = WITNESS.public_key().public_bytes_raw()
    conn.execute(insert(tables.ledger_key).values(number=9, public_key=public, first_size=0, added_ms=0, body=""))


def loose_end(conn: Connection) -> None:
    conn.execute(insert(tables.settled).values(gateway="gw-kho-01", stream=b"\x01" * 16, first_seq=1, last_seq=9))


DAMAGES: dict[str, tuple[Damage, str, str]] = {
    # what is done: where it is named, what is said of it
    "pack: byte of an envelope": (change(tables.pack, "envelope", flipped), "pack gw-", "hash of its envelope"),
    "pack: hash": (change(tables.pack, "hash", flipped), "pack gw-", "hash of its envelope"),
    "pack: gateway": (change(tables.pack, "gateway", "gw-xx"), "pack gw-xx", "gateway of its envelope"),
    "pack: stream": (change(tables.pack, "stream", flipped), "pack gw-", "stream of its envelope"),
    "pack: seq": (change(tables.pack, "seq", 77_777), "pack gw-", "seq of its envelope"),
    "pack: prev": (change(tables.pack, "prev", flipped, "seq = 2"), "pack gw-", "prev of its envelope"),
    "pack: observations": (change(tables.pack, "observations", 5), "pack gw-", "number of observations"),
    "pack: sealed_ms": (change(tables.pack, "sealed_ms", 5), "pack gw-", "time of sealing"),
    "pack: simulated": (change(tables.pack, "simulated", lambda old: not old), "pack gw-", "simulated of its"),
    "pack: leaf_index": (change(tables.pack, "leaf_index", 99_999), "leaf ", "none that names this leaf"),
    "pack: row removed": (remove(tables.pack, "seq = 60"), "leaf ", "none that names this leaf"),
    "pack: emptied without a tombstone": (change(tables.pack, "envelope", b""), "pack gw-", "hash of its envelope"),
    "packs: envelopes swapped": (swap_envelopes, "pack gw-", "seq of its envelope"),
    "tombstone: hash": (change(tables.tombstone, "hash", flipped), "pack gw-", "hash of what was removed"),
    "tombstone: row removed": (remove(tables.tombstone), "pack gw-", "hash of its envelope"),
    "leaf: hash": (change(tables.leaf, "hash", flipped, "leaf_index = 50"), "leaf 50 (pack", "row or leaf was changed"),
    "leaf: kind": (change(tables.leaf, "kind", "event", "leaf_index = 50"), "leaf 50 (event", "pack"),
    "leaf: unknown kind": (change(tables.leaf, "kind", "gossip", "leaf_index = 50"), "leaf 50 (gossip", "pack"),
    "leaf: ref": (change(tables.leaf, "ref", "other", "leaf_index = 50"), "leaf 50 (pack other", "as what it records"),
    "leaf: row removed": (remove(tables.leaf, "leaf_index = 50"), "leaf 50", "it was deleted"),
    "leaves swapped": (swap_leaves, "leaf 50 (pack", "row or leaf was changed"),
    "event: body": (
        change(
            tables.event,
            "body",
            lambda old: (
                old.replace("urn:epcglobal:cbv:bizstep", "x").replace("ADD", "DELETE") if "ADD" in old else old + " "
            ),
        ),
        "leaf ",
        "row or leaf was changed",
    ),
    "event: id": (change(tables.event, "event_id", "urn:uuid:other"), "event urn:uuid:other", "eventID of its body"),
    "event: type": (change(tables.event, "type", "Other"), "event ", "type of its body"),
    "event: time": (change(tables.event, "event_time_ms", 5), "event ", "eventTime of its body"),
    "event: row removed": (remove(tables.event), "leaf ", "none that names this leaf"),
    "event: without a leaf": (extra_event, "event: 1 rows", "leaf 100000, which is not in the log"),
    "evidence: body": (
        change(tables.evidence_version, "body", lambda old: old + " "),
        f"evidence {GTIN}/L1 version 1",
        "hash of its body",
    ),
    "evidence: hash": (change(tables.evidence_version, "hash", flipped), "evidence ", "hash of its body"),
    "evidence: lot": (change(tables.evidence_version, "lot", "L9"), "evidence ", "lot of its body"),
    "evidence: row removed": (remove(tables.evidence_version), "", "none that names this leaf"),
    "decision: reason": (change(tables.decision, "reason", "none"), "leaf ", "row or leaf was changed"),
    "decision: person": (change(tables.decision, "person", "somebody"), "leaf ", "row or leaf was changed"),
    "decision: kind": (change(tables.decision, "kind", "returned"), "leaf ", "row or leaf was changed"),
    "decision: row removed": (remove(tables.decision), "leaf ", "none that names this leaf"),
    "key: public key": (
        change(tables.gateway_key, "public_key", WITNESS.public_key().public_bytes_raw()),
        "key ",
        "key id of its public key",
    ),
    "key: taken back no more": (
        change(tables.gateway_key, "revoked_ms", None, "revoked_ms IS NOT NULL"),
        "key ",
        "its revocation's instant",
    ),
    "key: end removed": (remove(tables.key_end), "key ", "its revocation's first number 900"),
    "key: end moved": (change(tables.key_end, "first_seq", 901), "key ", "its revocation's first number 900"),
    "key: row removed": (remove(tables.gateway_key), "leaf ", "none that names this leaf"),
    "revocation: reason": (change(tables.revocation, "reason", "none"), "leaf ", "row or leaf was changed"),
    "revocation: row removed": (remove(tables.revocation), "leaf ", "none that names this leaf"),
    "hold: body": (change(tables.hold, "body", "{}"), "leaf ", "row or leaf was changed"),
    "hold: release": (change(tables.hold, "release", "{1}"), "leaf ", "row or leaf was changed"),
    "pruning: body": (change(tables.pruning, "body", "[]"), "leaf ", "row or leaf was changed"),
    "pruning: nothing of it": (remove(tables.pruning), "tombstone of leaf ", "the pruning that it names"),
    "tombstone: of a pack that is hidden": (hidden_pack, "pruning 1", "leaves of its body"),
    "tombstone: pruning": (change(tables.tombstone, "pruning_id", 7), "tombstone of leaf ", "the pruning that it"),
    "hold: release of another": (other_hold_released, "release of hold 2", "hold_id of its body"),
    "holds swapped": (holds_swapped, "hold 1", "a leaf before those of higher numbers"),
    "signer: without a leaf": (extra_signer, "ledger key 9", "a leaf that brings it in"),
    "signer: end": (change(tables.ledger_key, "ends_ms", None, "number = 1"), "ledger key 1", "its end in ms"),
    "epoch: its leaf unnamed": (
        change(tables.ledger_epoch, "leaf_index", None, "number = 2"),
        "leaf ",
        "none that names this leaf",
    ),
    "signer: body": (change(tables.ledger_key, "body", "{}", "number = 2"), "ledger key 2", "new key of its body"),
    "signer: key": (
        change(tables.ledger_key, "public_key", WITNESS.public_key().public_bytes_raw(), "number = 2"),
        "ledger key 2",
        "new key of its body",
    ),
    "first key": (
        change(tables.ledger_key, "public_key", WITNESS.public_key().public_bytes_raw(), "number = 1"),
        "checkpoint of ",
        "a note signed by the ledger's key",
    ),
    "epoch: body": (change(tables.ledger_epoch, "body", "{}", "number = 2"), "epoch 2", "origin of its body"),
    "epoch: origin": (change(tables.ledger_epoch, "origin", "o", "number = 2"), "epoch 2", "origin of its body"),
    "edge: frontier": (change(tables.ledger_state, "frontier", flipped), "ledger_state", "root of all leaves"),
    "edge: size": (change(tables.ledger_state, "size", 3), "ledger_state", "size in its two columns"),
    "edge: cut": (change(tables.ledger_state, "frontier", lambda old: old[:9]), "ledger_state", "peaks of a tree"),
    "edge: row removed": (remove(tables.ledger_state), "ledger_state", "no row"),
    "tile: hash": (change(tables.ledger_tile, "hashes", flipped), "stored tile 0 of level 0, hash 255", ""),
    "tile: root": (change(tables.ledger_tile, "root", flipped), "stored tile 0 of level 0", "root"),
    "tile: beyond": (change(tables.ledger_tile, "tile_index", 7), "stored tile 7 of level 0", "one beyond them"),
    "checkpoint: root": (change(tables.checkpoint, "root", flipped), "checkpoint of ", "root in its note"),
    "checkpoint: note": (
        change(tables.checkpoint, "note", lambda old: old.replace("ledger\n", "ledgers\n", 1)),
        "checkpoint of ",
        "a note signed by the ledger's key",
    ),
    "checkpoint: size": (change(tables.checkpoint, "size", 3), "checkpoint of 3", "size in its note"),
    "checkpoint: epoch": (change(tables.checkpoint, "epoch", 2), "checkpoint of ", "origin of its epoch"),
    "cosignature: line": (
        change(tables.cosignature, "line", lambda old: old.replace(old[30], "B" if old[30] != "B" else "C", 1)),
        "checkpoint of ",
        "cosignature",
    ),
    "cosignature: time": (change(tables.cosignature, "cosigned_ms", 5), "checkpoint of ", "its time in ms"),
    "time stamp: response": (
        change(tables.time_stamp, "response", lambda old: old[:60] + bytes([old[60] ^ 1]) + old[61:]),
        "checkpoint of ",
        "time stamp",
    ),
    "time stamp: of another": (change(tables.time_stamp, "size", 10), "checkpoint of 10", "its time_stamp"),
    "checkpoint: row removed": (
        remove(tables.checkpoint, "size IN (SELECT size FROM cosignature)"),
        "checkpoint of ",
        "its cosignature",
    ),
    "settled: range": (change(tables.settled, "last_seq", 9_999), "settled numbers of stream", "–9999"),
    "settled: row removed": (remove(tables.settled), "settled numbers of stream", "no other range"),
    "settled: nobody's": (loose_end, "settled numbers of stream", "1–9"),
    "conflict: byte": (change(tables.conflict, "envelope", flipped), "conflict ", "hash of its envelope"),
    "conflict: of another number": (change(tables.conflict, "seq", 9_999), "conflict ", "identity of the pack"),
    "quarantine: byte": (change(tables.quarantine, "raw", flipped), "refused message ", "hash of its bytes"),
    "history rewritten": (rewrite_history, "checkpoint of ", "the root its leaves give"),
}


@pytest.mark.parametrize("what", DAMAGES)
def test_whatever_is_changed_is_named(built: Engine, what: str):
    damage, where, why = DAMAGES[what]
    _relax(built)
    with writing(built) as conn:
        damage(conn)
    report = fsck(built)
    assert not report.ok
    told = [str(one) for one in report.divergences]
    assert any(one.startswith(where) and why in one for one in told), told


def _relax(engine: Engine) -> None:
    """Whoever edits a database is not stopped by its foreign keys."""

    @event.listens_for(writer_of(engine), "checkout")
    def _off(connection: Any, *_: object) -> None:
        connection.execute("PRAGMA foreign_keys = OFF")


def test_first_divergence_comes_first_and_the_rest_is_counted(built: Engine):
    _relax(built)
    with writing(built) as conn:
        pack = tables.pack
        conn.execute(update(pack).where(pack.c.seq.between(70, 70 + KEPT_MAX)).values(observations=99))
    report = fsck(built)
    assert "/70: expected number of observations" in str(report.divergences[0])
    assert len(report.divergences) == KEPT_MAX
    assert report.more == 1


def test_removed_tail_is_named(built: Engine):
    _relax(built)
    with writing(built) as conn:
        size = log.head(conn).size
        leaf = tables.leaf
        conn.execute(delete(leaf).where(leaf.c.leaf_index >= size - 3))
        left = conn.execute(select(leaf).order_by(leaf.c.leaf_index))
        edge = Frontier().extend([leaf_hash(log.leaf_data(one.kind, one.hash)) for one in left])
        conn.execute(update(tables.ledger_state).values(frontier=edge.to_bytes(), size=edge.size))
    told = [str(one) for one in fsck(built).divergences]
    assert any("leaves were removed" in one for one in told), told
    assert any("which is not in the log" in one for one in told), told


def test_progress_is_told_and_ends_at_all(built: Engine):
    shares: list[float] = []
    with reading(built) as conn:
        check(conn, shares.append)
    assert shares == sorted(shares)
    assert shares[-1] == 1.0
    assert len(shares) >= 3


def test_live_chores_keep_a_record_that_agrees(engine: Engine, tmp_path: Path):
    travel(engine)
    signing = Checkpointer(engine, tmp_path, origin=ORIGIN, now=lambda: NOW_MS, config=LedgerConfig())
    assert signing.step() == 1
    assert fsck(engine).ok
    with reading(engine) as conn:
        assert conn.scalar(select(func.count()).select_from(tables.checkpoint)) == 1
