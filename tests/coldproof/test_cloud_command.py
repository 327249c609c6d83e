"""`coldproof cloud …`: what an administrator types, and what is said back."""

from __future__ import annotations

import base64
import json
import sqlite3
from datetime import timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from cloud.clock import system_now_ms
from cloud.db.engine import open_engine, sqlite_url, writing
from cloud.enrol import authority, links
from cloud.ingest import quarantine
from cloud.ingest.quarantine import Refused
from cloud.registry import keys as registry_keys
from coldproof.cloud_command import app
from standards.tlog.key import parse_vkey
from wire.enrolment import read_code


def _run(folder: Path, *words: str, status: int = 0) -> str:
    result = CliRunner().invoke(app, [*words, "--data-dir", str(folder / "data")])
    assert result.exit_code == status, result.output
    return result.output


def _public_half(folder: Path, seed: int = 1) -> Path:
    raw = Ed25519PrivateKey.from_private_bytes(bytes([seed]) * 32).public_key().public_bytes_raw()
    file = folder / f"gw-{seed}.json"
    half = {"gateway": "gw-kho-01", "public_key": base64.b64encode(raw).decode(), "simulated": True}
    file.write_text(json.dumps(half))
    return file


def test_key_prints_the_public_half(tmp_path: Path):
    printed = _run(tmp_path, "key")
    assert json.loads(printed.splitlines()[0]) == json.loads((tmp_path / "data/cloud-public.json").read_text())


def test_migrate_makes_the_database(tmp_path: Path):
    assert "up to date" in _run(tmp_path, "migrate")
    assert (tmp_path / "data/cloud.db").exists()


def test_gateway_is_added_once_and_listed(tmp_path: Path):
    file = str(_public_half(tmp_path))
    assert "added" in _run(tmp_path, "gateway", "add", file)
    assert "known with this key already" in _run(tmp_path, "gateway", "add", file)
    assert _run(tmp_path, "gateway", "list").startswith("gw-kho-01\tsimulated\tadded 20")
    refused = _run(tmp_path, "gateway", "add", str(_public_half(tmp_path, 2)), status=1)
    assert refused.startswith("error: gateway gw-kho-01: is known with another key")


def test_registry_is_loaded_or_refused_with_file_and_path(tmp_path: Path):
    file = tmp_path / "registry.toml"
    file.write_text('[[party]]\ngln = "8930000000019"\nname = "A"\n')
    assert _run(tmp_path, "registry", "load", str(file)) == "registry: 1 party\n"
    file.write_text('[[product]]\ngtin = "8930000000033"\nname = "T"\nname_en = "T"\nparty = "1"\nprofile = "f"\n')
    said = _run(tmp_path, "registry", "load", str(file), status=1)
    assert said.startswith(f"error: {file}: product[0].party: no party '1'")


def test_what_came_from_outside_commands_no_terminal(tmp_path: Path):
    _run(tmp_path, "migrate")
    engine = open_engine(sqlite_url(tmp_path / "data/cloud.db"))
    with writing(engine) as conn:
        quarantine.keep(conn, [Refused("coldproof/v1/\x1b[2J/up/pack", b"raw", "malformed", "a\nb", 0)])
    engine.dispose()
    assert "coldproof/v1/\ufffd[2J/up/pack\ta\ufffdb" in _run(tmp_path, "quarantine", "list")


def test_quarantine_is_listed_and_shown(tmp_path: Path):
    _run(tmp_path, "migrate")
    assert _run(tmp_path, "quarantine", "list") == ""
    engine = open_engine(sqlite_url(tmp_path / "data/cloud.db"))
    with writing(engine) as conn:
        quarantine.keep(conn, [Refused("coldproof/v1/gw-1/up/pack", b"raw", "malformed", "not CBOR", 0)])
    engine.dispose()
    assert "1×\tmalformed\tcoldproof/v1/gw-1/up/pack\tnot CBOR" in _run(tmp_path, "quarantine", "list")
    shown = json.loads(_run(tmp_path, "quarantine", "show", "1"))
    assert (shown["reason"], base64.b64decode(shown["raw"])) == ("malformed", b"raw")
    assert "no entry 2" in _run(tmp_path, "quarantine", "show", "2", status=1)


def test_person_gets_a_password_once(tmp_path: Path):
    said = _run(tmp_path, "person", "add", "lan", "--role", "official", "--name", "Lan")
    assert said.startswith("login: lan\npassword: ")
    assert len(said.splitlines()[1]) > len("password: ") + 10
    assert "lan" in _run(tmp_path, "person", "add", "lan", "--role", "official", status=1)


def test_person_gets_another_password_and_is_removed(tmp_path: Path):
    first = _run(tmp_path, "person", "add", "lan", "--role", "official", "--name", "Lan")
    second = _run(tmp_path, "person", "passwd", "lan")
    assert second.startswith("login: lan\npassword: ")
    assert second != first
    assert _run(tmp_path, "person", "list").startswith("lan\tofficial\tLan\tadded 20")
    assert _run(tmp_path, "person", "remove", "lan") == "removed: lan\n"
    assert "\tremoved 20" in _run(tmp_path, "person", "list")
    assert "was removed before" in _run(tmp_path, "person", "passwd", "lan", status=1)


