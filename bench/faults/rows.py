"""The table: every fault, what must hold, and the function that plays it."""

from __future__ import annotations

from bench.faults import broker, gateway, link
from bench.faults.row import Row

NOTHING = "0 lost, 0 doubled"

ROWS = [
    Row("broker stopped 20 s", f"{NOTHING}, resume ≤ 2 s", broker.stopped, peer=True),
    Row("broker killed -9 with its queue", f"{NOTHING}, resume ≤ 2 s", broker.killed, peer=True),
    Row("broker restarted empty", f"{NOTHING}, resume ≤ 2 s", broker.emptied, peer=True),
    Row("link silently swallowing 30 s", NOTHING, link.swallowing, peer=True),
    Row("link flapping every 5 s for 5 min", NOTHING, link.flapping, peer=True),
    Row(
        "gateway killed -9 under load",
        "0 of what was accepted lost, at most one window unaccepted, 0 doubled",
        gateway.killed_under_load,
        peer=True,
    ),
    Row("killed while offline, restarted offline, killed again, ×5", "0 lost", gateway.killed_offline, peer=True),
]
