"""docs/ledger.md is checked against the code: its worked example, its limits, its kinds of leaves and its paths."""

from __future__ import annotations

import hashlib
import io
import json
import re
from pathlib import Path

from cloud.ledger.log import KINDS, leaf_data
from coldproof import ledger_check
from standards.tlog import checkpoint, proof_file, tile
from standards.tlog.key import parse_vkey
from standards.tlog.note import NOTE_MAX_BYTES, SIGNATURES_MAX
from standards.tlog.proof import PROOF_MAX_HASHES, consistency_proof, inclusion_proof
from standards.tlog.tree import SIZE_MAX, Levels, leaf_hash, root

ROOT = Path(__file__).parents[2]
DOCUMENT = (ROOT / "docs" / "ledger.md").read_text("utf-8")
VECTOR = json.loads((ROOT / "tests" / "vectors" / "merkle" / "ledger.json").read_text())
BLOCKS = [found[2] for found in re.finditer(r"^```(\w*)\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)]
DATA = [leaf_data(one["kind"], hashlib.sha256(bytes.fromhex(one["payload_hex"])).digest()) for one in VECTOR["leaves"]]
LEAVES = [leaf_hash(data) for data in DATA]


def block(language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```$", DOCUMENT, re.MULTILINE | re.DOTALL)
    return found


def test_example_is_what_the_code_makes() -> None:
    assert [data.hex() for data in DATA] == [one["leaf_data_hex"] for one in VECTOR["leaves"]]
    assert [leaf.hex() for leaf in LEAVES] == [one["leaf_hash_hex"] for one in VECTOR["leaves"]]
    tree = Levels(LEAVES)
    kept = proof_file.parse(VECTOR["proof_file"])
    assert (
        list(kept.proof)
        == inclusion_proof(tree.node, 1, 5)
        == [bytes.fromhex(one) for one in VECTOR["proof_of_leaf_1"]]
    )
    assert [one.hex() for one in consistency_proof(tree.node, 3, 5)] == VECTOR["growth_3_5"]
    log, witness = parse_vkey(VECTOR["log_vkey"]), parse_vkey(VECTOR["witness_vkey"])
    for size in (3, 5):
        head = checkpoint.opened(VECTOR[f"checkpoint_{size}"], origin="ledger.example/kho-lanh", log=[log])
        assert (head.size, head.root) == (size, root(LEAVES[:size]))
    assert kept.verify(LEAVES[1], origin=head.origin, log=[log], witnesses=[witness], quorum=1) == head


def test_pack_of_the_example_is_the_one_of_the_letters() -> None:
    pack = json.loads((ROOT / "tests" / "vectors" / "wire" / "pack_small.json").read_text())
    assert VECTOR["leaves"][1]["payload_hex"] == pack["envelope_hex"]
    assert pack["envelope_sha256_hex"] + "\n" in BLOCKS


def test_example_stands_in_the_document() -> None:
    rows = [f"{at}  {one['kind']:<8}  {one['leaf_hash_hex']}" for at, one in enumerate(VECTOR["leaves"])]
    for text in (
        VECTOR["leaves"][1]["leaf_data_hex"] + "\n",
        "\n".join(rows) + "\n",
        f"{VECTOR['roots_hex'][3]}\n{VECTOR['roots_hex'][5]}\n",
        VECTOR["checkpoint_5"],
        f"{VECTOR['log_vkey']}\n{VECTOR['witness_vkey']}\n",
        VECTOR["proof_file"],
    ):
        assert text in BLOCKS, f"put this into docs/ledger.md §7:\n{text}"


def test_answers_of_the_document_are_those_of_the_filter() -> None:
    claims = block("jsonl")
    assert b"".join(one + b"\n" for one in ledger_check.answers(io.BytesIO(claims.encode()))).decode() == block("json")
    told = [json.loads(line) for line in claims.splitlines()]
    assert [one["type"] for one in told] == ["note", "note", "note", "inclusion", "consistency", "inclusion"]
    assert [one["text"] for one in told[:3]] == [VECTOR["checkpoint_3"], VECTOR["checkpoint_5"], VECTOR["checkpoint_5"]]
    assert [json.loads(line)["ok"] for line in block("json").splitlines()] == [True] * 5 + [False]


def test_limits_are_those_of_the_code() -> None:
    for what, value, unit in (
        ("a line", ledger_check.LINE_MAX_BYTES, " bytes"),
        ("a proof", PROOF_MAX_HASHES, " hashes"),
        ("`vkeys`", ledger_check.VKEYS_MAX, " keys"),
        ("a size or index", SIZE_MAX, ""),
    ):
        assert f"| {what} | {value:,}{unit} |" in DOCUMENT
    assert f"notes over {NOTE_MAX_BYTES:,} bytes or with more\nthan {SIGNATURES_MAX} signatures" in DOCUMENT


def test_every_kind_of_leaf_is_told_and_no_other() -> None:
    section = DOCUMENT.partition("\n## 1. Leaves\n")[2].partition("\n## ")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)) == KINDS


def test_paths_of_tiles_are_paths() -> None:
    paths = re.findall(r"`(tile/[^`]+)`", DOCUMENT)
    assert len(paths) >= 6
    for path in paths:
        assert tile.parse_path(path).path() == path
