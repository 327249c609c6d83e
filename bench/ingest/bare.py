"""The peer: what one writes in an afternoon. paho → JSON → SQLite, in batches; nothing is checked, nothing is signed.

    python -m bench.ingest.bare PORT FILE MESSAGES      until so many messages are committed

It keeps the promise that counts, and is quick for it: acknowledged after the commit (WAL, synchronous=FULL), one
transaction and one `executemany` for up to 100 messages, no columns but the three.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

TOPIC = "bench/+/values"
GROUP = 100
WINDOW_S = 0.05


def main() -> None:
    """Store until the number is reached; says `ready`, and in the end how long it took from the first message."""
    port, path, expected = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    database = sqlite3.connect(path, isolation_level=None)
    database.execute("PRAGMA journal_mode = WAL")
    database.execute("PRAGMA synchronous = FULL")
    database.execute(
        "CREATE TABLE reading (series TEXT, time_ms INTEGER, value REAL, PRIMARY KEY (series, time_ms)) WITHOUT ROWID"
    )
    waiting: queue.Queue[mqtt.MQTTMessage] = queue.Queue(1_000)
    client = mqtt.Client(
        CallbackAPIVersion.VERSION2, client_id="bare", protocol=MQTTProtocolVersion.MQTTv5, manual_ack=True
    )
    client.on_connect = lambda *_: client.subscribe(TOPIC, qos=1)
    client.on_subscribe = lambda *_: print("ready", flush=True)
    client.on_message = lambda _client, _data, message: waiting.put(message)
    client.connect("127.0.0.1", port)
    client.loop_start()
    stored, begin_s = 0, 0.0
    while stored < expected:
        group = [waiting.get()]
        begin_s = begin_s or time.monotonic()
        ends_s = time.monotonic() + WINDOW_S
        while len(group) < GROUP and (left_s := ends_s - time.monotonic()) > 0:
            try:
                group.append(waiting.get(timeout=left_s))
            except queue.Empty:
                break
        rows = []
        for message in group:
            rows += [(one["series"], one["time"], one["value"]) for one in json.loads(message.payload)]
        database.execute("BEGIN IMMEDIATE")
        database.executemany("INSERT OR IGNORE INTO reading VALUES (?, ?, ?)", rows)
        database.execute("COMMIT")
        for message in group:
            client.ack(message.mid, message.qos)
        stored += len(group)
    print(time.monotonic() - begin_s, flush=True)
    sys.stdin.readline()  # its costs are read before it ends
    client.disconnect()
    client.loop_stop()


if __name__ == "__main__":
    main()
