"""The configuration: paths from the file's folder, and every mistake named with what is allowed."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from cloud import config
from cloud.enrol import admission
from cloud.strict_toml import DocumentError
from edge.enrol import RENEW_BEFORE

FULL = """
[cloud]
data_dir = "store"
public_url = "https://cold.example"
[clock]
simulated = "time.json"
[broker]
host = "broker.example"
port = 8883
username = "ingest"
password = "p"
client_id = "ingest-2"
[broker.tls]
ca = "tls/ca.crt"
certificate = "tls/ingest.crt"
key = "tls/ingest.key"
[web]
host = "0.0.0.0"
port = 80
[ingest]
group_packs = 10
[enrol]
broker_host = "mqtt.example"
broker_dir = "mosquitto"
[mirror]
url = "http://127.0.0.1:8428"
bucket = "cold"
token_file = "secret/token"
[ledger]
checkpoint_every_s = 30
[[ledger.witness]]
url = "https://witness.example/cold"
vkey = "witness.example+8f69c9b6+BCTW"
[ledger.timestamp]
url = "http://tsa.example"
certificate = "tsa.pem"
roots = "roots.pem"
"""


def _load(folder: Path, text: str) -> config.CloudConfig:
    file = folder / "cloud.toml"
    file.write_text(text, "utf-8")
    return config.load(file)


def test_paths_start_at_the_files_folder(tmp_path: Path):
    found = _load(tmp_path, FULL)
    assert found.data_dir == tmp_path / "store"
    assert found.database_url == f"sqlite:///{tmp_path}/store/cloud.db"
    assert found.simulated_time == tmp_path / "time.json"
    assert found.broker.tls is not None
    assert found.enrol.broker_dir == tmp_path / "mosquitto"
    assert found.mirror is not None
    assert (found.mirror.token_file, found.mirror.org, found.mirror.gzip) == (tmp_path / "secret/token", "", False)
    assert found.broker.tls.certificate == tmp_path / "tls/ingest.crt"
    assert (found.public_url, found.ingest.group_packs, found.ingest.receipt_every_ms) == (
        "https://cold.example",
        10,
        200,
    )
    assert (found.ledger.checkpoint_every_s, found.ledger.checkpoint_every_leaves) == (30, 10_000)
    assert found.ledger.witness == [
        config.WitnessConfig("https://witness.example/cold", "witness.example+8f69c9b6+BCTW")
    ]
    assert found.ledger.timestamp is not None
    assert (found.ledger.timestamp.roots, found.ledger.timestamp.every_s) == (tmp_path / "roots.pem", 86_400)


@pytest.mark.parametrize(
    ("public_url", "ledger", "origin"),
    [
        ("https://cold.example", "", "cold.example/ledger"),
        ("https://cold.example:8443/kho/", "", "cold.example:8443/kho/ledger"),
        ("https://cold.example", 'origin = "log.example/kho-lanh"', "log.example/kho-lanh"),
    ],
)
def test_log_is_called_after_the_place_it_is_served_at(tmp_path: Path, public_url: str, ledger: str, origin: str):
    text = f'[cloud]\npublic_url = "{public_url}"\n[ledger]\n{ledger}\n'
    assert _load(tmp_path, text).ledger_origin == origin


def test_empty_file_means_one_machine(tmp_path: Path):
    found = _load(tmp_path, "")
    assert (found.broker.host, found.broker.port, found.web.port) == ("127.0.0.1", 1883, 8080)
    assert found.public_url == "http://127.0.0.1:8080"
    assert found.simulated_time is None
    assert found.data_dir == tmp_path / "data"
    assert found.mirror is None
    assert (found.enrol.broker_host, found.enrol.broker_dir, found.public_host) == (None, None, "127.0.0.1")


def test_gateways_are_led_to_a_host_and_nothing_else(tmp_path: Path):
    with pytest.raises(DocumentError, match="broker_host"):
        _load(tmp_path, FULL.replace("mqtt.example", "x\\n[evil]"))


def test_certificate_lives_much_longer_than_it_takes_to_renew_it(tmp_path: Path):
    assert _load(tmp_path, "[enrol]\ncertificate_days = 60\n").enrol.certificate_days == 60
    assert timedelta(days=60) >= 2 * max(admission.RENEW_BEFORE, RENEW_BEFORE)
    for days in (1, 30, 59):
        with pytest.raises(DocumentError, match="certificate_days"):
            _load(tmp_path, f"[enrol]\ncertificate_days = {days}\n")


def test_defaults_need_no_file(tmp_path: Path):
    assert config.defaults(tmp_path).database_url == f"sqlite:///{tmp_path}/cloud.db"


def test_reading_touches_nothing(tmp_path: Path):
    _load(tmp_path, FULL)
    assert [file.name for file in tmp_path.iterdir()] == ["cloud.toml"]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "[web]",
            "[wep]",
            "wep: unknown key, allowed here: broker, clock, cloud, enrol, ingest, ledger, logging, mirror, w",
        ),
        ('host = "broker', 'hots = "broker', r"broker.hots: unknown key, allowed here: client_id, host"),
        ("ca = ", "root = ", "broker.tls.root: unknown key, allowed here: ca, certificate, key"),
        ("port = 8883", 'port = "8883"', r"Expected `int`, got `str` - at `broker.port`"),
        ("port = 8883", "port = 0", r"broker.port"),
        ("checkpoint_every_s = 30", "checkpoint_every_s = 0", r"ledger.checkpoint_every_s"),
        ("checkpoint_every_s = 30", 'origin = "cold.example/a b"', r"ledger.origin"),
        ("http://tsa.example", "file:///etc/passwd", r"ledger.timestamp.url"),
        ("group_packs = 10", "group_packs = 0", r"ingest.group_packs"),
        ('data_dir = "store"', "data_dir = 5", r"cloud.data_dir"),
        ("http://127", "ftp://127", r"mirror.url"),
        ("http://127", "http://me:secret@127", r"mirror.url"),
        ('token_file = "secret/token"', 'token = "s"', "mirror.token: unknown key, allowed here: bucket, gzip, org"),
        ('client_id = "ingest-2"', 'client_id = ""', r"broker.client_id"),
        ("[cloud]", "[cloud", "not TOML"),
    ],
)
def test_mistake_is_named_with_its_path(tmp_path: Path, old: str, new: str, words: str):
    assert old in FULL
    with pytest.raises(DocumentError, match=words) as caught:
        _load(tmp_path, FULL.replace(old, new))
    assert "cloud.toml: " in str(caught.value)


def test_huge_file_is_not_read(tmp_path: Path):
    with pytest.raises(DocumentError, match="is this the right file"):
        _load(tmp_path, "#" * 5_000_000)
