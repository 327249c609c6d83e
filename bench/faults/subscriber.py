"""A counting subscriber: what ThingsBoard's server would receive of a gateway's telemetry, written down as it comes.

    python -m bench.faults.subscriber PORT FILE     until SIGTERM; lines {"at_ms", "device", "key", "ts", "value"}

It answers the gateway's question for its session limits with "none", as a server without rate limits does, and keeps
its session (QoS 1), so that the broker holds for it what comes while it is away.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion

TELEMETRY = "v1/gateway/telemetry"
QUESTIONS = "v1/devices/me/rpc/request/+"
NO_LIMITS = {"messages": "", "telemetryMessages": "", "telemetryDataPoints": ""}
LIMITS = {
    "maxPayloadSize": 65_536,
    "maxInflightMessages": 100,
    "rateLimits": NO_LIMITS,
    "gatewayRateLimits": NO_LIMITS,
}
RECONNECT_S = 1  # paho knows whole seconds only


def main() -> None:
    """Count until told to stop."""
    port, path = int(sys.argv[1]), Path(sys.argv[2])
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with path.open("ab", buffering=0) as log:
        client = mqtt.Client(CallbackAPIVersion.VERSION2, client_id="bench-subscriber", clean_session=False)
        client.on_connect = _connected
        client.on_message = lambda _client, _data, message: _take(client, log, message)
        client.reconnect_delay_set(RECONNECT_S, RECONNECT_S)
        client.connect_async("127.0.0.1", port)
        client.loop_start()
        ended.wait()
        client.disconnect()
        client.loop_stop()


def _connected(client: mqtt.Client, *_: Any) -> None:
    client.subscribe([(TELEMETRY, 1), (QUESTIONS, 1)])


def _take(client: mqtt.Client, log: Any, message: mqtt.MQTTMessage) -> None:
    if message.topic != TELEMETRY:
        if json.loads(message.payload).get("method") == "getSessionLimits":
            client.publish(message.topic.replace("request", "response"), json.dumps(LIMITS), qos=1)
        return
    at_ms = time.time_ns() // 1_000_000
    encode = msgspec.json.encode
    lines = [
        encode({"at_ms": at_ms, "device": device, "key": key, "ts": entry["ts"], "value": int(value)})
        for device, entries in json.loads(message.payload).items()
        for entry in entries
        for key, value in entry["values"].items()
    ]
    log.write(b"".join(line + b"\n" for line in lines))


if __name__ == "__main__":
    main()
