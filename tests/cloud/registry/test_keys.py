"""Gateways are admitted once, with one key, and the ledger knows it."""

from __future__ import annotations

from pathlib import Path

import pytest
from sqlalchemy import Engine

from cloud.db.engine import reading, writing
from cloud.ledger import log
from cloud.registry import keys
from cloud.registry.keys import PublicHalf, RegistryError
from cloud.registry.query import Gateway as GatewayNoun
from cloud.registry.query import gateway as find
from cloud.registry.query import gateways
from tests.cloud.field import Gateway

OURS = Gateway("gw-kho-01")


def _add(engine: Engine, half: PublicHalf) -> bool:
    with writing(engine) as conn:
        return keys.add_gateway(conn, half, 7)


def test_gateway_is_admitted_with_its_key(engine: Engine):
    assert _add(engine, OURS.public_half)
    with reading(engine) as conn:
        assert gateways(conn) == [GatewayNoun("gw-kho-01", simulated=False, added_ms=7)]
        (key,) = keys.keys_of(conn, OURS.name)
        assert (key.kid, key.public_key) == (OURS.kid, OURS.key.public_key().public_bytes_raw())
        assert keys.keys_of(conn, "gw-other") == []
        assert find(conn, "gw-other") is None


def test_adding_it_again_changes_nothing(engine: Engine):
    _add(engine, OURS.public_half)
    assert not _add(engine, OURS.public_half)
    with reading(engine) as conn:
        assert log.head(conn).size == 1


def test_key_is_in_the_ledger(engine: Engine):
    _add(engine, OURS.public_half)
    raw = OURS.key.public_key().public_bytes_raw()
    with writing(engine) as conn:
        same = log.append(conn, "key", payload=keys.key_payload(OURS.name, raw), ref="again")
        first, again = log.read_leaf(conn, 0), log.read_leaf(conn, same)
    assert first is not None
    assert again is not None
    assert (first.kind, first.hash, first.ref) == ("key", again.hash, OURS.name)


def test_another_key_for_a_known_name_is_refused(engine: Engine):
    _add(engine, OURS.public_half)
    with pytest.raises(RegistryError, match=r"another key.*another name"):
        _add(engine, Gateway("gw-kho-01", seed=2).public_half)
    with reading(engine) as conn:
        assert len(keys.keys_of(conn, OURS.name)) == 1


def test_once_simulated_always_simulated(engine: Engine):
    _add(engine, OURS.public_half)
    _add(engine, Gateway("gw-kho-01", simulated=True).public_half)
    _add(engine, OURS.public_half)
    with reading(engine) as conn:
        found = find(conn, OURS.name)
    assert found is not None
    assert found.simulated


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not a gateway's public half"),
        ("[]", "not a gateway's public half"),
        ("\xff", "not a gateway's public half"),
        ('{"gateway": "GW 1", "public_key": "AAAA"}', "a name has 1 to 63"),
        ('{"gateway": "gw-1", "public_key": "%%%"}', "not base64"),
        ('{"gateway": "gw-1", "public_key": "AAAA"}', "3 bytes, Ed25519 has 32"),
        (" " * 5000, "more than 4096 bytes"),
    ],
)
def test_bad_public_half_is_refused_with_the_reason(tmp_path: Path, text: str, words: str):
    file = tmp_path / "public.json"
    file.write_text(text, "latin-1")
    with pytest.raises(RegistryError, match=words) as caught:
        keys.read_public_half(file)
    assert "public.json" in str(caught.value) or "gateway" in str(caught.value)


def test_missing_public_half_is_refused(tmp_path: Path):
    with pytest.raises(RegistryError, match="cannot be read"):
        keys.read_public_half(tmp_path / "none.json")
