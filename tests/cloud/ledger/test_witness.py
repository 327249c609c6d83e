"""The cloud and a real witness over HTTP: growth is cosigned; forks, rollbacks and strange answers are said."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from sqlalchemy import Engine, func, select

from cloud.config import WitnessConfig
from cloud.db.engine import migrate, open_engine, reading, sqlite_url, writing
from cloud.db.tables import cosignature, metadata
from cloud.ledger import checkpoint, epoch, keys, log
from cloud.ledger.post import Unanswered
from cloud.ledger.witness import BACK_OFF_MAX_S, Uncosigned, WitnessClient, WitnessKeyWrong
from coldproof.ledger_witness import LogConfig, Witness
from coldproof.ledger_witness import WitnessConfig as WitnessFile
from coldproof.ledger_witness_server import WitnessServer
from standards.tlog.checkpoint import opened
from standards.tlog.key import Cosigner, LogSigner
from standards.tlog.key import cosigned as key_cosigned
from standards.tlog.note import Signature
from tests.cloud.ledger.conftest import NOW_MS, ORIGIN, Clock, grow, leaves

NAME = "witness.example/chi-cuc"
COSIGNED_S = 1_790_000_123


def sign(engine: Engine, folder: Path) -> checkpoint.Signed:
    with writing(engine) as conn:
        signed = checkpoint.sign(conn, folder, origin=ORIGIN, now_ms=NOW_MS)
    assert signed is not None
    return signed


def served_note(engine: Engine) -> str:
    with reading(engine) as conn:
        newest = checkpoint.latest(conn)
        assert newest is not None
        return checkpoint.signed_note(conn, newest)


def cosigned(engine: Engine) -> int:
    with reading(engine) as conn:
        return conn.scalar(select(func.count()).select_from(cosignature)) or 0


def copied(engine: Engine, to: Path) -> Engine:
    """The database as it is now, as another one."""
    target = open_engine(sqlite_url(to))
    migrate(target)
    with reading(engine) as source, writing(target) as conn:
        for table in metadata.sorted_tables:
            rows = [row._asdict() for row in source.execute(table.select())]
            if rows:
                conn.execute(table.insert(), rows)
    return target


@contextmanager
def listening(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=lambda: server.serve_forever(poll_interval=0.01))
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Place:
    """A witness that knows this log, and a client of it."""

    def __init__(self, engine: Engine, folder: Path, clock: Clock) -> None:
        with reading(engine) as conn:
            vkeys = [str(one) for one in keys.verifiers(conn)]
        config = WitnessFile(NAME, [LogConfig(ORIGIN, vkeys)], port=0, data_dir=folder / "witness")
        self.clock = clock
        self.witness = Witness(config, now_s=lambda: COSIGNED_S)
        self.server = WitnessServer(self.witness, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"

    def client(self, engine: Engine) -> WitnessClient:
        return WitnessClient(
            engine,
            WitnessConfig(self.url, str(self.witness.vkey)),
            elapsed_s=lambda: self.clock.elapsed_s,
            rng=random.Random(1),
        )


@pytest.fixture
def place(engine: Engine, tmp_path: Path, clock: Clock) -> Iterator[Place]:
    grow(engine, 5)
    sign(engine, tmp_path)
    made = Place(engine, tmp_path, clock)
    with listening(made.server):
        yield made
    made.witness.close()


def test_checkpoints_are_cosigned_and_served_with_it(engine: Engine, place: Place, tmp_path: Path):
    client = place.client(engine)
    for size in (5, 6, 7, 300, 1000):
        with reading(engine) as conn:
            there = checkpoint.latest(conn)
        if there is None or there.size < size:
            grow(engine, size - (there.size if there else 0), first=there.size if there else 0)
            sign(engine, tmp_path)
        assert client.step() == 1
        assert client.step() == 0
        with reading(engine) as conn:
            ours = keys.verifiers(conn)
        head = opened(served_note(engine), origin=ORIGIN, log=ours, witnesses=[place.witness.vkey], quorum=1)
        assert head.size == size
    with reading(engine) as conn:
        assert set(conn.scalars(select(cosignature.c.cosigned_ms))) == {COSIGNED_S * 1000}
    assert cosigned(engine) == 5


def test_client_that_forgot_asks_the_witness_where_it_is(engine: Engine, place: Place, tmp_path: Path):
    assert place.client(engine).step() == 1
    with writing(engine) as conn:
        conn.execute(cosignature.delete())
    grow(engine, 5, first=5)
    sign(engine, tmp_path)
    assert place.client(engine).step() == 1, "409 says 5, and the proof from there is sent"


def test_fork_is_never_cosigned_and_is_said(engine: Engine, place: Place, tmp_path: Path):
    copy = copied(engine, tmp_path / "copy.db")
    for database, first in ((engine, 5), (copy, 1005)):  # two clouds go on with one key, and other leaves
        with writing(database) as conn:
            log.append_many(conn, leaves(4, first=first))
        sign(database, tmp_path)
    ours, theirs = place.client(engine), place.client(copy)
    assert ours.step() == 1
    with pytest.raises(Uncosigned, match="at 9 leaves is another tree: two histories"):
        theirs.step()
    with writing(copy) as conn:
        log.append_many(conn, leaves(4, first=2005))
    sign(copy, tmp_path)
    place.clock.advance(BACK_OFF_MAX_S)
    with pytest.raises(Uncosigned, match="two histories were signed"):
        theirs.step()
    assert cosigned(copy) == 0
    copy.dispose()


def test_rolled_back_log_is_said(engine: Engine, place: Place, tmp_path: Path):
    restored = copied(engine, tmp_path / "backup.db")
    grow(engine, 100, first=5)
    sign(engine, tmp_path)
    assert place.client(engine).step() == 1
    with pytest.raises(Uncosigned, match="has cosigned 105 leaves of this log, we have signed 5"):
        place.client(restored).step()
    restored.dispose()


def test_witness_tells_how_much_was_lost_by_a_restore(engine: Engine, place: Place, tmp_path: Path):
    restored = copied(engine, tmp_path / "backup.db")
    assert place.client(engine).knows() == [], "it has cosigned nothing"
    grow(engine, 100, first=5)
    sign(engine, tmp_path)
    assert place.client(engine).step() == 1
    assert place.client(engine).knows() == []
    assert place.client(restored).knows() == [epoch.Shown(f"witness {NAME}", 105, "")]
    place.server.shutdown()
    place.server.server_close()
    assert place.client(restored).knows() == [], "nothing waits for a witness that is away"
    restored.dispose()


def test_new_epoch_is_another_log_to_a_witness(engine: Engine, place: Place, tmp_path: Path):
    client = place.client(engine)
    assert client.step() == 1
    with writing(engine) as conn:
        epoch.open_epoch(conn, now_ms=NOW_MS)
        epoch.complete(conn, now_ms=NOW_MS, shown=())
    sign(engine, tmp_path)
    with pytest.raises(Uncosigned, match=r"HTTP 404 .*give its operator the origin"):
        client.step()


def test_changed_key_must_be_told_to_the_witness(engine: Engine, place: Place, tmp_path: Path):
    with writing(engine) as conn:
        keys.rotate(conn, tmp_path, now_ms=NOW_MS, overlap_days=1)
    sign(engine, tmp_path)
    assert place.client(engine).step() == 1, "the old key still signs along"
    grow(engine, 1, first=6)
    with writing(engine) as conn:
        checkpoint.sign(conn, tmp_path, origin=ORIGIN, now_ms=NOW_MS + 2 * 86_400_000)
    with pytest.raises(Uncosigned, match=r"HTTP 403 .*does not know our key"):
        place.client(engine).step()


def test_witness_that_is_away_is_asked_ever_more_rarely(engine: Engine, tmp_path: Path, clock: Clock):
    grow(engine, 5)
    sign(engine, tmp_path)
    vkey = Cosigner(NAME, Ed25519PrivateKey.generate(), at_s=0).verifier
    with listening(ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler)) as url:
        pass
    client = WitnessClient(
        engine, WitnessConfig(url, str(vkey)), elapsed_s=lambda: clock.elapsed_s, rng=random.Random(1)
    )
    waits = []
    for _ in range(12):
        with pytest.raises(Unanswered) as first:
            client.step()
        before = clock.elapsed_s
        while True:
            with pytest.raises(Unanswered) as again:
                client.step()
            if again.value is not first.value:
                break
            clock.advance(1)
        waits.append(clock.elapsed_s - before)
    assert waits[0] <= 10
    assert 100 < max(waits) <= BACK_OFF_MAX_S + 1


Handle = Callable[[BaseHTTPRequestHandler, bytes], None]


@contextmanager
def answering(handle: Handle) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            handle(self, self.rfile.read(int(self.headers["Content-Length"])))

        def log_message(self, *_: object) -> None: ...

    with listening(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


def say(status: int, body: bytes, *, length: int | None = None) -> Handle:
    def handle(handler: BaseHTTPRequestHandler, _asked: bytes) -> None:
        handler.send_response(status)
        handler.send_header("Content-Length", str(len(body) if length is None else length))
        handler.send_header("Location", "http://127.0.0.1:9/")
        handler.end_headers()
        handler.wfile.write(body)

    return handle


KEY = Ed25519PrivateKey.from_private_bytes(b"\x05" * 32)
WITNESS = Cosigner(NAME, KEY, at_s=COSIGNED_S)


def _cosign_raw(text: str) -> str:
    """A cosignature over a text that is no checkpoint's."""
    value = KEY.sign(key_cosigned(text.encode(), at_s=COSIGNED_S))
    return Signature(NAME, WITNESS.verifier.key_id, COSIGNED_S.to_bytes(8, "big") + value).line()


