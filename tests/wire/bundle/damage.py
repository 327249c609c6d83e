"""Seeded damage to the bytes of a bundle: what accidents, bad copies and forgers without keys do."""

from __future__ import annotations

import random

from tests.wire.bundle import maker
from wire.bundle import form


def damaged(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One random damage, with a word that says which; never the same bytes."""
    while True:
        name, changed = rng.choice(_WAYS)(data, rng)
        if changed != data:
            return name, changed


def _edit(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    at, size = rng.randrange(len(data)), rng.choice((1, 1, 2, 8, 100))
    return f"edit {size} at {at}", data[:at] + rng.randbytes(len(data[at : at + size])) + data[at + size :]


def _delete(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    at, size = rng.randrange(len(data)), rng.choice((1, 1, 5, 100, 1000))
    return f"delete {size} at {at}", data[:at] + data[at + size :]


def _insert(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    at, size = rng.randrange(len(data) + 1), rng.choice((1, 1, 5, 100))
    return f"insert {size} at {at}", data[:at] + rng.randbytes(size) + data[at:]


def _swap(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    size = rng.choice((1, 4, 32, 500))
    a, b = sorted(rng.sample(range(len(data) - size), 2))
    if b - a < size:
        return f"no swap at {a}", data
    middle = data[a + size : b]
    return f"swap {size} at {a} and {b}", data[:a] + data[b : b + size] + middle + data[a : a + size] + data[b + size :]


def _truncate(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    at = rng.randrange(len(data))
    return f"truncate at {at}", data[:at]


def _records(data: bytes) -> list[tuple[int, bytes]]:
    return [(one.letter, one.body) for one in maker.framed(data)]


def _reorder(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    records = _records(data)
    a, b = rng.sample(range(len(records)), 2)
    records[a], records[b] = records[b], records[a]
    return f"swap records {a} and {b}", maker.joined(records)


def _drop(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    records = _records(data)
    at = rng.randrange(len(records))
    return f"drop record {at}", maker.joined(records[:at] + records[at + 1 :])


def _repeat(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    records = _records(data)
    at, to = rng.randrange(len(records)), rng.randrange(len(records) + 1)
    return f"repeat record {at} at {to}", maker.joined([*records[:to], records[at], *records[to:]])


def _exchange(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """The body of one record under the leaf of another of its kind."""
    records = _records(data)
    packs = [at for at, (letter, _) in enumerate(records) if letter == form.PACK]
    a, b = rng.sample(packs, 2)
    body = records[a][1][: form.INDEX_BYTES] + records[b][1][form.INDEX_BYTES :]
    return f"body of record {b} in record {a}", maker.joined([*records[:a], (form.PACK, body), *records[a + 1 :]])


def _edit_record(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """A byte more, less or other inside a record, its length kept right."""
    records = _records(data)
    at = rng.randrange(len(records))
    letter, body = records[at]
    where = rng.randrange(len(body))
    kept = rng.choice((body[:where], body[:where] + rng.randbytes(1), body[: where + 1] + rng.randbytes(1)))
    changed = kept + body[len(kept) :] if rng.random() < 0.5 else kept + body[where + 1 :]
    return f"edit record {at} at {where}", maker.joined([*records[:at], (letter, changed), *records[at + 1 :]])


_WAYS = (
    _edit, _delete, _insert, _swap, _truncate, _reorder, _drop, _repeat, _exchange, _edit_record
)  # fmt: skip
