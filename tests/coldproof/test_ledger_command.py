"""`coldproof ledger check`: one answer for each line, in order, and nothing believed that is not proven."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coldproof import ledger_check
from standards.tlog.tree import EMPTY_ROOT, SIZE_MAX, leaf_hash, root

VECTORS = Path(__file__).parents[1] / "vectors" / "merkle"
PROOFS = json.loads((VECTORS / "proofs.json").read_text())
NOTES = json.loads((VECTORS / "notes.json").read_text())

INCLUSION = {"type": "inclusion", "leaf_hash": leaf_hash(b"leaf 3").hex()} | next(
    one for one in PROOFS["inclusion"] if one["index"] == 3
)
CONSISTENCY = {"type": "consistency"} | next(one for one in PROOFS["consistency"] if one["size1"] == 3)
NOTE = {"type": "note", "text": NOTES["checkpoint"], "vkeys": [NOTES["log_vkey"]]}


def told(*claims: Any) -> list[dict[str, Any]]:
    """The answers to these lines; what is no bytes is written as JSON."""
    lines = [one if isinstance(one, bytes) else json.dumps(one).encode() for one in claims]
    return [json.loads(line) for line in ledger_check.answers(io.BytesIO(b"\n".join(lines) + b"\n"))]


def why(claim: Any) -> str:
    (answer,) = told(claim)
    assert answer["ok"] is False
    assert set(answer) == {"ok", "why"}
    text = answer["why"]
    assert isinstance(text, str)
    return text


def in_base64(claim: dict[str, Any]) -> dict[str, Any]:
    def turned(value: Any) -> Any:
        if isinstance(value, list):
            return [turned(one) for one in value]
        return base64.b64encode(bytes.fromhex(value)).decode() if isinstance(value, str) and len(value) == 64 else value

    return {name: turned(value) for name, value in claim.items()}


def test_answers_come_in_the_order_of_the_lines() -> None:
    lines = [
        json.dumps(INCLUSION),
        json.dumps(in_base64(CONSISTENCY)),
        "",
        "nonsense",
        json.dumps(NOTE),
        json.dumps(INCLUSION | {"index": 4}) + "\r",
        json.dumps(CONSISTENCY),  # without its line end
    ]
    done = subprocess.run(
        [sys.executable, "-m", "coldproof.main", "ledger", "check"],
        input="\n".join(lines).encode(),
        capture_output=True,
        check=True,
    )
    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["ok"] for one in answers] == [True, True, False, True, False, True]
    assert [one for one in answers if one["ok"]] == [{"ok": True}] * 4
    assert answers[2]["why"].startswith("line 4: no JSON")
    assert answers[4]["why"].startswith("line 6: root: the proof leads to ")


def test_hashes_may_be_hex_of_either_case_and_base64() -> None:
    upper = INCLUSION | {name: INCLUSION[name].upper() for name in ("root", "leaf_hash")}
    mixed = INCLUSION | {"root": in_base64(INCLUSION)["root"]}
    for claim in (INCLUSION, upper, mixed, in_base64(INCLUSION), CONSISTENCY, in_base64(CONSISTENCY)):
        assert told(claim) == [{"ok": True}]


def test_one_leaf_and_the_empty_tree_are_proven_without_hashes() -> None:
    one = leaf_hash(b"only").hex()
    nothing = {"size1": 0, "size2": 0, "root1": EMPTY_ROOT.hex(), "root2": EMPTY_ROOT.hex()}
    for proof in ([], None):
        assert (
            told(
                {"type": "inclusion", "leaf_hash": one, "index": 0, "size": 1, "root": one, "proof": proof},
                {"type": "consistency", "size1": 1, "size2": 1, "root1": one, "root2": one, "proof": proof},
                {"type": "consistency", "proof": proof} | nothing,
            )
            == [{"ok": True}] * 3
        )


def test_members_that_are_not_needed_are_ignored() -> None:
    assert told(INCLUSION | {"desc": "lot 7", "path": None}) == [{"ok": True}]


def test_note_is_proven_by_any_of_the_keys_and_by_witnesses() -> None:
    stranger = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    for vkeys in ([NOTES["witness_vkey"]], [NOTES["log_vkey"], NOTES["witness_vkey"]], [stranger, NOTES["log_vkey"]]):
        assert told(NOTE | {"vkeys": vkeys}) == [{"ok": True}]
    assert "text: not signed by a key that is trusted" in why(NOTE | {"vkeys": [stranger]})
    assert "is wrong" in why(NOTE | {"text": NOTES["checkpoint"].replace("\n11\n", "\n12\n")})


@pytest.mark.parametrize("claim", [INCLUSION, CONSISTENCY, NOTE], ids=lambda claim: claim["type"])
def test_every_member_is_needed(claim: dict[str, Any]) -> None:
    for name in claim.keys() - ({"root", "size"} if claim is CONSISTENCY else set()):
        assert why({key: value for key, value in claim.items() if key != name}) == f"line 1: {name}: missing"


@pytest.mark.parametrize("value", [None, True, 70, -1, 1.5, "x", "", [], {}, [[]], [None], [7], "0" * 64, SIZE_MAX + 1])
@pytest.mark.parametrize("claim", [INCLUSION, CONSISTENCY, NOTE], ids=lambda claim: claim["type"])
def test_members_of_another_kind_are_refused_by_name(claim: dict[str, Any], value: Any) -> None:
    for name in claim:
        text = why(claim | {name: value})
        assert text.startswith("line 1: ")
        assert name in text or "proof" in text or "leaf" in text or "tree" in text


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"type": "tile"}, "line 1: type: 'tile', known: inclusion, consistency, note"),
        ({"type": ["inclusion"]}, "line 1: type: an array, known: inclusion, consistency, note"),
        ({"index": "3"}, "line 1: index: a string, a whole number is needed"),
        ({"index": 3.0}, "line 1: index: a number that is not whole, a whole number is needed"),
        ({"size": True}, "line 1: size: a boolean, a whole number is needed"),
        ({"size": 10**30}, "line 1: size: "),
        ({"index": -1}, f"line 1: index: not within 0 … {SIZE_MAX}"),
        ({"index": 7}, "line 1: there is no leaf 7 in a tree of 7"),
        ({"size": 0}, "line 1: there is no leaf 3 in a tree of 0"),
        ({"proof": {}}, "line 1: proof: an object, an array of hashes is needed"),
        (
            {"proof": INCLUSION["proof"][:-1]},
            "line 1: proof: 2 hashes; an inclusion proof of leaf 3 in a tree of 7 has 3",
        ),
        ({"proof": [INCLUSION["root"]] * 65}, "line 1: proof: 65 hashes, no proof has more than 64"),
        ({"proof": [INCLUSION["root"], "zz"]}, "line 1: proof[1]: not base64; a SHA-256 has 64"),
        ({"proof": [INCLUSION["root"], 5]}, "line 1: proof[1]: a number, a SHA-256 in hex or base64 is needed"),
        ({"root": "g" * 64}, "line 1: root: not hex"),
        ({"root": "0 " * 32}, "line 1: root: not hex"),
        ({"root": "\uff10" * 64}, "line 1: root: not hex"),
        ({"root": "AAAA"}, "line 1: root: 3 bytes, a SHA-256 has 32"),
        ({"root": "0x" + "0" * 64}, "line 1: root: not base64"),
        ({"root": in_base64(INCLUSION)["root"][:-1]}, "line 1: root: not base64"),
        ({"root": "A" * 42 + "B="}, "line 1: root: not base64 in its canonical form"),
        ({"leaf_hash": INCLUSION["root"]}, "line 1: root: the proof leads to"),
    ],
)
def test_refusals_say_what_is_wrong_and_where(change: dict[str, Any], expected: str) -> None:
    assert why(INCLUSION | change).startswith(expected)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"vkeys": []}, "line 1: vkeys: empty"),
        ({"vkeys": NOTES["log_vkey"]}, "line 1: vkeys: a string, an array"),
        ({"vkeys": [NOTES["log_vkey"], None]}, "line 1: vkeys[1]: null, a verifier key is needed"),
        ({"vkeys": ["x"]}, "line 1: vkeys[0]: 'x' is not NAME+KEYID+KEY"),
        ({"vkeys": [NOTES["log_vkey"]] * 101}, "line 1: vkeys: 101 keys, at most 100"),
        ({"text": 5}, "line 1: text: a number, a string is needed"),
        ({"text": "no signature\n"}, "line 1: text: no empty line"),
        ({"text": NOTES["checkpoint"].rstrip()}, "line 1: text: the last line does not end in a newline"),
        ({"text": NOTES["checkpoint"].replace("\n", "\r\n")}, "line 1: text: control character 0x0d"),
    ],
)
def test_refused_notes_say_what_is_wrong_and_where(change: dict[str, Any], expected: str) -> None:
    assert why(NOTE | change).startswith(expected)


@pytest.mark.parametrize(
    "line",
    [
        b"\xff\xfe",
        b'{"type": "inclusion"',
        b"[]",
        b"null",
        b'"inclusion"',
        b"{}",
        b"[" * 500_000,
        b'{"type": ' * 100_000,
        b'{"type": "note", "text": "\\ud800", "vkeys": ["a"]}',
        b'{"type": "inclusion", "index": 1e400}',
        b'{"type": "inclusion", "index": ' + b"9" * 5000 + b"}",
        b"NaN",
        b"\x00",
    ],
)
def test_hostile_lines_are_answered_and_the_next_is_read(line: bytes) -> None:
    wrong, right = told(line, INCLUSION)
    assert wrong["ok"] is False
    assert len(wrong["why"]) < 500
    assert right == {"ok": True}


def test_member_that_stands_twice_is_refused_wherever_it_is() -> None:
    text = json.dumps(INCLUSION).encode()
    again = b', "root": "%s"}' % INCLUSION["root"].encode()
    assert why(text[:-1] + again) == "line 1: 'root': a member that stands twice"
    assert why(text[:-1] + b', "desc": {"a": 1, "b": 2, "a": 1}}') == "line 1: 'a': a member that stands twice"
    many = b"{" + b",".join(b'"%d":0' % at for at in range(100_000)) + b',"7":0}'
    assert why(many) == "line 1: '7': a member that stands twice"


def test_overlong_lines_are_answered_without_being_held() -> None:
    limit = ledger_check.LINE_MAX_BYTES
    first, second, third = told(b"x" * (3 * limit), INCLUSION, b"[" * (limit + 1))
    assert first == {"ok": False, "why": f"line 1: a line of {3 * limit} bytes, the limit is {limit}"}
    assert second == {"ok": True}
    assert "line 3: a line of" in third["why"]


def test_largest_note_fits_a_line() -> None:
    for text in ("\n" * 1_000_000, "đ" * 500_000):  # json.dumps writes six bytes for each of these letters
        assert why(NOTE | {"text": text, "vkeys": [NOTES["log_vkey"]] * 100}).startswith("line 1: text: no ")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=70),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=8,
)


@given(st.lists(st.binary(max_size=200) | _JSON.map(lambda value: json.dumps(value).encode()), max_size=10))
def test_every_line_gets_its_answer(lines: list[bytes]) -> None:
    text = b"\n".join(lines)
    answers = [json.loads(one) for one in ledger_check.answers(io.BytesIO(text))]
    assert len(answers) == sum(bool(line.strip()) for line in text.split(b"\n"))
    assert all(one["ok"] is False for one in answers)


@given(st.sampled_from([INCLUSION, CONSISTENCY, NOTE]), st.data())
def test_no_member_can_be_anything_else(claim: dict[str, Any], data: st.DataObject) -> None:
    names = {"inclusion": ["leaf_hash", "proof", "root"], "consistency": ["root1", "root2", "proof"], "note": ["text"]}
    name = data.draw(st.sampled_from(names[claim["type"]]))
    value = data.draw(_JSON)
    if value != claim[name]:
        assert why(claim | {name: value})


def test_needs_the_base_install_only() -> None:
    program = (
        "import sys; from coldproof.ledger_command import app; import coldproof.main;"
        "print([name for name in sys.modules if name.split('.')[0] in"
        " ('edge', 'cloud', 'firmware_sim', 'wire', 'sqlalchemy', 'asyncio', 'paho', 'rfc3161_client', 'biip')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True)
    assert done.stdout.strip() == "[]"


def test_reader_that_stops_ends_the_run_quietly() -> None:
    line = json.dumps(INCLUSION).encode() + b"\n"
    program = [sys.executable, "-m", "coldproof.main", "ledger", "check"]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdin is not None
        assert running.stdout is not None
        assert running.stderr is not None
        running.stdin.write(line)
        running.stdin.flush()
        assert json.loads(running.stdout.readline()) == {"ok": True}  # answered while the input is still open
        running.stdout.close()
        try:
            running.stdin.write(line * 2000)
            running.stdin.close()
        except BrokenPipeError:
            pass
        assert b"Traceback" not in running.stderr.read()


# --- public material, through the filter ------------------------------------------------------------------------------


@pytest.mark.conformance
def test_proofs_of_transparency_dev_through_the_filter(shared_data: Path) -> None:
    names = {
        "inclusion": {"leafHash": "leaf_hash", "leafIdx": "index", "treeSize": "size"},
        "consistency": {},
    }
    for kind, renamed in names.items():
        lines = (shared_data / "merkle" / f"{kind}.jsonl").read_text().splitlines()
        cases = [json.loads(line) for line in lines]
        claims = [{"type": kind} | {renamed.get(name, name): value for name, value in one.items()} for one in cases]
        assert [one["ok"] for one in told(*claims)] == [not one["wantErr"] for one in cases]


@pytest.mark.conformance
def test_notes_of_golang_tessera_and_sunlight_through_the_filter(shared_data: Path) -> None:
    folder = shared_data / "merkle"
    cases = [one for one in json.loads((folder / "notes.json").read_text()) if "note" in one]
    claims = [{"type": "note", "text": one["note"], "vkeys": one["vkeys"]} for one in cases]
    assert [one["ok"] for one in told(*claims)] == [one["ok"] for one in cases]

    about = json.loads((folder / "tessera_log" / "README.json").read_text())
    texts = [(folder / "tessera_log" / f"checkpoint.{size}").read_text() for size in range(8)]
    signed = [{"type": "note", "text": text, "vkeys": [about["vkey"]]} for text in texts]
    assert told(*signed) == [{"ok": True}] * 8

    witness = json.loads((folder / "skylight" / "witness2" / "witness.v0.json").read_text())["verifier_keys"]
    (path,) = (folder / "skylight" / "witness2").glob("*/checkpoint")
    unknown = (folder / "skylight" / "tree" / "checkpoint").read_text()
    cosigned, other = told(*({"type": "note", "text": text, "vkeys": witness} for text in (path.read_text(), unknown)))
    assert cosigned == {"ok": True}
    assert "not signed by a key" in other["why"]


def test_root_of_the_vectors_is_the_one_of_the_tree() -> None:
    """The claims above are about the tree that they name."""
    assert root([leaf_hash(b"leaf %d" % at) for at in range(7)]).hex() == INCLUSION["root"] == CONSISTENCY["root2"]
