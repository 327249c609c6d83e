"""The public material of transparency logs, all of it: what others accept is accepted, what they refuse is refused."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from standards.tlog import checkpoint, note, proof_file, tile
from standards.tlog.checkpoint import CheckpointError
from standards.tlog.key import KeyTextError, VerifierKey, cosigned_at_s, parse_vkey
from standards.tlog.note import NoteError
from standards.tlog.proof import (
    ProofError,
    consistency_proof,
    inclusion_proof,
    range_root,
    verify_consistency,
    verify_inclusion,
    verify_subtree_consistency,
    verify_subtree_inclusion,
)
from standards.tlog.timestamp import TimestampError
from standards.tlog.timestamp import verify as verify_timestamp
from standards.tlog.tree import EMPTY_ROOT, leaf_hash, root

pytestmark = pytest.mark.conformance

Refusal = (ProofError, NoteError, CheckpointError, TimestampError, KeyTextError)


@pytest.fixture
def material(shared_data: Path) -> Path:
    return shared_data / "merkle"


def b64(text: str) -> bytes:
    return base64.b64decode(text, validate=True)


def holds(check: Callable[[], object]) -> bool:
    try:
        check()
    except Refusal:
        return False
    return True


# --- proofs -----------------------------------------------------------------------------------------------------------


def _inclusion(one: dict[str, Any]) -> None:
    proof = [b64(text) for text in one["proof"] or ()]
    leaf, top = b64(one["leafHash"]), b64(one["root"])
    verify_inclusion(leaf, index=one["leafIdx"], size=one["treeSize"], proof=proof, root=top)


def _consistency(one: dict[str, Any]) -> None:
    proof = [b64(text) for text in one["proof"] or ()]
    root1, root2 = b64(one["root1"]), b64(one["root2"])
    verify_consistency(size1=one["size1"], size2=one["size2"], root1=root1, root2=root2, proof=proof)


def _subtree_inclusion(one: dict[str, Any]) -> None:
    proof = [b64(text) for text in one["proof"] or ()]
    leaf, top = b64(one["leafHash"]), b64(one["root"])
    verify_subtree_inclusion(leaf, index=one["leafIdx"], start=one["start"], end=one["end"], proof=proof, root=top)


def _subtree_consistency(one: dict[str, Any]) -> None:
    proof = [b64(text) for text in one["proof"] or ()]
    root1, root2 = b64(one["root1"]), b64(one["root2"])
    verify_subtree_consistency(
        start=one["start"], end=one["end"], size=one["size"], subtree_root=root1, root=root2, proof=proof
    )


@pytest.mark.parametrize(
    ("name", "check", "total", "right"),
    [
        ("inclusion", _inclusion, 45, 3),
        ("consistency", _consistency, 48, 3),
        ("subtreeinclusion", _subtree_inclusion, 97, 6),
        ("subtreeconsistency", _subtree_consistency, 60, 6),
    ],
)
def test_proofs_of_transparency_dev(
    material: Path, name: str, check: Callable[[dict[str, Any]], None], total: int, right: int
) -> None:
    cases = [json.loads(line) for line in (material / f"{name}.jsonl").read_text().splitlines()]
    verdicts = [holds(lambda one=one: check(one)) for one in cases]
    assert [one["path"] for one, held in zip(cases, verdicts, strict=True) if held == one["wantErr"]] == []
    assert (len(cases), sum(verdicts)) == (total, right)


# --- notes, checkpoints, tiles ----------------------------------------------------------------------------------------


def test_notes_of_golang(material: Path) -> None:
    cases = json.loads((material / "notes.json").read_text())
    checked = 0
    for one in cases:
        for bad in one.get("vkey_bad", ()):
            assert not holds(lambda bad=bad: parse_vkey(bad)), bad
            checked += 1
        if "note" in one:
            keys = [parse_vkey(text) for text in one["vkeys"]]
            assert holds(lambda one=one, keys=keys: note.verify(note.parse(one["note"]), keys)) == one["ok"]
            checked += 1
    assert checked == 4


def test_parser_cases_of_transparency_dev(material: Path) -> None:
    cases = json.loads((material / "parse_cases.json").read_text())
    told = {
        one["desc"]: holds(lambda one=one: checkpoint.parse(one["text"], root_bytes=None))
        for one in cases["checkpoint"]
    }
    assert told == {one["desc"]: one["ok"] for one in cases["checkpoint"]}
    accepted = [one["desc"] for one in cases["tlog_proof_bad"] if holds(lambda one=one: proof_file.parse(one["text"]))]
    assert accepted == []
    assert (len(cases["checkpoint"]), len(cases["tlog_proof_bad"])) == (6, 4)


def test_log_of_tessera_at_every_size(material: Path) -> None:
    log = material / "tessera_log"
    about = json.loads((log / "README.json").read_text())
    key = parse_vkey(about["vkey"])
    entries = [text.encode() for text in about["entries_utf8"]]
    heads = []
    for size in range(8):
        head = checkpoint.opened(
            (log / f"checkpoint.{size}").read_bytes(), origin="example.com/log/testdata", log=[key]
        )
        heads.append(head)
        if size == 0:
            assert head.root == EMPTY_ROOT
            continue
        nodes = tile.TileNodes(lambda one: (log / one.path()).read_bytes(), size)
        (only,) = tile.tiles_of(size)
        leaves = tile.hashes_of((log / only.path()).read_bytes(), only)
        kept = tile.Tile(tile.ENTRIES, 0, size)
        assert tile.entries_of((log / kept.path()).read_bytes(), kept) == entries[:size]
        assert tile.bundle(entries[:size]) == (log / kept.path()).read_bytes()
        assert leaves == [leaf_hash(entry) for entry in entries[:size]]
        assert head.size == size
        assert head.root == root(leaves) == range_root(nodes.node, 0, size)
        for index in range(size):
            proof = inclusion_proof(nodes.node, index, size)
            verify_inclusion(leaves[index], index=index, size=size, proof=proof, root=head.root)
        for before in heads[1:]:
            growth = consistency_proof(nodes.node, before.size, size)
            verify_consistency(size1=before.size, size2=size, root1=before.root, root2=head.root, proof=growth)


def test_checkpoints_of_sunlight(material: Path) -> None:
    folder = material / "skylight"
    about = json.loads((folder / "witness2" / "witness.v0.json").read_text())
    (text,) = about["verifier_keys"]
    witness = parse_vkey(text)
    (path,) = (folder / "witness2").glob("*/checkpoint")
    cosigned = note.parse(path.read_bytes())
    assert path.parent.name == hashlib.sha256(checkpoint.parse(cosigned.text).origin.encode()).hexdigest()
    (by,) = note.verify(cosigned, [witness])
    assert by.name == about["name"]
    assert cosigned_at_s(by) == 1_767_139_200
    # a log's RFC 6962 signature is of a kind we have no key for: read, kept, never taken for a known one
    by_log = note.parse((folder / "tree" / "checkpoint").read_bytes())
    assert checkpoint.parse(by_log.text).root == checkpoint.parse(cosigned.text).root
    assert str(by_log).encode() == (folder / "tree" / "checkpoint").read_bytes()
    with pytest.raises(NoteError, match="not signed by a key"):
        note.verify(by_log, [witness])


# --- Sigstore ---------------------------------------------------------------------------------------------------------

#: Rekor's production key, whose SHA-256 is the log id in each bundle without a trust root of its own.
REKOR_1 = b64(
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE2G2Y+2tabdTV5BcGiBIx0a9fAFwrkBbmLSGtks4L3qX6yYY0zufBnhC8Ur/iy55GhWP/9A/bY2LhC30M9+RYtw=="
)
#: The part of each that must refuse it; the others must be accepted by all.
REFUSED_BY = {
    "checkpoint-bad-keyhint_fail": "log",
    "inclusion-proof-corrupted-hash_fail": "log",
    "invalid-checkpoint-signature_fail": "log",
    "rekor2-checkpoint-missing-log-signature_fail": "log",
    "rekor2-checkpoint-missing-root-hash_fail": "log",
    "rekor2-checkpoint-no-matching-signature_fail": "log",
    "rekor2-no-inclusion-proof_fail": "log",
    "rekor2-dsse-mismatch-envelope_fail": "body",
    "rekor2-timestamp-outside-trust-root-tsa-validity_fail": "time",
    "rekor2-timestamp-payload-mismatch_fail": "time",
    "rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail": "time",
}


class RekorOneKey:
    """Rekor 1 signs notes with ECDSA, with a key id that is the head of SHA-256 over the key: c2sp's 0x02."""

    name = "rekor.sigstore.dev"
    key_id = hashlib.sha256(REKOR_1).digest()[:4]

    def verifies(self, text: bytes, signature: bytes) -> bool:
        key = load_der_public_key(REKOR_1)
        assert isinstance(key, ec.EllipticCurvePublicKey)
        try:
            key.verify(signature, text, ec.ECDSA(hashes.SHA256()))
        except InvalidSignature:
            return False
        return True


