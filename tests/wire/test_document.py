"""docs/wire.md is checked against the code: its worked example, its limits, and its names."""

from __future__ import annotations

import typing
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from standards import cose
from tests.wire.plain_reader import Item, read
from wire import columns, command, enrolment, envelope, observation, pack, receipt, rule, status, topics

DOCUMENT = (Path(__file__).parent.parent.parent / "docs" / "wire.md").read_text()
_CUT = 24  # bytes of one value that a line of the example shows


def _line(at: int, raw: bytes, meaning: str) -> str:
    shown = raw.hex() if len(raw) <= _CUT else f"{raw[:_CUT].hex()}…"
    return f"{at:4d}  {shown:<49}  {meaning}".rstrip()


def _struct_in(hint: Any) -> type[msgspec.Struct] | None:
    for part in (hint, *typing.get_args(hint)):
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            return part
    return None


def _walk(item: Item, name: str, hint: Any) -> list[str]:
    """One line for every value of a letter, with the names of its fields."""
    if not isinstance(item.value, list):
        return [_line(item.start, item.raw, f"{name} = {_shown(item.value)}")]
    lines = [_line(item.start, item.head, f"{name}: array of {len(item.value)}")]
    struct = _struct_in(hint)
    fields: list[tuple[str, Any]]
    if struct is not None and typing.get_origin(hint) is not list:
        hints = typing.get_type_hints(struct)
        fields = [(f"{name}.{field}", hints[field]) for field in struct.__struct_fields__]
        if struct.__struct_config__.tag is not None:
            fields.insert(0, (f"{name}.tag", str))
    else:
        inner = (typing.get_args(hint) or (None,))[0]
        fields = [(f"{name}[{at}]", inner) for at in range(len(item.value))]
    for (field, inner), part in zip(fields, item.value, strict=True):
        lines += _walk(part, field, inner)
    return lines


def _shown(value: Any) -> str:
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if value is None:
        return "nil"
    return str(value).lower() if isinstance(value, bool) else repr(value)


def _worked_example(stored: dict[str, Any]) -> str:
    sealed, plain = bytes.fromhex(stored["envelope_hex"]), bytes.fromhex(stored["plain_hex"])
    message = cose.parse_sign1(sealed)
    payload_at = sealed.index(message.payload)
    plain_at = sealed.index(plain)
    behind = payload_at + len(message.payload)
    lines = [
        _line(0, sealed[0:2], "CBOR tag 18 (COSE_Sign1), array of 4"),
        _line(2, sealed[2:4], f"byte string of {len(message.protected)}: protected header"),
        _line(4, sealed[4:7], "map of 3; 1 (algorithm): -8 (EdDSA)"),
        _line(7, sealed[7:10], f"3 (content type): text of {len(message.content_type)}"),
        _line(10, message.content_type.encode(), message.content_type),
        _line(48, sealed[48:50], "4 (key id): byte string of 8"),
        _line(50, message.kid, "key id: the first 8 bytes of SHA-256(public key)"),
        _line(58, sealed[58:59], "unprotected header: empty map"),
        _line(59, sealed[59:payload_at], f"byte string of {len(message.payload)}: payload"),
        _line(payload_at, sealed[payload_at : payload_at + 2], "zlib header"),
        _line(
            payload_at + 2,
            sealed[payload_at + 2 : plain_at],
            f"last block, stored, {len(plain)} bytes, and its complement",
        ),
    ]
    shifted = read(sealed, plain_at)
    lines += _walk(shifted, "pack", pack.Pack)
    lines += [
        _line(behind - 4, sealed[behind - 4 : behind], "Adler-32 of the MessagePack bytes"),
        _line(behind, sealed[behind : behind + 2], "byte string of 64: signature"),
        _line(behind + 2, message.signature, "Ed25519 over the Sig_structure below"),
    ]
    return "\n".join(lines)


def test_worked_example_in_the_document_is_what_the_code_writes(vector: Callable[[str], dict[str, Any]]) -> None:
    stored = vector("pack_small")
    example = _worked_example(stored)
    assert example in DOCUMENT, f"put this into docs/wire.md §8:\n{example}"
    for name in ("envelope_hex", "to_be_signed_hex"):
        hexed = "\n".join(stored[name][at : at + 96] for at in range(0, len(stored[name]), 96))
        assert hexed in DOCUMENT, f"put this ({name}) into docs/wire.md §8:\n{hexed}"
    for name in ("key_seed_hex", "public_key_hex", "envelope_sha256_hex"):
        assert stored[name] in DOCUMENT, f"{name} {stored[name]}"


@pytest.mark.parametrize(
    "struct",
    [
        observation.Stamp,
        observation.Scan,
        columns.Block,
        pack.Pack,
        pack.Loss,
        pack.Correction,
        pack.KeyChange,
        pack.CarriedFrom,
        pack.StreamHead,
        receipt.Receipt,
        receipt.Checkpoint,
        command.Command,
        command.SendAgain,
        command.ApplyConfiguration,
        command.TestAlarm,
        command.SignOff,
        status.Status,
        enrolment.Code,
        enrolment.Enrolment,
        enrolment.Renewal,
        enrolment.Link,
    ],
)
def test_document_lists_every_field_in_its_place(struct: type[msgspec.Struct]) -> None:
    offset = 0 if struct.__struct_config__.tag is None else 1
    for at, field in enumerate(struct.__struct_fields__, start=offset):
        row = f"| `{field}` |" if struct is status.Status else f"| {at} | `{field}` |"
        assert row in _section(struct.__name__), f"docs/wire.md: {struct.__name__}: no row {row}"


def _section(name: str) -> str:
    """The table under the heading or bold line that names a struct."""
    start = DOCUMENT.index(f"`{name}`\n")  # it ends its line
    return DOCUMENT[start : DOCUMENT.index("\n\n", DOCUMENT.index("|", start))]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("envelope", envelope.ENVELOPE_MAX_BYTES),
        ("inflated", envelope.INFLATED_MAX_BYTES),
        ("observations", pack.OBSERVATIONS_MAX),
        ("blocks", pack.SERIES_MAX),
        ("entries", pack.ENTRIES_MAX),
        ("code", observation.CODE_MAX_BYTES),
        ("text", rule.TEXT_MAX),
        ("receipt ranges", receipt.RANGES_MAX),
        ("receipt refused", receipt.REFUSED_MAX),
        ("command ranges", command.RANGES_MAX),
        ("status", status.STATUS_MAX_BYTES),
        ("enrolment letter", enrolment.REQUEST_MAX_BYTES),
        ("time", observation.MAX_TIME_MS),
        ("integer", observation.INT64_MAX),
    ],
)
def test_document_names_every_limit(name: str, value: int) -> None:
    assert f"| {name} | {value:,}" in DOCUMENT, f"docs/wire.md: no limit row `| {name} | {value:,}`"


def test_document_names_every_topic_and_content_type() -> None:
    letters = (pack.CONTENT_TYPE, receipt.CONTENT_TYPE, command.CONTENT_TYPE)
    enrolments = (enrolment.ENROLMENT_TYPE, enrolment.RENEWAL_TYPE, enrolment.LINK_TYPE, enrolment.MEDIA_TYPE)
    for word in (*letters, *enrolments, topics.SHARED_PACKS):
        assert f"`{word}`" in DOCUMENT
    for topic in (topics.up_pack, topics.up_status, topics.down_receipt, topics.down_command):
        assert f"`{topic('{gateway}')}`" in DOCUMENT