@pytest.mark.parametrize("role", ["boss", ""])
def test_unknown_role_is_refused(tmp_path: Path, role: str):
    assert "error: " in _run(tmp_path, "person", "add", "lan", "--role", role, status=1)


@pytest.mark.parametrize("address", ["nonsense", "host:", ":1883", "host:0", "host:99999", "host:１"])
def test_bad_address_is_refused(tmp_path: Path, address: str):
    assert "write host:port" in _run(tmp_path, "serve", "--broker", address, status=1)


def test_bad_configuration_is_named(tmp_path: Path):
    file = tmp_path / "cloud.toml"
    file.write_text("[wep]\n")
    result = CliRunner().invoke(app, ["migrate", "--config", str(file)])
    assert result.exit_code == 1
    assert "wep: unknown key, allowed here: broker" in result.output
    both = CliRunner().invoke(app, ["migrate", "--config", str(file), "--data-dir", str(tmp_path)])
    assert "give either a configuration or --data-dir" in both.output


def test_a_command_does_not_make_another_cloud_by_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["gateway", "list"])
    assert result.exit_code == 1
    assert "--config" in result.output
    assert not list(tmp_path.iterdir())


def test_broker_config_writes_a_folder_a_broker_starts_on(tmp_path: Path):
    folder = tmp_path / "broker"
    words = ["broker-config", str(folder), "--host", "broker.example.vn", "--state", str(tmp_path / "state")]
    said = _run(tmp_path, *words, "--workers", "2")
    assert f"mosquitto -c {folder}/mosquitto.conf" in said
    for number in (1, 2):
        link = tmp_path / f"data/ingest/ingest.{number}.pem"
        assert f'client_id = "ingest.{number}"' in said
        assert f'certificate = "{link}"' in said
        assert link.exists()
    authority = (folder / "ca.pem").read_bytes()
    _run(tmp_path, *words)
    assert (folder / "ca.pem").read_bytes() == authority == (tmp_path / "data/ca.pem").read_bytes()


def test_invitation_is_one_word_for_one_gateway(tmp_path: Path):
    _run(tmp_path, "key")
    result = CliRunner().invoke(app, ["gateway", "invite", "gw-1", "--data-dir", str(tmp_path / "data")])
    code = read_code(result.stdout)
    assert result.stdout.split() == [result.stdout.strip()]
    assert (code.gateway, code.url) == ("gw-1", "http://127.0.0.1:8080")
    assert "the broker at 127.0.0.1:8883" in result.stderr
    assert result.stdout.strip() not in (tmp_path / "data/cloud.db").read_bytes().decode("latin-1")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["invite", "GW"], "a gateway's name has"),
        (["invite", "ingest.1"], "a gateway's name has"),
        (["invite", "gw-1", "--valid", "soon"], "as in 24h"),
        (["invite", "gw-1", "--valid", "0h"], "as in 24h"),
        (["show", "gw-1"], "not in the registry"),
        (["revoke", "gw-1", "--reason", "x"], "not in the registry"),
        (["revoke", "gw-1", "--reason", "x", "--key", "xyz"], "not an id in hex"),
        (["revoke", "gw-1", "--reason", "x", "--stream", "00"], "give both"),
        (["revoke", "gw-1", "--reason", "x", "--key", "00", "--link"], "give --key or --link"),
        (["revoke", "gw-1", "--reason", "x", "--link"], "there is nothing to revoke"),
    ],
)
def test_impossible_wish_about_a_gateway_is_refused(tmp_path: Path, words: list[str], said: str):
    _run(tmp_path, "migrate")
    assert said in _run(tmp_path, "gateway", *words, status=1)