def _log_keys(trust: dict[str, Any] | None, log_id: str) -> list[note.Verifier]:
    """The keys of the log an entry names."""
    if trust is None:
        assert hashlib.sha256(REKOR_1).digest() == b64(log_id)
        return [RekorOneKey()]
    found: list[note.Verifier] = []
    for one in trust["tlogs"]:
        key = load_der_public_key(b64(one["publicKey"]["rawBytes"]))
        if one["logId"]["keyId"] == log_id and isinstance(key, Ed25519PublicKey):
            found.append(VerifierKey(one["baseUrl"].removeprefix("https://"), key.public_bytes_raw()))
    return found


def _check_log(bundle: dict[str, Any], trust: dict[str, Any] | None) -> None:
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    given = entry.get("inclusionProof")
    if given is None:
        raise ProofError("no inclusion proof")
    keys = _log_keys(trust, entry["logId"]["keyId"])
    head = checkpoint.opened(given["checkpoint"]["envelope"], origin=None, log=keys)
    assert (head.size, head.root) == (int(given["treeSize"]), b64(given["rootHash"]))
    verify_inclusion(
        leaf_hash(b64(entry["canonicalizedBody"])),
        index=int(given["logIndex"]),
        size=head.size,
        proof=[b64(one) for one in given["hashes"]],
        root=head.root,
    )


