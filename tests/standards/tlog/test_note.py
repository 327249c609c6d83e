"""Signed notes, their keys, and cosignatures: what is accepted, what is ignored, what is refused."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from standards.tlog import note
from standards.tlog.checkpoint import CheckpointError
from standards.tlog.key import (
    COSIGNATURE_V1,
    TIME_MAX,
    Cosigner,
    KeyTextError,
    LogSigner,
    VerifierKey,
    cosigned,
    cosigned_at_s,
    parse_vkey,
)
from standards.tlog.note import NoteError

OWN = json.loads((Path(__file__).parents[2] / "vectors" / "merkle" / "notes.json").read_text())
LOG_KEY, WITNESS_KEY = (
    Ed25519PrivateKey.from_private_bytes(hashlib.sha256(OWN[seed].encode()).digest())
    for seed in ("log_seed_utf8", "witness_seed_utf8")
)
LOG, WITNESS = parse_vkey(OWN["log_vkey"]), parse_vkey(OWN["witness_vkey"])
SIGNED = note.parse(OWN["checkpoint"])


# --- what is right ----------------------------------------------------------------------------------------------------


def test_own_vector_is_made_and_verified_to_the_byte() -> None:
    made = note.sign(OWN["checkpoint_text"], [LogSigner(LOG.name, LOG_KEY)])
    made = note.cosign(made, Cosigner(WITNESS.name, WITNESS_KEY, at_s=OWN["cosigned_at_s"]))
    assert str(made) == OWN["checkpoint"]
    assert str(SIGNED) == OWN["checkpoint"]
    by_log, by_witness = note.verify(SIGNED, [WITNESS, LOG])
    assert (by_log.name, by_witness.name) == (LOG.name, WITNESS.name)
    assert cosigned_at_s(by_witness) == OWN["cosigned_at_s"]
    with pytest.raises(NoteError, match="no cosignature"):
        cosigned_at_s(by_log)


def test_verifier_keys_read_back() -> None:
    assert str(LOG) == OWN["log_vkey"]
    assert str(WITNESS) == OWN["witness_vkey"]
    assert (LOG.kind, WITNESS.kind) == (1, COSIGNATURE_V1)
    assert LogSigner(LOG.name, LOG_KEY).verifier == LOG
    assert Cosigner(WITNESS.name, WITNESS_KEY, at_s=0).verifier == WITNESS


def test_unknown_signatures_are_ignored_wherever_they_stand() -> None:
    stranger = note.Signature("else.example", b"\x01\x02\x03\x04", b"anything at all")
    same_name = note.Signature(LOG.name, b"\x00\x00\x00\x00", b"x")
    same_id = note.Signature("else.example", LOG.key_id, b"x")
    around = note.Note(SIGNED.text, (stranger, same_name, *SIGNED.signatures, same_id))
    assert note.verify(note.parse(str(around)), [LOG]) == (SIGNED.signatures[0],)


def test_text_may_hold_empty_lines_and_what_looks_like_a_signature() -> None:
    text = "one\n\n\u2014 two AAAAAAAA\n\n\nthree \u2028\n\n"
    made = note.sign(text, [LogSigner(LOG.name, LOG_KEY)])
    assert note.parse(str(made).encode()) == made
    assert note.verify(note.parse(str(made)), [LOG])


def test_same_key_twice_among_the_trusted_is_one_key() -> None:
    assert len(note.verify(SIGNED, [LOG, LOG])) == 1


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=60).map(lambda text: text + "\n"))
def test_any_printable_text_is_signed_and_verified(text: str) -> None:
    made = note.parse(str(note.sign(text, [LogSigner(LOG.name, LOG_KEY)])))
    assert made.text == text
    assert note.verify(made, [LOG])


# --- what is wrong ----------------------------------------------------------------------------------------------------


def test_every_changed_byte_is_refused() -> None:
    """Of a note with one signature, so that no byte belongs to what is ignored."""
    data = str(note.Note(SIGNED.text, SIGNED.signatures[:1])).encode()
    for at in range(len(data)):
        for change in (1, 0x20, 0x80):
            changed = data[:at] + bytes([data[at] ^ change]) + data[at + 1 :]
            with pytest.raises(NoteError):
                note.verify(note.parse(changed), [LOG])


def test_every_cut_is_refused() -> None:
    data = str(note.Note(SIGNED.text, SIGNED.signatures[:1])).encode()
    for at in range(len(data)):
        with pytest.raises(NoteError):
            note.verify(note.parse(data[:at]), [LOG])


def test_wrong_signature_by_a_trusted_key_refuses_the_whole_note() -> None:
    wrong = note.Signature(LOG.name, LOG.key_id, bytes(64))
    for signatures in ((*SIGNED.signatures, wrong), (wrong, *SIGNED.signatures)):
        with pytest.raises(NoteError, match=f"signature by {LOG.name} .* is wrong"):
            note.verify(note.Note(SIGNED.text, signatures), [LOG, WITNESS])


def test_cosignature_is_over_its_time() -> None:
    by_witness = SIGNED.signatures[1]
    later = (OWN["cosigned_at_s"] + 1).to_bytes(8, "big") + by_witness.value[8:]
    beyond = (TIME_MAX + 1).to_bytes(8, "big") + by_witness.value[8:]
    for value in (later, beyond, by_witness.value[8:], by_witness.value[:-1], by_witness.value + b"\0", b"x"):
        changed = note.Note(SIGNED.text, (note.Signature(WITNESS.name, WITNESS.key_id, value),))
        with pytest.raises(NoteError, match="is wrong"):
            note.verify(changed, [WITNESS])


def test_cosignature_beyond_the_last_time_is_refused_though_it_is_signed() -> None:
    for at_s, right in ((TIME_MAX, True), (TIME_MAX + 1, False)):
        value = at_s.to_bytes(8, "big") + WITNESS_KEY.sign(cosigned(SIGNED.text.encode(), at_s=at_s))
        assert WITNESS.verifies(SIGNED.text.encode(), value) is right


def test_log_signature_is_no_cosignature_and_the_other_way_round() -> None:
    """One private key and name for both kinds: the kinds still can't stand for each other."""
    both = VerifierKey(LOG.name, LOG.public, COSIGNATURE_V1)
    assert both.key_id != LOG.key_id
    swapped = note.Signature(LOG.name, both.key_id, bytes(8) + SIGNED.signatures[0].value)
    with pytest.raises(NoteError, match="is wrong"):
        note.verify(note.Note(SIGNED.text, (swapped,)), [both])


