"""The ledger over HTTP: an auditor with nothing but the log's key checks everything that is served."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.config import defaults
from cloud.db.engine import reading, writing
from cloud.ledger import checkpoint, keys
from cloud.ledger.tile import store_step
from cloud.web.app import create_app
from coldproof import ledger_check
from standards.tlog import proof_file
from standards.tlog.checkpoint import Checkpoint, opened
from standards.tlog.key import VerifierKey
from standards.tlog.proof import range_root
from standards.tlog.tile import ENTRIES, Tile, TileNodes, entries_of, hashes_of, tile_at, tiles_of
from standards.tlog.tree import leaf_hash, root
from tests.cloud.conftest import engine, migrated_file  # noqa: F401 - an empty database, not the site's
from tests.cloud.ledger.conftest import NOW_MS, ORIGIN, grow, hashes
from tests.cloud.web.served import Served, served

SIZES = (700, 300)


class Log:
    """A served log with checkpoints of two sizes, and leaves beyond them that nobody has signed yet."""

    def __init__(self, web: Served, vkey: VerifierKey) -> None:
        self.web, self.vkey = web, vkey

    def head(self, path: str = "/ledger/checkpoint") -> Checkpoint:
        """A checkpoint that this log has signed."""
        return opened(self.web.get(path).body, origin=ORIGIN, log=[self.vkey])

    def tile(self, tile: Tile) -> bytes:
        """A tile as it is served."""
        answer = self.web.get(f"/ledger/{tile.path()}")
        assert answer.status == 200, tile.path()
        assert "immutable" in answer.headers["cache-control"]
        return answer.body


@pytest.fixture
def log(engine: Engine, tmp_path: Path) -> Iterator[Log]:  # noqa: F811
    grow(engine, 300)
    with writing(engine) as conn:
        checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS)
    grow(engine, 400, first=300)
    with writing(engine) as conn:
        checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS)
    store_step(engine)
    grow(engine, 100, first=700)
    with reading(engine) as conn:
        (vkey,) = keys.verifiers(conn)
    with served(create_app(engine, lambda: NOW_MS, defaults(tmp_path))) as web:
        yield Log(web, vkey)


def test_every_tile_that_is_served_is_part_of_the_signed_tree(log: Log):
    head = log.head()
    assert head.size == 700
    nodes = TileNodes(log.tile, head.size)
    assert range_root(nodes.node, 0, head.size) == head.root == root(hashes(700))
    for wanted in tiles_of(head.size):
        if wanted.level == 0:
            bundle = Tile(ENTRIES, wanted.index, wanted.width)
            data = entries_of(log.tile(bundle), bundle)
            assert [leaf_hash(one) for one in data] == hashes_of(log.tile(wanted), wanted)


def test_tiles_of_earlier_checkpoints_stay(log: Log):
    head = log.head("/ledger/checkpoint/300")
    assert range_root(TileNodes(log.tile, head.size).node, 0, head.size) == head.root
    assert tile_at(0, 1, size=300).path() == "tile/0/001.p/44"


@pytest.mark.parametrize(
    "path",
    [
        "tile/0/002.p/189",  # beyond the newest checkpoint, though the leaves are there
        "tile/0/002",
        "tile/0/003.p/1",
        "tile/1/000",
        "tile/8/000",
        "tile/0/1",
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/entries/002.p/189",
        "tile/0/x000/000",
        "tile/../checkpoint",
        "tile/0/%2e%2e/000",
        "tile/0/x" + "0" * 4000,
        "checkpoint/299",
        "checkpoint/701",
        "checkpoint/18446744073709551616",
        "checkpoint/-1",
        "proof/700",
        "proof/x",
    ],
)
def test_what_was_not_signed_or_is_no_path_is_not_served(log: Log, path: str):
    assert log.web.get(f"/ledger/{path}").status in (400, 404)


def test_proofs_are_lines_that_the_filter_accepts(log: Log):
    head = log.head()
    lines = [
        log.web.get(f"/api/v1/ledger/{query}").body
        for query in (
            "inclusion?leaf=0",
            "inclusion?leaf=699",
            "inclusion?leaf=17&size=18",
            "inclusion?leaf=299&size=300",
            "consistency?size1=300",
            "consistency?size1=1&size2=699",
            "consistency?size1=700",
        )
    ]
    assert [json.loads(one) for one in ledger_check.answers(io.BytesIO(b"".join(lines)))] == [{"ok": True}] * 7
    assert json.loads(lines[0])["root"] == json.loads(lines[4])["root2"] == head.root.hex()
    assert json.loads(lines[4])["root1"] == log.head("/ledger/checkpoint/300").root.hex()


def test_kept_proof_proves_its_leaf(log: Log):
    kept = proof_file.parse(log.web.get("/ledger/proof/123").body.decode())
    assert kept.verify(hashes(124)[123], origin=ORIGIN, log=[log.vkey]) == log.head()


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("inclusion?leaf=700", 404),
        ("inclusion?leaf=5&size=701", 404),
        ("inclusion?leaf=5&size=5", 404),
        ("inclusion?leaf=-1", 400),
        ("inclusion?leaf=9223372036854775807", 400),
        ("inclusion", 400),
        ("consistency?size1=0", 400),
        ("consistency?size1=701", 404),
        ("consistency?size1=7&size2=6", 404),
        ("consistency?size1=x", 400),
    ],
)
def test_what_cannot_be_proven_is_a_problem(log: Log, query: str, status: int):
    answer = log.web.get(f"/api/v1/ledger/{query}")
    assert answer.status == status
    assert json.loads(answer.body)["status"] == status


def test_newest_checkpoint_is_never_taken_from_a_cache(log: Log):
    answer = log.web.get("/ledger/checkpoint")
    assert (answer.headers["cache-control"], answer.headers["content-type"]) == (
        "no-cache",
        "text/plain; charset=utf-8",
    )
    assert log.web.get("/ledger/keys").body.decode() == f"{log.vkey}\n"


def test_unsigned_log_serves_nothing(engine: Engine, tmp_path: Path):  # noqa: F811
    grow(engine, 3)
    with served(create_app(engine, lambda: NOW_MS, defaults(tmp_path))) as web:
        for path in ("checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3", "proof/0"):
            assert web.get(f"/ledger/{path}").status == 404
        assert web.get("/api/v1/ledger/inclusion?leaf=0").status == 404