def _check_body(bundle: dict[str, Any]) -> None:
    """The entry that was logged is about what the bundle holds."""
    (entry,) = bundle["verificationMaterial"]["tlogEntries"]
    body = b64(entry["canonicalizedBody"])
    if "dsseEnvelope" in bundle:
        kind, payload = bundle["dsseEnvelope"]["payloadType"].encode(), b64(bundle["dsseEnvelope"]["payload"])
        signed = b"DSSEv1 %d %b %d %b" % (len(kind), kind, len(payload), payload)
        digest = hashlib.sha256(signed).digest()
    else:
        digest = b64(bundle["messageSignature"]["messageDigest"]["digest"])
    if base64.b64encode(digest) not in body and digest.hex().encode() not in body:
        raise ProofError("the entry is about something else")


def _stamped(bundle: dict[str, Any]) -> tuple[bytes, Iterator[bytes]]:
    """What was stamped, and the stamps."""
    if "dsseEnvelope" in bundle:
        (signature,) = bundle["dsseEnvelope"]["signatures"]
        over = b64(signature["sig"])
    else:
        over = b64(bundle["messageSignature"]["signature"])
    given = bundle["verificationMaterial"].get("timestampVerificationData", {}).get("rfc3161Timestamps", [])
    return over, (b64(one["signedTimestamp"]) for one in given)


def _check_time(bundle: dict[str, Any], trust: dict[str, Any] | None) -> int:
    over, stamps = _stamped(bundle)
    count = 0
    for stamp in stamps:
        assert trust is not None
        if not any(holds(lambda one=one, stamp=stamp: _by(one, stamp, over)) for one in trust["timestampAuthorities"]):
            raise TimestampError("no authority of the trust root stamped this")
        count += 1
    return count


