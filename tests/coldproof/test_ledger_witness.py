"""`coldproof ledger witness`: what it cosigned is on the disk first, and no request makes it forget or fall."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud.errors import Fatal
from cloud.strict_toml import DocumentError
from coldproof import ledger_witness_server
from coldproof.ledger_witness import LogConfig, Witness, WitnessConfig, WitnessUnusable, load
from coldproof.ledger_witness_server import WitnessServer
from standards.tlog import note
from standards.tlog.checkpoint import Checkpoint
from standards.tlog.key import LogSigner, parse_vkey
from standards.tlog.proof import consistency_proof
from standards.tlog.tree import Levels, leaf_hash, root
from standards.tlog.witness import REQUEST_MAX_BYTES, AddCheckpoint

ORIGIN, NAME = "cold.example/ledger", "witness.example/chi-cuc"
LOG = LogSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
TREE = Levels(leaf_hash(b"leaf %d" % at) for at in range(300))
FORK = Levels(leaf_hash(b"fork %d" % at) for at in range(300))


def request(old: int, size: int, tree: Levels = TREE) -> bytes:
    text = Checkpoint(ORIGIN, size, root([tree.node(0, at) for at in range(size)])).text()
    proof = consistency_proof(tree.node, old, size) if 0 < old < size else []
    return AddCheckpoint(old, tuple(proof), str(note.sign(text, [LOG]))).to_bytes()


def post(port: int, body: bytes, path: str = "/add-checkpoint") -> tuple[int, str, bytes]:
    line = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        line.request("POST", path, body)
        answer = line.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()
    finally:
        line.close()


def raw(port: int, data: bytes) -> bytes:
    """Everything that comes back for these bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as line:
        line.sendall(data)
        line.shutdown(socket.SHUT_WR)
        return b"".join(iter(lambda: line.recv(4096), b""))


@pytest.fixture
def config(tmp_path: Path) -> WitnessConfig:
    return WitnessConfig(NAME, [LogConfig(ORIGIN, [str(LOG.verifier)])], port=0, data_dir=tmp_path / "witness")


@pytest.fixture
def server(config: WitnessConfig) -> Iterator[WitnessServer]:
    witness = Witness(config, now_s=lambda: 1_790_000_000)
    with WitnessServer(witness, "127.0.0.1", 0) as made:
        thread = threading.Thread(target=lambda: made.serve_forever(poll_interval=0.01))
        thread.start()
        yield made
        made.shutdown()
        thread.join()
    witness.close()


def test_growth_is_cosigned_over_http(server: WitnessServer):
    port = server.server_address[1]
    for old, size in ((0, 5), (5, 5), (5, 9), (9, 300)):
        status, _, body = post(port, request(old, size))
        assert status == 200
        signed = request(old, size).partition(b"\n\n")[2]
        found = note.verify(note.parse(signed + body), [server.witness.vkey])
        assert len(found) == 1


def test_forks_rollbacks_and_replays_are_refused_for_ever(server: WitnessServer):
    port = server.server_address[1]
    assert post(port, request(0, 9))[0] == 200
    replayed = request(0, 5)
    for _ in range(3):
        assert post(port, replayed) == (409, "text/x.tlog.size", b"9\n")
        assert post(port, request(9, 9, FORK)) == (409, "text/x.tlog.size", b"9\n")
        assert post(port, request(9, 20, FORK))[0] == 422
        assert post(port, request(0, 20, FORK)) == (409, "text/x.tlog.size", b"9\n")
        assert post(port, request(5, 9)) == (409, "text/x.tlog.size", b"9\n")
    assert post(port, request(9, 20))[0] == 200


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"405"),
        (b"POST /add-checkpoint HTTP/1.1\r\nHost: x\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: -5\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 999999999999\r\n\r\n", b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 1" + b"0" * 3000 + b"\r\n\r\n", b"411"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % (REQUEST_MAX_BYTES + 1), b"413"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 500\r\n\r\n" + request(0, 5)[:100], b"400"),
        (b"POST /add-checkpoint HTTP/1.1\r\nContent-Length: 4\r\n\r\n\x00\xff\x00\xff", b"400"),
        (b"POST /other HTTP/1.1\r\nContent-Length: 1\r\n\r\nx", b"404"),
        (b"\x16\x03\x01\x02\x00\x01" * 50 + b"\n\n", b"400"),
    ],
)
def test_strange_requests_are_refused_and_the_next_is_answered(server: WitnessServer, data: bytes, status: bytes):
    port = server.server_address[1]
    assert status in raw(port, data).partition(b"\n")[0] + raw(port, data)[:400]
    assert post(port, request(0, 5))[0] == 200


