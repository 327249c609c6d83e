"""What a witness answers: growth is cosigned, everything else is refused with the status of c2sp.org/tlog-witness."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from standards.tlog import note, witness
from standards.tlog.checkpoint import Checkpoint
from standards.tlog.key import LogSigner
from standards.tlog.proof import consistency_proof
from standards.tlog.tree import EMPTY_ROOT, Levels, leaf_hash, root
from standards.tlog.witness import AddCheckpoint, Continued, Refusal, RequestError, Seen

ORIGIN = "cold.example/ledger"
KEY = Ed25519PrivateKey.from_private_bytes(b"\x01" * 32)
LOG = LogSigner(ORIGIN, KEY)
LEAVES = [leaf_hash(b"leaf %d" % at) for at in range(40)]
TREE = Levels(LEAVES)
FORK = Levels([*LEAVES[:9], leaf_hash(b"another"), *LEAVES[10:]])
SIZES = (1, 2, 7, 8, 9, 16, 31, 40)


def seen(size: int, tree: Levels = TREE) -> Seen:
    return Seen(size, root([tree.node(0, at) for at in range(size)])) if size else Seen()


def signed(size: int, tree: Levels = TREE, by: LogSigner = LOG, origin: str = ORIGIN) -> str:
    return str(note.sign(Checkpoint(origin, size, seen(size, tree).root).text(), [by]))


def request(old: int, size: int, tree: Levels = TREE) -> bytes:
    proof = consistency_proof(tree.node, old, size) if 0 < old < size else []
    return AddCheckpoint(old, tuple(proof), signed(size, tree)).to_bytes()


def answer(data: bytes, knows: Seen) -> Continued | Refusal:
    return witness.consider(data, logs={ORIGIN: [LOG.verifier]}, seen=lambda _: knows)


def status(data: bytes, knows: Seen) -> int:
    found = answer(data, knows)
    return found.status if isinstance(found, Refusal) else 200


@pytest.mark.parametrize("size", SIZES)
def test_growth_is_continued_from_every_size(size: int):
    for old in (0, *(one for one in SIZES if one <= size)):
        found = answer(request(old, size), seen(old))
        assert found == Continued(ORIGIN, seen(size), note.parse(signed(size)).text), old


def test_first_checkpoint_may_be_of_nothing():
    assert isinstance(answer(request(0, 0), Seen()), Continued)
    assert status(AddCheckpoint(0, (), signed(0).replace("\n0\n", "\n0\n")).to_bytes(), Seen()) == 200


def test_fork_is_never_continued():
    assert status(request(9, 16, FORK), seen(9)) == 200, "up to 9 they are the same"
    for old in (16, 31):
        assert status(request(old, 40, FORK), seen(old)) == 422
    assert answer(request(16, 16, FORK), seen(16)) == Refusal(409, "16\n", witness.SIZE_TYPE)


def test_rollback_says_what_is_known():
    assert answer(request(7, 9), seen(16)) == Refusal(409, "16\n", witness.SIZE_TYPE)
    assert answer(request(0, 9), seen(16)) == Refusal(409, "16\n", witness.SIZE_TYPE)
    assert status(request(16, 9), seen(16)) == 400


def test_wrong_proof_is_unprocessable():
    good = witness.parse(request(7, 31))
    for proof in ((), good.proof[:-1], (*good.proof, EMPTY_ROOT), good.proof[::-1]):
        assert status(AddCheckpoint(7, proof, good.signed).to_bytes(), seen(7)) == 422
    assert status(AddCheckpoint(0, good.proof, good.signed).to_bytes(), Seen()) == 422
    assert status(AddCheckpoint(31, good.proof, good.signed).to_bytes(), seen(31)) == 422


def test_only_the_logs_own_signature_counts():
    thief = LogSigner(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
    other = LogSigner("other.example", KEY)
    assert status(AddCheckpoint(0, (), signed(7, by=thief)).to_bytes(), Seen()) == 403
    assert status(AddCheckpoint(0, (), signed(7, by=other, origin="other.example")).to_bytes(), Seen()) == 404
    assert status(AddCheckpoint(0, (), signed(7).replace("\n7\n", "\n8\n")).to_bytes(), Seen()) == 403
    both = str(note.sign(note.parse(signed(7)).text, [thief, LOG]))
    assert status(AddCheckpoint(0, (), both).to_bytes(), Seen()) == 200, "signatures by unknown keys are ignored"


def test_every_truncation_and_every_changed_byte_is_refused():
    good = request(7, 31)
    assert status(good, seen(7)) == 200
    for at in range(len(good)):
        assert status(good[:at], seen(7)) in (400, 403, 404), at
    for at in range(len(good)):
        for flip in (0x01, 0x80):
            changed = good[:at] + bytes([good[at] ^ flip]) + good[at + 1 :]
            assert status(changed, seen(7)) in (400, 403, 404, 409, 422), at


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "no empty line"),
        (b"\n\n", "not `old SIZE`"),
        (b"old \n\nx", "the size"),
        (b"old 01\n\nx", "the size"),
        (b"old -1\n\nx", "the size"),
        (b"old 9223372036854775808\n\nx", "the size"),
        (b"old 1\nAAAA\n\nx", "line 2: 3 bytes"),
        (b"old 1\n!\n\nx", "line 2: not base64"),
        (b"old 1\n" + b"A" * 43 + b"=\n" * 1 + (b"A" * 43 + b"=\n") * 63 + b"\nx", "64 lines of proof"),
        (b"old 1\n\n\xff", "not text"),
        (b"\xff\n\nx", "not text"),
        (b"old 1\n\n" + b"x" * witness.REQUEST_MAX_BYTES, "a request has at most"),
    ],
)
def test_what_is_no_request_says_why(data: bytes, why: str):
    with pytest.raises(RequestError, match=why):
        witness.parse(data)
    assert status(data, Seen()) == 400


def test_request_is_read_as_it_was_written():
    for old, size in ((0, 7), (7, 31), (31, 31)):
        data = request(old, size)
        assert witness.parse(data).to_bytes() == data
