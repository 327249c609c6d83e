"""The pack: lossless both ways, every limit kept, hostile bytes refused."""

from __future__ import annotations

import random
import zlib
from collections.abc import Callable
from typing import Any

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from standards import cose
from wire import pack
from wire.envelope import ENVELOPE_MAX_BYTES, INFLATED_MAX_BYTES, WireError, envelope_hash
from wire.observation import INT64_MAX, MAX_TIME_MS, ClockState, Quality, Reading, Scan, Stamp
from wire.pack import Block, CarriedFrom, Correction, KeyChange, Loss, Pack, StreamHead

BOOT, STREAM, OTHER, HASH = bytes(16), b"s" * 16, b"o" * 16, b"h" * 32
STAMP = Stamp(1_700_000_000_000, 5_000, BOOT, ClockState.SYNCED)
BLOCK = Block("room-1/air", "CEL", -2, BOOT, 1_000, 1_700_000_000_000, [0, 60_000], [2137, 2140])
SCAN = Scan("scanner/scan", "00123", "C1", STAMP)
PACK = Pack("gw-1", STREAM, 1, None, STAMP, False, blocks=[BLOCK], scans=[SCAN])
NEXT = msgspec.structs.replace(PACK, seq=9, prev=HASH)

replace = msgspec.structs.replace


def _with_block(**fields: Any) -> Pack:
    return replace(PACK, blocks=[replace(BLOCK, **fields)])


def _with_scan(**fields: Any) -> Pack:
    return replace(PACK, scans=[replace(SCAN, **fields)])


def _with_loss(**fields: Any) -> Pack:
    return replace(NEXT, losses=[replace(Loss(OTHER, 1, 2, HASH, "lost", "why"), **fields)])


def _with_correction(**fields: Any) -> Pack:
    return replace(NEXT, corrections=[replace(Correction(BOOT, 0, 9, -5, 1, "ntp"), **fields)])


def _with_carried(**fields: Any) -> Pack:
    return replace(NEXT, carried_from=[replace(CarriedFrom(OTHER, 1, HASH, 0, 3), **fields)])


def _with_head(**fields: Any) -> Pack:
    return replace(PACK, predecessor=replace(StreamHead(OTHER, 4, HASH), **fields))