def smuggle(handler: BaseHTTPRequestHandler, asked: bytes) -> None:
    """A cosignature over more than the checkpoint: an empty line in the answer moves the end of the text."""
    signed = asked.partition(b"\n\n")[2].decode()
    line = _cosign_raw(signed + "extra\n")
    say(200, b"extra\n\n" + line.encode())(handler, asked)


@pytest.mark.parametrize(
    ("handle", "why"),
    [
        (say(200, b""), "no cosignature of its key"),
        (say(200, b"\xff\xfe"), "no cosignature of its key"),
        (say(200, b"<html>hello</html>\n"), "no cosignature of its key"),
        (say(200, b"x" * 100_000), "more than 16384 bytes"),
        (say(200, b"abc", length=300), "cut off|IncompleteRead|no answer"),
        (say(200, WITNESS.sign("other.example\n5\n" + "A" * 43 + "=\n").line().encode()), "signature by .* is wrong"),
        (say(200, LogSigner(NAME, KEY).sign("text\n").line().encode()), "not signed by a key that is trusted"),
        (smuggle, "no cosignature of its key"),
        (say(302, b""), "HTTP 302"),
        (say(409, b""), "409 without a size"),
        (say(409, b"-1\n"), "409 without a size"),
        (say(409, b"99999999999999999999\n"), "409 without a size"),
        (say(409, b"6\n"), "has cosigned 6 leaves"),
        (say(409, b"0\n"), "another tree of 0 leaves"),
        (say(409, b"3\n"), "HTTP 409"),
        (say(500, b"\x1b[31mboom"), r"HTTP 500 \(\[31mboom\)"),
    ],
)
def test_no_answer_is_believed_that_is_not_the_witnesss(
    engine: Engine, tmp_path: Path, clock: Clock, handle: Handle, why: str
):
    grow(engine, 5)
    before = sign(engine, tmp_path).note
    with answering(handle) as url:
        config = WitnessConfig(url, str(WITNESS.verifier))
        client = WitnessClient(engine, config, elapsed_s=lambda: clock.elapsed_s, rng=random.Random(1))
        with pytest.raises((Uncosigned, Unanswered), match=why):
            client.step()
    assert cosigned(engine) == 0
    assert served_note(engine) == before


@pytest.mark.parametrize("vkey", ["nonsense", str(LogSigner(NAME, KEY).verifier)])
def test_key_that_is_no_witnesss_is_refused_at_the_start(engine: Engine, vkey: str):
    with pytest.raises(WitnessKeyWrong, match="vkey"):
        WitnessClient(engine, WitnessConfig("http://127.0.0.1:9", vkey))