def test_nobody_trusted_names_who_signed_and_who_is_trusted() -> None:
    other = LogSigner("other.example", WITNESS_KEY).verifier
    with pytest.raises(NoteError, match=r"signed by ledger\.example/kho-lanh .*; trusted: other\.example"):
        note.verify(SIGNED, [other])
    with pytest.raises(NoteError, match="trusted: nobody"):
        note.verify(SIGNED, [])


def test_two_keys_of_one_name_and_id_are_refused() -> None:
    class Twin:
        name, key_id = LOG.name, LOG.key_id

        def verifies(self, text: bytes, signature: bytes) -> bool:
            return True

    with pytest.raises(NoteError, match="two keys share"):
        note.verify(SIGNED, [LOG, Twin()])


LINE = SIGNED.signatures[0].line()
TEXT = OWN["checkpoint_text"]


@pytest.mark.parametrize(
    ("data", "why"),
    [
        ("", "no empty line"),
        ("text\n", "no empty line"),
        ("text\n\n", "no signature line"),
        (TEXT + LINE, "no empty line"),
        (TEXT + "\n" + LINE[:-1], "does not end in a newline"),
        (TEXT + "\n" + LINE + "\n", "no signature line"),
        (TEXT + "\n" + LINE.replace("\u2014", "-"), "signature line 1"),
        (TEXT + "\n" + LINE.replace("\u2014 ", "\u2014"), "signature line 1"),
        (TEXT + "\n" + LINE + "more text\n", "signature line 2"),
        (TEXT + "\n\u2014 name\n", "signature line 1"),
        (TEXT + "\n\u2014  AAAAAAAA\n", "no name of a key"),
        (TEXT + "\n\u2014 a+b AAAAAAAA\n", "no name of a key"),
        (TEXT + "\n\u2014 a\u00a0b AAAAAAAA\n", "no name of a key"),
        (TEXT + "\n\u2014 name AAAA AAAA\n", "not base64"),
        (TEXT + "\n\u2014 name AAAAAAA\n", "not base64"),
        (TEXT + "\n\u2014 name AAAAAAB=\n", "canonical"),
        (TEXT + "\n\u2014 name AAAAAA==\n", "4 bytes hold no key id"),
        (TEXT.replace("\n", "\r\n") + "\n" + LINE, "control character 0x0d"),
        ("a\tb\n\n" + LINE, "control character 0x09"),
        ("a\x00b\n\n" + LINE, "control character 0x00"),
        (b"\xff\n\n" + LINE.encode(), "not UTF-8"),
        ("\ud800\n\n" + LINE, "not UTF-8"),
        (TEXT + "\n" + LINE * 101, "101 signatures"),
        ("x" * 1_000_001, "at most 1000000"),
    ],
)
def test_malformed_notes_are_refused(data: str | bytes, why: str) -> None:
    with pytest.raises(NoteError, match=why):
        note.parse(data)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_note_or_refused(data: bytes) -> None:
    for hostile in (data, b"t\n\n" + data, TEXT.encode() + b"\n" + "\u2014 n ".encode() + data + b"\n"):
        try:
            parsed = note.parse(hostile)
        except NoteError:
            continue
        assert str(parsed).encode() == hostile


