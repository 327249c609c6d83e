"""An auditor with two keys, over real processes: what is recorded is provable and cosigned, also after a kill."""

from __future__ import annotations

import io
import json
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from cloud.db.engine import migrate, open_engine, sqlite_url, writing
from cloud.ledger.log import leaf_data, payload_hash
from cloud.registry.keys import add_gateway
from coldproof import ledger_check
from standards.tlog.checkpoint import Checkpoint, CheckpointError, opened
from standards.tlog.key import VerifierKey, parse_vkey
from standards.tlog.note import NoteError
from standards.tlog.proof import range_root
from standards.tlog.tile import ENTRIES, TileNodes, entries_of, tile_at
from tests.cloud.field import START_MS, Gateway

pytestmark = pytest.mark.journey

DEADLINE_S = 30
PACKS = 40


def coldproof(*words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "coldproof.main", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def said(*words: str) -> str:
    process = coldproof(*words)
    out, _ = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == 0, out
    return out


class House:
    """A cloud with a witness, each a process; `url` is where an auditor looks."""

    def __init__(self, folder: Path, broker_port: int, free_port: Callable[[], int]) -> None:
        self.folder, self.web, self.away = folder, free_port(), free_port()
        self.gateway = Gateway("gw-kho-01")
        self.broker_port = broker_port
        self.running: list[subprocess.Popen[str]] = []
        witness_file = folder / "witness.toml"
        config = f'[cloud]\ndata_dir = "data"\n[broker]\nport = {broker_port}\n[web]\nport = {self.web}\n'
        config += "[ledger]\norigin = 'cold.example/ledger'\ncheckpoint_every_s = 1\n"
        (folder / "cloud.toml").write_text(config)
        engine = open_engine(sqlite_url(folder / "data" / "cloud.db"))
        migrate(engine)
        with writing(engine) as conn:
            add_gateway(conn, self.gateway.public_half, START_MS)
        engine.dispose()
        printed = said("cloud", "ledger", "key", "--config", str(folder / "cloud.toml"))
        self.log = parse_vkey(printed.splitlines()[-1].split("\t")[0])
        known = f'[[log]]\norigin = "{self.log.name}"\nvkeys = ["{self.log}"]\n'
        witness_file.write_text(f'name = "witness.example"\nport = {self.away}\n{known}')
        self.witness: VerifierKey = parse_vkey(said("ledger", "witness", str(witness_file), "--vkey").strip())
        with (folder / "cloud.toml").open("a") as file:
            file.write(f'[[ledger.witness]]\nurl = "http://127.0.0.1:{self.away}"\nvkey = "{self.witness}"\n')

    def start(self) -> None:
        self.running += [
            coldproof("cloud", "serve", str(self.folder / "cloud.toml")),
            coldproof("ledger", "witness", str(self.folder / "witness.toml")),
        ]

    def end(self, sign: signal.Signals) -> None:
        for process in self.running:
            process.send_signal(sign)
            process.communicate(timeout=DEADLINE_S)
        self.running = []

    def get(self, path: str) -> bytes:
        with urllib.request.urlopen(f"http://127.0.0.1:{self.web}{path}", timeout=10) as answer:
            return bytes(answer.read())

    def checkpoint(self, size: int) -> Checkpoint:
        """Wait for a checkpoint of at least this size that log and witness have signed."""
        deadline, why = time.monotonic() + DEADLINE_S, ""
        while time.monotonic() < deadline:
            try:
                note = self.get("/ledger/checkpoint")
                head = opened(note, origin=self.log.name, log=[self.log], witnesses=[self.witness], quorum=1)
                if head.size >= size:
                    return head
            except (OSError, NoteError, CheckpointError) as error:
                why = str(error)
            time.sleep(0.05)
        pytest.fail(f"no cosigned checkpoint of {size}: {why}")

    def publish(self, envelopes: list[bytes]) -> None:
        client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
        client.connect("127.0.0.1", self.broker_port)
        client.loop_start()
        for envelope in envelopes:
            client.publish(self.gateway.topic, envelope, qos=1).wait_for_publish(DEADLINE_S)
        client.disconnect()
        client.loop_stop()


@pytest.fixture
def house(tmp_path: Path, broker: Any, free_port: Callable[[], int]) -> Iterator[House]:
    made = House(tmp_path, broker.port, free_port)
    made.start()
    yield made
    made.end(signal.SIGKILL)


def test_auditor_follows_the_log_through_a_kill(house: House) -> None:
    first = house.checkpoint(1)
    envelopes = house.gateway.chain(PACKS)
    house.publish(envelopes[: PACKS // 2])
    house.checkpoint(1 + PACKS // 2)
    house.end(signal.SIGKILL)
    house.start()
    house.checkpoint(1 + PACKS // 2)
    house.publish(envelopes)
    last = house.checkpoint(1 + PACKS)
    assert last.size == 1 + PACKS, "nothing is recorded twice"

    growth = house.get(f"/api/v1/ledger/consistency?size1={first.size}&size2={last.size}")
    inclusion = house.get(f"/api/v1/ledger/inclusion?leaf=7&size={last.size}")
    answers = [json.loads(one) for one in ledger_check.answers(io.BytesIO(growth + inclusion))]
    assert answers == [{"ok": True}, {"ok": True}]
    assert (json.loads(growth)["root1"], json.loads(growth)["root2"]) == (first.root.hex(), last.root.hex())

    tiles = TileNodes(lambda tile: house.get(f"/ledger/{tile.path()}"), last.size)
    assert range_root(tiles.node, 0, last.size) == last.root
    bundle = tile_at(ENTRIES, 0, size=last.size)
    entries = entries_of(house.get(f"/ledger/{bundle.path()}"), bundle)
    assert {leaf_data("pack", payload_hash(one)) for one in envelopes} == set(entries[1:])

    house.end(signal.SIGTERM)
    assert said("cloud", "fsck", "--config", str(house.folder / "cloud.toml")).endswith("everything agrees\n")