def _by(authority: dict[str, Any], stamp: bytes, over: bytes) -> None:
    own, *above = [
        x509.load_der_x509_certificate(b64(one["rawBytes"])) for one in authority["certChain"]["certificates"]
    ]
    at = verify_timestamp(stamp, over, roots=above[-1:], intermediates=above[:-1], authority=own)
    end = authority["validFor"].get("end")
    if not authority["validFor"]["start"] <= at.isoformat() or (end is not None and at.isoformat() > end):
        raise TimestampError("the authority is not trusted for this time")


def test_bundles_of_sigstore(material: Path) -> None:
    told = {}
    stamps = 0
    for folder in sorted(path for path in (material / "sigstore").iterdir() if path.is_dir()):
        bundle = json.loads((folder / "bundle.sigstore.json").read_text())
        path = folder / "trusted_root.json"
        trust = json.loads(path.read_text()) if path.exists() else None
        parts = {
            "log": holds(lambda b=bundle, t=trust: _check_log(b, t)),
            "body": holds(lambda b=bundle: _check_body(b)),
        }
        try:
            stamps += _check_time(bundle, trust)
        except TimestampError:
            parts["time"] = False
        told[folder.name] = [part for part, held in parts.items() if not held]
    assert len(told) == 16
    assert told == {name: [REFUSED_BY[name]] if name.endswith("_fail") else [] for name in told}
    assert stamps >= 5


# --- RFC 3161 ---------------------------------------------------------------------------------------------------------


def test_time_stamps_of_trail_of_bits(material: Path) -> None:
    folder = material / "rfc3161" / "test_tsa"
    chain = x509.load_pem_x509_certificates((folder / "ts_chain.pem").read_bytes())
    own, *others = chain
    trust: dict[str, Any] = {"authority": own, "intermediates": others[:1], "roots": others[1:]}
    response = (folder / "response.tsr").read_bytes()
    at = verify_timestamp(response, b"hello", **trust)
    assert at.isoformat() == "2024-10-08T15:40:32+00:00"
    assert verify_timestamp(response, b"hello", nonce=3937359519792308179, **trust) == at
    # certificates that somebody put into a response change nothing
    assert verify_timestamp((folder / "response-injected-certs.tsr").read_bytes(), b"hello", **trust) == at
    with pytest.raises(TimestampError, match="Nonce mismatch"):
        verify_timestamp(response, b"hello", nonce=1, **trust)
    with pytest.raises(TimestampError, match="Mismatch between messages"):
        verify_timestamp(response, b"hullo", **trust)
    with pytest.raises(TimestampError, match="no root"):
        verify_timestamp(response, b"hello", **(trust | {"roots": []}))
    with pytest.raises(TimestampError, match="does not match"):
        verify_timestamp(response, b"hello", **(trust | {"authority": others[0]}))
    with pytest.raises(TimestampError, match="verifying certificates"):  # by another chain of the same names
        verify_timestamp((folder / "other_response.tsr").read_bytes(), b"hello", **trust)
    for hostile in (b"", response[:-1], response[:100], bytes(100_000), b"\x30" + response[1:40]):
        with pytest.raises(TimestampError):
            verify_timestamp(hostile, b"hello", **trust)


@pytest.mark.filterwarnings("ignore:Parsed a serial number")  # of a certificate that was changed
def test_no_changed_byte_makes_a_time_stamp_say_something_else(material: Path) -> None:
    folder = material / "rfc3161" / "test_tsa"
    own, *others = x509.load_pem_x509_certificates((folder / "ts_chain.pem").read_bytes())
    response = (folder / "response.tsr").read_bytes()
    told = set()
    for at in range(len(response)):
        changed = response[:at] + bytes([response[at] ^ 0x55]) + response[at + 1 :]
        try:
            told.add(verify_timestamp(changed, b"hello", authority=own, intermediates=others[:1], roots=others[1:]))
        except TimestampError:
            continue
    assert told <= {verify_timestamp(response, b"hello", authority=own, intermediates=others[:1], roots=others[1:])}