def test_keys_and_certificates_are_shown_and_revoked(tmp_path: Path):
    _run(tmp_path, "gateway", "add", str(_public_half(tmp_path)))
    assert "no link certificate of ours" in _run(tmp_path, "gateway", "list")
    kid = _run(tmp_path, "gateway", "show", "gw-kho-01").split("\t")[1]
    data, now_ms = tmp_path / "data", system_now_ms()
    engine, issuer = open_engine(sqlite_url(data / "cloud.db")), authority.load_or_create(data, now_ms)
    lifetimes = {"gw-kho-01": 100, "gw-soon": 5, "gw-late": -1}
    with writing(engine) as conn:
        for name, days in lifetimes.items():
            key, span = authority.new_key().public_key(), timedelta(days=days)
            issued_ms = now_ms - 500_000  # a certificate's first day is the one before
            made = authority.issue_client(issuer, name, key, now_ms=issued_ms, lifetime=span)
            links.keep(conn, name, made, issued_ms)
            if name != "gw-kho-01":
                half = registry_keys.PublicHalf(name, base64.b64encode(bytes(32)).decode())
                registry_keys.add_gateway(conn, half, now_ms)
    engine.dispose()
    listed = {line.split("\t")[0]: line for line in _run(tmp_path, "gateway", "list").splitlines()}
    assert "link until 20" in listed["gw-kho-01"]
    assert "EXPIRES IN 4 DAYS" in listed["gw-soon"]
    assert "LINK CERTIFICATE EXPIRED" in listed["gw-late"]
    said = _run(tmp_path, "gateway", "revoke", "gw-kho-01", "--reason", "stolen")
    assert f"key {kid}: revoked as of now" in said
    assert "gateway disconnect gw-kho-01" in said
    assert x509.load_pem_x509_crl((data / "revoked.pem").read_bytes())[0] is not None
    shown = _run(tmp_path, "gateway", "show", "gw-kho-01").splitlines()
    assert all("revoked 20" in line for line in shown)
    assert "nothing to revoke" in _run(tmp_path, "gateway", "revoke", "gw-kho-01", "--reason", "again", status=1)


def test_list_that_could_not_be_written_is_written_by_the_next_revoke(tmp_path: Path):
    _run(tmp_path, "gateway", "add", str(_public_half(tmp_path)))
    data, now_ms = tmp_path / "data", system_now_ms()
    engine, issuer = open_engine(sqlite_url(data / "cloud.db")), authority.load_or_create(data, now_ms)
    with writing(engine) as conn:
        key = authority.new_key().public_key()
        made = authority.issue_client(issuer, "gw-kho-01", key, now_ms=now_ms, lifetime=timedelta(days=9))
        links.keep(conn, "gw-kho-01", made, now_ms)
    engine.dispose()
    in_the_way = data / "revoked.pem"
    in_the_way.mkdir()
    again = ("gateway", "revoke", "gw-kho-01", "--reason", "stolen")
    assert "NOT in force" in _run(tmp_path, *again, status=1)
    in_the_way.rmdir()
    assert "nothing to revoke" in _run(tmp_path, *again, status=1)
    (listed,) = x509.load_pem_x509_crl(in_the_way.read_bytes())
    assert listed.serial_number == made.serial_number


def test_broker_that_is_not_there_is_told(tmp_path: Path):
    config = tmp_path / "cloud.toml"
    config.write_text("[enrol]\nbroker_port = 1\n")
    result = CliRunner().invoke(app, ["gateway", "disconnect", "gw-1", "--config", str(config)])
    assert result.exit_code == 1
    assert "broker 127.0.0.1:1" in result.output


def test_ledger_keys_are_printed_and_changed(tmp_path: Path):
    (first,) = _run(tmp_path, "ledger", "key").splitlines()
    old = parse_vkey(first.split("\t")[0])
    assert (old.name, first.split("\t")[1:]) == ("127.0.0.1:8080/ledger", ["from size 0", ""])
    assert _run(tmp_path, "ledger", "key").splitlines() == [first], "the key is made once"
    new = parse_vkey(_run(tmp_path, "ledger", "rotate").splitlines()[0])
    printed = [line.split("\t") for line in _run(tmp_path, "ledger", "key").splitlines()]
    assert [line[:2] for line in printed] == [[str(new), "from size 1"], [str(old), "from size 0"]]
    assert printed[1][2].startswith("until 20")
    assert (tmp_path / "data" / "ledger-key-2.pem").exists()


def test_ledger_key_is_not_changed_where_there_is_none(tmp_path: Path):
    _run(tmp_path, "migrate")
    assert "signed nothing yet" in _run(tmp_path, "ledger", "rotate", status=1)


def test_fsck_says_that_everything_agrees_or_what_does_not(tmp_path: Path):
    _run(tmp_path, "ledger", "key")
    _run(tmp_path, "gateway", "add", str(_public_half(tmp_path)))
    _run(tmp_path, "ledger", "rotate")
    assert _run(tmp_path, "fsck").endswith("everything agrees\n")
    told = json.loads(_run(tmp_path, "fsck", "--json").splitlines()[-1])
    assert (told["ok"], told["leaves"], told["divergences"]) == (True, 2, [])
    with sqlite3.connect(tmp_path / "data" / "cloud.db") as conn:
        conn.execute("UPDATE leaf SET hash = x'00' WHERE leaf_index = 0")
    conn.close()
    printed = _run(tmp_path, "fsck", status=1)
    assert "DIVERGES in" in printed
    assert "leaf 0 (key gw-kho-01): expected a row with the bytes 00" in printed
    told = json.loads(_run(tmp_path, "fsck", "--json", status=1).splitlines()[-1])
    assert told["divergences"][0]["where"] == "leaf 0 (key gw-kho-01)"
    (tmp_path / "data" / "cloud.db").write_bytes(b"not a database" * 1000)
    assert "error: " in _run(tmp_path, "fsck", status=2)