BROKEN: dict[str, tuple[Pack, str]] = {
    "gateway name": (replace(PACK, gateway="GW_1"), "gateway"),
    "stream id": (replace(PACK, stream=b"short"), "stream"),
    "seq 0": (replace(PACK, seq=0), "seq"),
    "seq beyond 63 bits": (replace(NEXT, seq=INT64_MAX + 1), "seq"),
    "prev in the first": (replace(PACK, prev=HASH), "prev"),
    "no prev later": (replace(PACK, seq=2), "prev"),
    "prev is no hash": (replace(NEXT, prev=b"x"), "prev"),
    "sealed boot": (replace(PACK, sealed=replace(STAMP, boot_id=b"")), "sealed.boot_id"),
    "sealed before 1970": (replace(PACK, sealed=replace(STAMP, observed_at_ms=-1)), "sealed.observed_at_ms"),
    "sealed after 9999": (replace(PACK, sealed=replace(STAMP, observed_at_ms=MAX_TIME_MS + 1)), "sealed"),
    "sealed monotonic": (replace(PACK, sealed=replace(STAMP, monotonic_ms=-1)), "sealed.monotonic_ms"),
    "blocks": (replace(PACK, blocks=[BLOCK] * (pack.SERIES_MAX + 1)), "blocks"),
    "observations": (
        _with_block(dt_ms=[0] * pack.OBSERVATIONS_MAX, values=[1] * pack.OBSERVATIONS_MAX),
        "10001 observations",
    ),
    "block without rows": (_with_block(dt_ms=[], values=[]), "no rows"),
    "block channel": (_with_block(channel="Room 1"), "channel"),
    "channel with newline": (_with_block(channel="room-1/air\n"), "channel"),
    "block unit": (_with_block(unit="celsius"), "Rec 20"),
    "unit beyond ASCII": (_with_block(unit="CÉL"), "Rec 20"),
    "exponent low": (_with_block(exponent=-10), "exponent"),
    "exponent high": (_with_block(exponent=10), "exponent"),
    "block boot": (_with_block(boot_id=b"x"), "boot_id"),
    "more times than values": (_with_block(dt_ms=[0, 1, 2]), "3 times for 2 values"),
    "first step": (_with_block(dt_ms=[1, 1]), "backwards"),
    "step back": (_with_block(dt_ms=[0, -1]), "backwards"),
    "base monotonic": (_with_block(base_monotonic_ms=-1), "monotonic"),
    "base wall": (_with_block(base_wall_ms=MAX_TIME_MS + 1), "out of range"),
    "monotonic sum": (_with_block(base_monotonic_ms=MAX_TIME_MS, wall_dt_ms=[0, 0]), "monotonic time out of range"),
    "wall sum": (_with_block(base_wall_ms=MAX_TIME_MS), "wall time out of range"),
    "wall below 1970": (_with_block(base_wall_ms=5, wall_dt_ms=[0, -6]), "wall time out of range"),
    "wall steps": (_with_block(wall_dt_ms=[0]), "1 wall times"),
    "first wall step": (_with_block(wall_dt_ms=[1, 0]), "wall_dt_ms"),
    "value high": (_with_block(values=[0, INT64_MAX + 1]), "value"),
    "value low": (_with_block(values=[None, -INT64_MAX - 1]), "value"),
    "runs too many": (_with_block(quality=[(1, 0)] * 3), "more runs"),
    "run empty": (_with_block(quality=[(2, 0), (0, 1)]), "empty run"),
    "runs too short": (_with_block(quality=[(1, 1)]), "cover"),
    "run of giant length": (_with_block(clock=[(2**63, 1)]), "cover"),
    "quality code": (_with_block(quality=[(2, 5)]), "unknown code"),
    "clock code": (_with_block(clock=[(2, 3)]), "unknown code"),
    "scan channel": (_with_scan(channel="scanner"), "channel"),
    "scan code": (_with_scan(code="é" * 2049), "4096 bytes"),
    "scan surrogate": (_with_scan(code="\ud800"), "surrogate"),
    "symbology": (_with_scan(symbology="C" * 9), "symbology"),
    "symbology beyond ASCII": (_with_scan(symbology="é"), "symbology"),
    "scan count": (_with_scan(count=0), "count"),
    "antenna": (_with_scan(antenna=65_536), "antenna"),
    "rssi": (_with_scan(rssi_dbm=-1_001), "rssi"),
    "first seen": (_with_scan(first_seen_ms=-1), "out of range"),
    "last seen": (_with_scan(last_seen_ms=MAX_TIME_MS + 1), "out of range"),
    "scan stamp": (_with_scan(stamp=replace(STAMP, boot_id=b"")), "boot_id"),
    "losses": (replace(NEXT, losses=[Loss(OTHER, 1, 1, None, "lost", "")] * 1001), "1001 entries"),
    "corrections": (replace(NEXT, corrections=[Correction(BOOT, 0, 0, 0, 0, "")] * 1001), "1001 entries"),
    "carried": (replace(NEXT, carried_from=[CarriedFrom(OTHER, 1, HASH, 0, 1)] * 1001), "1001 entries"),
    "loss stream": (_with_loss(stream=b""), "stream"),
    "loss first": (_with_loss(first_seq=0), "seq"),
    "loss last 0": (_with_loss(last_seq=0), "seq"),
    "loss order": (_with_loss(first_seq=3), "order"),
    "loss beyond 63 bits": (_with_loss(last_seq=2**63), "seq"),
    "loss of own future": (_with_loss(stream=STREAM, last_seq=9), "own stream"),
    "loss of own, open end": (_with_loss(stream=STREAM, last_seq=None), "own stream"),
    "loss kind": (_with_loss(kind="gone"), "kind"),
    "loss reason": (_with_loss(reason="x" * 201), "text"),
    "loss surrogate": (_with_loss(reason="\udfff"), "surrogate"),
    "loss hash": (_with_loss(last_hash=b"x"), "SHA-256"),
    "loss counts": (_with_loss(counts=[("a/b", 1)] * 1001), "counts"),
    "loss count channel": (_with_loss(counts=[("x", 1)]), "channel"),
    "loss count": (_with_loss(counts=[("a/b", -1)]), "count"),
    "loss from": (_with_loss(from_ms=-1), "out of range"),
    "loss to": (_with_loss(to_ms=MAX_TIME_MS + 1), "out of range"),
    "correction boot": (_with_correction(boot_id=b"x"), "boot id"),
    "correction order": (_with_correction(from_monotonic_ms=10), "order"),
    "correction end": (_with_correction(to_monotonic_ms=MAX_TIME_MS + 1), "out of range"),
    "correction offset": (_with_correction(offset_ms=-MAX_TIME_MS - 1), "offset"),
    "correction uncertainty": (_with_correction(uncertainty_ms=-1), "uncertainty"),
    "correction source": (_with_correction(source="x" * 201), "text"),
    "key": (replace(NEXT, key_change=KeyChange(b"k" * 31, 10)), "32 bytes"),
    "key of the past": (replace(NEXT, key_change=KeyChange(b"k" * 32, 9)), "already signed"),
    "key beyond 63 bits": (replace(NEXT, key_change=KeyChange(b"k" * 32, 2**63)), "seq"),
    "carried stream": (_with_carried(stream=b""), "stream"),
    "carried seq": (_with_carried(seq=0), "seq"),
    "carried hash": (_with_carried(hash=b""), "SHA-256"),
    "carried ordinal": (_with_carried(first_ordinal=-1), "range"),
    "carried count": (_with_carried(count=0), "range"),
    "carried beyond": (_with_carried(count=4), "beyond"),
    "predecessor late": (replace(NEXT, predecessor=StreamHead(OTHER, 4, HASH)), "first pack"),
    "predecessor stream": (_with_head(stream=b""), "stream"),
    "predecessor is itself": (_with_head(stream=STREAM), "itself"),
    "predecessor seq": (_with_head(last_seq=0), "seq"),
    "predecessor hash": (_with_head(hash=b""), "SHA-256"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_rule_is_refused_by_sender_and_receiver(name: str, key: Ed25519PrivateKey, kid: bytes) -> None:
    broken, words = BROKEN[name]
    with pytest.raises(WireError, match=words) as refused:
        pack.seal(broken, key=key, kid=kid)
    assert refused.value.reason == "invalid"
    try:
        payload = zlib.compress(msgspec.msgpack.encode(broken))
    except (UnicodeEncodeError, OverflowError):
        return  # cannot even be written
    with pytest.raises(WireError) as received:
        pack.unseal(cose.sign1(payload, content_type=pack.CONTENT_TYPE, key=key, kid=kid))
    assert received.value.reason in {"invalid", "malformed"}


def test_limits_themselves_are_allowed(key: Ed25519PrivateKey, kid: bytes) -> None:
    rows = pack.OBSERVATIONS_MAX
    at_limit = replace(PACK, blocks=[replace(BLOCK, dt_ms=[0] * rows, values=[INT64_MAX] * rows)], scans=[])
    series = [replace(BLOCK, channel=f"room-{at}/air") for at in range(pack.SERIES_MAX)]
    longest = _with_scan(code="x" * 4096, symbology="C" * 8, antenna=65_535, rssi_dbm=-1000, count=INT64_MAX)
    losses = [Loss(STREAM, 1, 8, HASH, "thinned", "x" * 200, [("a/b", 1)] * 3)] * pack.ENTRIES_MAX
    for allowed in (at_limit, replace(PACK, blocks=series), longest, replace(NEXT, losses=losses)):
        assert pack.unseal(pack.seal(allowed, key=key, kid=kid))[1] == allowed


def test_pack_that_nobody_could_open_is_not_sealed(key: Ed25519PrivateKey, kid: bytes) -> None:
    bomb = replace(PACK, scans=[replace(SCAN, code="x" * 4096)] * 1_100)  # compresses well, inflates to 4.5 MB
    with pytest.raises(WireError, match="limit is 4194304") as refused:
        pack.seal(bomb, key=key, kid=kid)
    assert refused.value.reason == "too_large"


def test_envelope_beyond_the_limit_is_not_sealed_and_not_opened(key: Ed25519PrivateKey, kid: bytes) -> None:
    rng = random.Random(7)
    noise = [rng.randrange(INT64_MAX) for _ in range(pack.OBSERVATIONS_MAX)]
    scans = [replace(SCAN, code="".join(chr(rng.randrange(33, 127)) for _ in range(4000))) for _ in range(80)]
    rows = noise[: pack.OBSERVATIONS_MAX - len(scans)]
    large = replace(PACK, blocks=[replace(BLOCK, dt_ms=[0] * len(rows), values=list(rows))], scans=scans)
    with pytest.raises(WireError, match="limit is 262144") as refused:
        pack.seal(large, key=key, kid=kid)
    assert refused.value.reason == "too_large"
    with pytest.raises(WireError, match="limit is 262144"):
        pack.unseal(bytes(ENVELOPE_MAX_BYTES + 1))


def test_zip_bomb_is_refused(key: Ed25519PrivateKey, kid: bytes) -> None:
    bomb = zlib.compress(bytes(100 * INFLATED_MAX_BYTES // 4), 9)
    assert len(bomb) < ENVELOPE_MAX_BYTES
    with pytest.raises(WireError) as refused:
        pack.unseal(cose.sign1(bomb, content_type=pack.CONTENT_TYPE, key=key, kid=kid))
    assert refused.value.reason == "too_large"


def test_inflating_to_the_limit_is_allowed_and_one_byte_more_is_not(key: Ed25519PrivateKey, kid: bytes) -> None:
    for size, reason in ((INFLATED_MAX_BYTES, "malformed"), (INFLATED_MAX_BYTES + 1, "too_large")):
        sealed = cose.sign1(zlib.compress(bytes(size)), content_type=pack.CONTENT_TYPE, key=key, kid=kid)
        with pytest.raises(WireError) as refused:
            pack.unseal(sealed)
        assert refused.value.reason == reason


def test_envelope_cut_at_any_byte_is_refused(key: Ed25519PrivateKey, kid: bytes) -> None:
    sealed = pack.seal(PACK, key=key, kid=kid)
    for at in range(len(sealed)):
        with pytest.raises(WireError):
            pack.unseal(sealed[:at])


def test_any_flipped_byte_is_refused(key: Ed25519PrivateKey, kid: bytes) -> None:
    sealed = pack.seal(PACK, key=key, kid=kid)
    public = key.public_key()
    for at in range(len(sealed)):
        for mask in (0x01, 0x80, 0xFF):
            flipped = sealed[:at] + bytes([sealed[at] ^ mask]) + sealed[at + 1 :]
            try:
                message = cose.parse_sign1(flipped)
            except cose.CoseError:
                continue
            assert not message.is_signed_by(public) or message.kid != kid, f"byte {at} ^ {mask:#x}"


def test_payload_cut_or_extended_is_refused(key: Ed25519PrivateKey, kid: bytes) -> None:
    whole = msgspec.msgpack.encode(PACK)
    for payload in (
        zlib.compress(whole)[:-1],
        zlib.compress(whole) + b"\x00",
        zlib.compress(whole + b"\xc0"),
        zlib.compress(whole[:-1]),
        zlib.compress(b""),
        whole,
        b"",
    ):
        with pytest.raises(WireError) as refused:
            pack.unseal(cose.sign1(payload, content_type=pack.CONTENT_TYPE, key=key, kid=kid))
        assert refused.value.reason == "malformed"


HOSTILE = {
    "no array": b"\xc0",
    "empty array": b"\x90",
    "map": b"\x80",
    "announces four thousand million fields": b"\xdd\xff\xff\xff\xff",
    "nested a hundred thousand deep": b"\x91" * 100_000,
    "text that is not UTF-8": b"\x9d\xa2\xff\xff",
    "announces a giant string": b"\x9d\xdb\xff\xff\xff\xff",
    "extension type": b"\xd6\xff\x00\x00\x00\x00",
    "reserved byte": b"\xc1",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_messagepack_is_malformed(name: str, key: Ed25519PrivateKey, kid: bytes) -> None:
    payload = zlib.compress(HOSTILE[name])
    with pytest.raises(WireError) as refused:
        pack.unseal(cose.sign1(payload, content_type=pack.CONTENT_TYPE, key=key, kid=kid))
    assert refused.value.reason == "malformed"


WRONG_TYPES: list[tuple[int, Any]] = [
    (0, 7), (0, b"gw-1"), (1, "s" * 16), (2, 1.0), (2, True), (2, "1"), (3, "x"), (4, None), (5, 1), (6, None),
    (6, [[]]), (7, [[0] + [None] * 9]), (7, {}), (10, [b"k" * 32]), (12, []),
]  # fmt: skip


@pytest.mark.parametrize(("field", "value"), WRONG_TYPES)
def test_field_of_the_wrong_type_is_malformed(field: int, value: Any, key: Ed25519PrivateKey, kid: bytes) -> None:
    fields = msgspec.msgpack.decode(msgspec.msgpack.encode(PACK))
    fields[field] = value
    payload = zlib.compress(msgspec.msgpack.encode(fields))
    with pytest.raises(WireError) as refused:
        pack.unseal(cose.sign1(payload, content_type=pack.CONTENT_TYPE, key=key, kid=kid))
    assert refused.value.reason == "malformed"


def _extended(value: Any) -> Any:
    """The same letter by a newer sender: every struct has fields behind its last one."""
    if isinstance(value, msgspec.Struct):
        fields = [_extended(getattr(value, name)) for name in value.__struct_fields__]
        tag = value.__struct_config__.tag
        return ([] if tag is None else [tag]) + fields + [{"newer": [1, "x"]}, None]
    return [_extended(item) for item in value] if isinstance(value, list) else value


def test_unknown_trailing_fields_are_ignored(
    key: Ed25519PrivateKey, kid: bytes, vector: Callable[[str], dict[str, Any]], from_named: Callable[[Any, Any], Any]
) -> None:
    full = from_named(Pack, vector("pack_full")["value"])
    payload = zlib.compress(msgspec.msgpack.encode(_extended(full)))
    assert pack.unseal(cose.sign1(payload, content_type=pack.CONTENT_TYPE, key=key, kid=kid))[1] == full


def test_fields_with_defaults_may_be_missing_at_the_end(key: Ed25519PrivateKey, kid: bytes) -> None:
    payload = zlib.compress(msgspec.msgpack.encode(["gw-1", STREAM, 1, None, STAMP, False]))
    short = pack.unseal(cose.sign1(payload, content_type=pack.CONTENT_TYPE, key=key, kid=kid))[1]
    assert short == Pack("gw-1", STREAM, 1, None, STAMP, False)
    assert short.count == 0


def test_other_content_type_is_refused(key: Ed25519PrivateKey, kid: bytes) -> None:
    payload = zlib.compress(msgspec.msgpack.encode(PACK))
    for other in ("application/vnd.coldproof.pack.v2+zlib", "application/vnd.coldproof.receipt.v1", ""):
        with pytest.raises(WireError) as refused:
            pack.unseal(cose.sign1(payload, content_type=other, key=key, kid=kid))
        assert refused.value.reason == "unknown_type"


_STAMPS = st.builds(
    Stamp,
    st.integers(0, MAX_TIME_MS),
    st.integers(0, MAX_TIME_MS),
    st.sampled_from([BOOT, b"b" * 16]),
    st.sampled_from(ClockState),
)
_READINGS = st.builds(
    Reading,
    st.sampled_from(["room-1/air", "room-2/air"]),
    st.sampled_from(["CEL", "P1"]),
    st.none() | st.integers(-INT64_MAX, INT64_MAX),
    st.integers(-9, 9),
    _STAMPS,
    st.sampled_from(Quality),
)
_SCANS = st.builds(
    Scan,
    st.just("scanner/scan"),
    st.text(max_size=50),
    st.sampled_from(["", "C1", "Q3", "epc"]),
    _STAMPS,
    st.sampled_from(Quality),
    st.none() | st.integers(0, 65_535),
    st.none() | st.integers(-120, 0),
    st.integers(1, 1000),
    st.none() | st.integers(0, MAX_TIME_MS),
    st.none() | st.integers(0, MAX_TIME_MS),
)
_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
_KID = cose.key_id(_KEY.public_key())


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.lists(_READINGS, max_size=12), st.lists(_SCANS, max_size=4))
def test_every_observation_comes_back_unchanged_and_in_monotonic_order(
    readings: list[Reading], scans: list[Scan]
) -> None:
    sealed = pack.seal(replace(PACK, blocks=pack.build_blocks(readings), scans=scans), key=_KEY, kid=_KID)
    message, opened = pack.unseal(sealed)
    assert message.is_signed_by(_KEY.public_key())
    numbered = list(pack.observations(opened))
    assert [ordinal for ordinal, _ in numbered] == list(range(len(readings) + len(scans)))
    came = [one for _, one in numbered if isinstance(one, Reading)]
    assert [one for _, one in numbered if isinstance(one, Scan)] == scans
    assert sorted(map(repr, came)) == sorted(map(repr, readings))
    for block in opened.blocks:
        rows = list(pack.expand(block))
        expected = [
            one
            for one in readings
            if (one.channel, one.unit, one.exponent, one.stamp.boot_id)
            == (block.channel, block.unit, block.exponent, block.boot_id)
        ]
        # sorted() is stable: rows with equal monotonic time stay in the order they were accepted in
        assert rows == sorted(expected, key=lambda one: one.stamp.monotonic_ms)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(st.binary(max_size=400))
def test_random_bytes_never_raise_anything_but_a_wire_error(data: bytes) -> None:
    for hostile in (data, cose.sign1(zlib.compress(data), content_type=pack.CONTENT_TYPE, key=_KEY, kid=_KID)):
        with pytest.raises(WireError):
            pack.unseal(hostile)


def test_hash_covers_the_envelope_as_sent(key: Ed25519PrivateKey, kid: bytes) -> None:
    first = pack.seal(PACK, key=key, kid=kid)
    second = pack.seal(replace(PACK, simulated=True), key=key, kid=kid)
    assert len(envelope_hash(first)) == 32
    assert envelope_hash(first) != envelope_hash(second)
