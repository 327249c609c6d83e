"""What comes out of a payload, and what a bomb costs: refused for the same reason as if all of it were read."""

from __future__ import annotations

import random
import tracemalloc
import zlib

import pytest

from wire.envelope import INFLATED_MAX_BYTES, WireError, inflate

STEP_BYTES = 256 * 1024  # what is read before anything is counted


def _plain(size: int, *, seed: int = 1) -> bytes:
    """Half noise, half zeros."""
    rng = random.Random(seed)
    return rng.randbytes(min(size, 20_000)) + bytes(max(size - 20_000, 0))


def _reason(data: bytes) -> str:
    with pytest.raises(WireError) as refused:
        inflate(data)
    return refused.value.reason


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize(
    "size",
    [0, 1, STEP_BYTES - 1, STEP_BYTES, STEP_BYTES + 1, 2 * STEP_BYTES, INFLATED_MAX_BYTES - 1, INFLATED_MAX_BYTES],
)
def test_everything_within_the_limit_comes_out(size: int, level: int) -> None:
    plain = _plain(size)
    assert inflate(zlib.compress(plain, level)) == plain


@pytest.mark.parametrize("level", [0, 1, 9])
@pytest.mark.parametrize("beyond", [1, 2, 300, STEP_BYTES, 10 * INFLATED_MAX_BYTES])
def test_what_is_beyond_the_limit_is_too_large(beyond: int, level: int) -> None:
    assert _reason(zlib.compress(_plain(INFLATED_MAX_BYTES + beyond), level)) == "too_large"


@pytest.mark.parametrize("size", [100, STEP_BYTES, STEP_BYTES + 1, INFLATED_MAX_BYTES, 3 * INFLATED_MAX_BYTES])
def test_damage_has_the_reason_that_reading_on_would_find(size: int) -> None:
    whole, rng = zlib.compress(_plain(size), 6), random.Random(size)
    damaged = [whole[:-1], whole + b"\x00", whole[:-1] + bytes([whole[-1] ^ 1]), b"\x00" + whole[1:]]
    for _ in range(60):
        at = rng.choice([rng.randrange(len(whole)), len(whole) - rng.randrange(1, min(len(whole), 2_000))])
        damaged += [whole[:at], whole[:at] + rng.randbytes(4) + whole[at + 4 :]]
    for one in damaged:
        if expected := _reason_of_reading_on(one):
            assert _reason(one) == expected
        else:
            assert inflate(one) == _plain(size)


def _reason_of_reading_on(data: bytes) -> str:
    """Nothing when there is none."""
    stream = zlib.decompressobj()
    try:
        size = len(stream.decompress(data, INFLATED_MAX_BYTES + 1))
    except zlib.error:
        return "malformed"
    if size > INFLATED_MAX_BYTES:
        return "too_large"
    return "" if stream.eof and not stream.unused_data else "malformed"


def test_bomb_costs_no_memory() -> None:
    bomb = zlib.compress(bytes(50 * INFLATED_MAX_BYTES), 9)
    tracemalloc.start()
    try:
        assert _reason(bomb) == "too_large"
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < INFLATED_MAX_BYTES / 2
