"""The cloud as a process, a real broker and a real server: all readings are mirrored, whoever died meanwhile."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
from paho.mqtt import client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from sqlalchemy import Engine, func, select

from cloud.db.engine import migrate, open_engine, sqlite_url, writing
from cloud.db.engine import reading as look
from cloud.db.tables import pack
from cloud.registry.keys import add_gateway
from coldproof.demo.broker import LocalBroker
from tests.cloud.field import START_MS, Gateway
from tests.cloud.mirror.site import recorded_points, site, until
from tests.cloud.mirror.victoria import Victoria
from tests.cloud.test_app import Cloud

LIVES, EACH = 3, 100


class _Configured(Cloud):
    """A cloud process by its configuration file."""

    def __init__(self, config: Path, web_port: int) -> None:
        self.url = f"http://127.0.0.1:{web_port}"
        command = [sys.executable, "-m", "coldproof.main", "cloud", "serve", str(config)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.timeout(120)
def test_everything_is_there_after_kills_of_the_cloud_and_a_server_that_was_away(
    tmp_path: Path, broker: LocalBroker, victoria: Victoria, free_port: Callable[[], int]
):
    gateway, folder, web_port = Gateway("gw-kho-01"), tmp_path / "cloud", free_port()
    engine = open_engine(sqlite_url(folder / "cloud.db"))
    migrate(engine)
    with writing(engine) as conn:
        add_gateway(conn, gateway.public_half, START_MS)
    config = tmp_path / "cloud.toml"
    config.write_text(
        f'[cloud]\ndata_dir = "{folder}"\n[broker]\nport = {broker.port}\n[web]\nport = {web_port}\n'
        f'[mirror]\nurl = "{victoria.url}"\nbucket = "cold"\n'
    )
    envelopes = site(gateway, LIVES * EACH)
    with _publisher(broker.port) as publish:
        for life in range(LIVES):
            cloud = _Configured(config, web_port)
            cloud.wait_for(200)
            if life == 1:
                victoria.stop()
            for envelope in envelopes[life * EACH : (life + 1) * EACH]:
                publish(gateway.topic, envelope)
            _until_stored(engine, life * EACH + 20)
            cloud.end(signal.SIGKILL)
        victoria.start()
        last = _Configured(config, web_port)
        last.wait_for(200)
        _until_stored(engine, LIVES * EACH)
        until(lambda: last.health()[1]["parts"]["mirror"]["state"] == "up to date")
        assert last.health()[1]["counters"]["mirror_lag_leaves"] == 0
        assert 'coldproof_follower_lag_leaves{follower="mirror"} 0\n' in httpx.get(f"{last.url}/metrics").text
    recorded = recorded_points(engine, gateway)
    engine.dispose()
    assert len(recorded) > LIVES * EACH * 18
    assert victoria.points() == recorded
    status, said = last.end()
    assert status == 0, said


def _until_stored(engine: Engine, packs: int) -> None:
    def stored() -> int:
        with look(engine) as conn:
            return int(conn.scalar(select(func.count()).select_from(pack)) or 0)

    until(lambda: stored() >= packs)


@contextmanager
def _publisher(port: int) -> Iterator[Callable[[str, bytes], None]]:
    client = paho.Client(CallbackAPIVersion.VERSION2, protocol=MQTTProtocolVersion.MQTTv5)
    client.connect("127.0.0.1", port)
    client.loop_start()
    yield lambda topic, payload: client.publish(topic, payload, qos=1).wait_for_publish(10)
    client.disconnect()
    client.loop_stop()
