"""Checkpoints and the proofs kept with them: read, written, verified, and refused by the line that is wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from standards.tlog import checkpoint, note, proof_file
from standards.tlog.checkpoint import Checkpoint, CheckpointError
from standards.tlog.key import parse_vkey
from standards.tlog.note import NoteError
from standards.tlog.proof import ProofError
from standards.tlog.tree import EMPTY_ROOT, SIZE_MAX, leaf_hash, root

VECTORS = Path(__file__).parents[2] / "vectors" / "merkle"
OWN = json.loads((VECTORS / "notes.json").read_text())
LOG, WITNESS = parse_vkey(OWN["log_vkey"]), parse_vkey(OWN["witness_vkey"])
LEAVES = [leaf_hash(b"leaf %d" % at) for at in range(11)]
HEAD = Checkpoint("ledger.example/kho-lanh", 11, root(LEAVES))
ROOT = "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="


def test_own_vector_is_the_head_of_its_tree() -> None:
    assert checkpoint.parse(OWN["checkpoint_text"]) == HEAD
    assert HEAD.text() == OWN["checkpoint_text"]


def test_extensions_stay() -> None:
    head = Checkpoint("origin", 0, EMPTY_ROOT, ("one", "two 2"))
    assert head.text() == f"origin\n0\n{ROOT}\none\ntwo 2\n"
    assert checkpoint.parse(head.text()) == head


def test_opened_needs_origin_log_and_as_many_witnesses_as_asked() -> None:
    signed = OWN["checkpoint"]
    assert checkpoint.opened(signed, origin=HEAD.origin, log=[LOG]) == HEAD
    assert checkpoint.opened(signed, origin=None, log=[LOG], witnesses=[WITNESS], quorum=1) == HEAD
    with pytest.raises(CheckpointError, match=r"line 1: the origin is 'ledger\.example/kho-lanh', expected 'other'"):
        checkpoint.opened(signed, origin="other", log=[LOG])
    with pytest.raises(NoteError, match="not signed by a key"):
        checkpoint.opened(signed, origin=None, log=[])
    with pytest.raises(CheckpointError, match="cosigned by 1 of the witnesses, 2 are needed"):
        checkpoint.opened(signed, origin=None, log=[LOG], witnesses=[WITNESS], quorum=2)
    with pytest.raises(NoteError, match="not signed by a key"):
        checkpoint.opened(signed, origin=None, log=[LOG], witnesses=[], quorum=1)


def test_one_witness_that_signs_twice_counts_once() -> None:
    signed = note.parse(OWN["checkpoint"])
    twice = str(note.Note(signed.text, (*signed.signatures, signed.signatures[1])))
    with pytest.raises(CheckpointError, match="cosigned by 1"):
        checkpoint.opened(twice, origin=None, log=[LOG], witnesses=[WITNESS], quorum=2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "does not end"),
        (f"origin\n1\n{ROOT}", "does not end"),
        ("origin\n1\n", "2 lines"),
        (f"\n1\n{ROOT}\n", "line 1"),
        (f"origin\n\n{ROOT}\n", "line 2"),
        (f"origin\n01\n{ROOT}\n", "line 2"),
        (f"origin\n-1\n{ROOT}\n", "line 2"),
        (f"origin\n+1\n{ROOT}\n", "line 2"),
        (f"origin\n1 \n{ROOT}\n", "line 2"),
        (f"origin\n1_0\n{ROOT}\n", "line 2"),
        (f"origin\n\u0661\n{ROOT}\n", "line 2"),
        (f"origin\n{SIZE_MAX + 1}\n{ROOT}\n", "line 2"),
        (f"origin\n{'9' * 100_000}\n{ROOT}\n", "line 2"),
        ("origin\n1\nAAAA\n", "3 bytes"),
        (f"origin\n1\n{ROOT[:-1]}\n", "line 3: the root is not base64"),
        (f"origin\n1\n{ROOT[:-2]}V=\n", "canonical"),
        (f"origin\n1\n{ROOT}\n\n", "line 4: an empty extension"),
        (f"origin\n1\n{ROOT}\none\n\ntwo\n", "line 5: an empty extension"),
    ],
)
def test_malformed_checkpoints_are_refused_by_line(text: str, why: str) -> None:
    with pytest.raises(CheckpointError, match=why):
        checkpoint.parse(text)


@pytest.mark.parametrize(
    "head",
    [
        Checkpoint("", 1, EMPTY_ROOT),
        Checkpoint("a\nb", 1, EMPTY_ROOT),
        Checkpoint("a", -1, EMPTY_ROOT),
        Checkpoint("a", SIZE_MAX + 1, EMPTY_ROOT),
        Checkpoint("a", 1, b"short"),
        Checkpoint("a", 1, EMPTY_ROOT, ("",)),
        Checkpoint("a", 1, EMPTY_ROOT, ("x\ny",)),
        Checkpoint("a\x07", 1, EMPTY_ROOT),
    ],
)
def test_what_cannot_be_read_again_is_not_written(head: Checkpoint) -> None:
    with pytest.raises((CheckpointError, NoteError)):
        head.text()


@given(st.text(max_size=120))
def test_any_text_is_a_checkpoint_or_refused(text: str) -> None:
    for hostile in (text, f"o\n{text}\n{ROOT}\n", f"o\n1\n{text}\n", f"o\n1\n{ROOT}\n{text}\n"):
        try:
            head = checkpoint.parse(hostile)
        except CheckpointError:
            continue
        assert checkpoint.parse(f"{head.origin}\n{head.size}\n" + hostile.split("\n", 2)[2]) == head


# --- .tlog-proof ------------------------------------------------------------------------------------------------------


def test_own_proof_file_proves_its_leaf_and_no_other() -> None:
    kept = proof_file.parse(OWN["proof_file"])
    assert str(kept) == OWN["proof_file"]
    assert (kept.index, kept.extra) == (OWN["proof_index"], b"pack 3")
    assert kept.verify(LEAVES[3], origin=HEAD.origin, log=[LOG], witnesses=[WITNESS], quorum=1) == HEAD
    with pytest.raises(ProofError, match="the proof leads to"):
        kept.verify(LEAVES[4], origin=HEAD.origin, log=[LOG])
    with pytest.raises(NoteError, match="not signed by a key"):
        kept.verify(LEAVES[3], origin=HEAD.origin, log=[])
    with pytest.raises(CheckpointError, match="2 are needed"):
        kept.verify(LEAVES[3], origin=HEAD.origin, log=[LOG], witnesses=[WITNESS], quorum=2)


def test_every_changed_byte_of_a_proof_file_is_refused_or_of_no_weight() -> None:
    """Bytes of no weight are those of the extra data, which nobody signs, and of signatures by keys not asked for."""
    data = OWN["proof_file"].encode()
    free = [data.index(b"extra"), data.index(b"index")], [data.rindex("\u2014".encode()), len(data)]
    for at in range(len(data)):
        changed = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
        try:
            kept = proof_file.parse(changed.decode("utf-8"))
            kept.verify(LEAVES[3], origin=HEAD.origin, log=[LOG])
        except (ProofError, NoteError, CheckpointError, UnicodeDecodeError):
            continue
        assert any(begin <= at < end for begin, end in free), at


HASH_LINE = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=\n"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "line 1"),
        ("c2sp.org/tlog-proof@v2\nindex 0\n\nc\n", "line 1"),
        ("c2sp.org/tlog-proof@v1", "line 2: not `index"),
        ("c2sp.org/tlog-proof@v1\nextra AA==\n\nc\n", "line 3: not `index"),
        ("c2sp.org/tlog-proof@v1\nextra A\nindex 0\n\nc\n", "line 2: not base64"),
        ("c2sp.org/tlog-proof@v1\nindex 00\n\nc\n", "line 2: the index"),
        ("c2sp.org/tlog-proof@v1\nindex 0\nAAAA\n\nc\n", "line 3: 3 bytes"),
        ("c2sp.org/tlog-proof@v1\nindex 0\n" + HASH_LINE * 65 + "\nc\n", "65 hashes, at most 64"),
        ("c2sp.org/tlog-proof@v1\nindex 0\n" + HASH_LINE, "line 4"),
        ("c2sp.org/tlog-proof@v1\nindex 0\n\n", "no checkpoint"),
        ("c2sp.org/tlog-proof@v1\nextra " + "AAAA" * 30_000 + "\nindex 0\n\nc", "90000 bytes of extra"),
        ("x" * 2_000_000, "at most"),
    ],
)
def test_malformed_proof_files_are_refused_by_line(text: str, why: str) -> None:
    with pytest.raises(ProofError, match=why):
        proof_file.parse(text)


@given(st.text(max_size=120))
def test_any_text_is_a_proof_file_or_refused(text: str) -> None:
    for hostile in (text, f"c2sp.org/tlog-proof@v1\n{text}", f"c2sp.org/tlog-proof@v1\nindex 0\n{text}"):
        try:
            assert str(proof_file.parse(hostile)) == hostile
        except ProofError:
            continue