def test_silent_company_does_not_keep_others_out_for_ever(server: WitnessServer, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(ledger_witness_server._Handler, "timeout", 0.2)
    port = server.server_address[1]
    silent = [socket.create_connection(("127.0.0.1", port)) for _ in range(ledger_witness_server.COMPANY_MAX)]
    for line in silent:
        line.settimeout(20)
        line.sendall(b"POST /add")
    for line in silent:
        assert line.recv(100) == b"", "who says nothing is cut off"
        line.close()
    assert post(port, request(0, 5))[0] == 200


def test_many_at_once_see_one_memory(server: WitnessServer):
    port = server.server_address[1]
    assert post(port, request(0, 1))[0] == 200
    answers = []
    threads = [
        threading.Thread(
            target=lambda tree=tree, size=size: answers.append((tree, size, post(port, request(1, size, tree))[0]))
        )
        for size in range(2, 12)
        for tree in (TREE,)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [status for _, _, status in answers].count(200) == 1, "all began at 1: the others come too late"
    assert {status for _, _, status in answers} == {200, 409}


def test_memory_outlives_kill_at_any_moment(tmp_path: Path):
    (tmp_path / "witness.toml").write_text(
        f'name = "{NAME}"\nport = 0\ndata_dir = "w"\n[[log]]\norigin = "{ORIGIN}"\nvkeys = ["{LOG.verifier}"]\n'
    )
    known = 0
    vkeys = set()
    for size in (3, 8, 9):
        process = subprocess.Popen(
            [sys.executable, "-m", "coldproof.main", "ledger", "witness", str(tmp_path / "witness.toml")],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            vkeys.add(str(parse_vkey(process.stdout.readline().strip())))
            port = int(process.stderr.readline().rsplit(":", 1)[1])
            if known:
                assert post(port, request(0, 1)) == (409, "text/x.tlog.size", b"%d\n" % known)
            assert post(port, request(known, size))[0] == 200
            known = size
        finally:
            process.send_signal(signal.SIGTERM if size == 9 else signal.SIGKILL)
            status = process.wait(timeout=20)
            process.stdout.close()
            process.stderr.close()
        assert status == (0 if size == 9 else -signal.SIGKILL)
    assert len(vkeys) == 1


def test_nothing_is_cosigned_that_could_not_be_kept(config: WitnessConfig, monkeypatch: pytest.MonkeyPatch):
    witness = Witness(config)
    assert witness.answer(request(0, 5))[0] == 200

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("coldproof.ledger_witness.replace_file", full)
    with pytest.raises(OSError, match="No space left"):
        witness.answer(request(5, 9))
    monkeypatch.undo()
    assert witness.answer(request(5, 8))[0] == 200, "what was not kept was not cosigned either"
    witness.close()


def test_state_that_is_gone_or_damaged_stops_everything(config: WitnessConfig):
    witness = Witness(config)
    witness.answer(request(0, 5))
    with pytest.raises(WitnessUnusable, match="another witness works"):
        Witness(config)
    witness.close()
    state = config.data_dir / "seen.json"
    good = state.read_bytes()
    for damaged in (
        b"",
        good[:-3],
        b"[]",
        good.replace(b'"size":5', b'"size":-5'),
        good.replace(b'"root":"', b'"root":"00'),
    ):
        state.write_bytes(damaged)
        with pytest.raises(WitnessUnusable, match="damaged"):
            Witness(config)
    state.unlink()
    with pytest.raises(WitnessUnusable, match="is missing"):
        Witness(config)
    state.write_bytes(good)
    again = Witness(config)
    assert again.answer(request(0, 1))[0] == 409
    again.close()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "name"),
        ('name = "a b"\n[[log]]\norigin = "o"\nvkeys = ["x"]', "no space"),
        ('name = "w"\n[[log]]\norigin = "o"\nvkeys = ["x"]', "is not NAME"),
        ('name = "w"\n[[log]]\norigin = "o"\nvkeys = []', "vkeys"),
        ('name = "w"\nlogs = 1', "logs: unknown key"),
        (
            (
                f'name = "w"\n[[log]]\norigin = "o"\nvkeys = ["{LOG.verifier}"]\n'
                f'[[log]]\norigin = "o"\nvkeys = ["{LOG.verifier}"]'
            ),
            "twice",
        ),
    ],
)
def test_configuration_is_refused_with_the_place(tmp_path: Path, text: str, why: str):
    file = tmp_path / "witness.toml"
    file.write_text(text)
    with pytest.raises((WitnessUnusable, DocumentError), match=why):
        load(file)


def test_a_light_install_is_enough():
    code = "import sys, coldproof.ledger_command, coldproof.ledger_witness_server\n"
    code += "print([name for name in ('sqlalchemy', 'fastapi', 'uvicorn', 'numpy', 'paho') if name in sys.modules])"
    assert subprocess.check_output([sys.executable, "-c", code], text=True).strip() == "[]"


def test_taken_port_is_said(server: WitnessServer):
    with pytest.raises(Fatal, match="cannot listen there"):
        WitnessServer(server.witness, "127.0.0.1", server.server_address[1])