@pytest.mark.parametrize("text", ["", "no end", "a\rb\n", "\ud800\n", "x" * 1_000_000 + "\n"])
def test_what_cannot_be_read_again_is_not_signed(text: str) -> None:
    with pytest.raises(NoteError):
        note.sign(text, [LogSigner(LOG.name, LOG_KEY)])


def test_cosigner_signs_checkpoints_only() -> None:
    with pytest.raises(CheckpointError):
        Cosigner(WITNESS.name, WITNESS_KEY, at_s=1).sign("no checkpoint\n")
    for at_s in (-1, TIME_MAX + 1):
        with pytest.raises(NoteError, match="no POSIX time"):
            Cosigner(WITNESS.name, WITNESS_KEY, at_s=at_s)
    for name in ("", "a b", "a+b", "a\nb"):
        with pytest.raises(NoteError, match="no name of a key"):
            Cosigner(name, WITNESS_KEY, at_s=1)


NAME, ID, KEY = OWN["log_vkey"].split("+", 2)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not NAME"),
        (NAME, "is not NAME"),
        (f"{NAME}+{ID}", "is not NAME"),
        (f"+{ID}+{KEY}", "no name of a key"),
        (f"a b+{ID}+{KEY}", "no name of a key"),
        (f"{NAME}x+{ID}+{KEY}", "has the key id"),
        (f"{NAME}+00000000+{KEY}", "not '00000000'"),
        (f"{NAME}+{ID.upper()}+{KEY}", "has the key id"),
        (f"{NAME}+{ID}+", "kind 0x00"),
        (f"{NAME}+{ID}+A{KEY}", "not base64"),
        (f"{NAME}+{ID}+Ag{KEY[2:]}", "kind 0x02"),
        (f"{NAME}+{ID}+{KEY[:-4]}", "29 bytes, Ed25519 has 32"),
        (f"{NAME}+{ID}+{'A' * 1000}", "at most 1000"),
    ],
)
def test_malformed_verifier_keys_are_refused(text: str, why: str) -> None:
    with pytest.raises(KeyTextError, match=why):
        parse_vkey(text)


@given(st.text(max_size=80))
def test_any_text_is_a_verifier_key_or_refused(text: str) -> None:
    for hostile in (text, f"{NAME}+{ID}+{text}", f"{text}+{ID}+{KEY}"):
        try:
            assert str(parse_vkey(hostile)) == hostile
        except KeyTextError:
            continue
