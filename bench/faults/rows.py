"""The table: every fault, what must hold, and the function that plays it."""

from __future__ import annotations

from bench.faults import broker, card, clock, cloud, crash, disk, gateway, ingest, link, month
from bench.faults.row import Row

NOTHING = "0 lost, 0 doubled"
KILL = "0 of what was accepted lost, at most one window unaccepted, 0 doubled"
POWER = "0 of what was accepted lost, database opens, 0 doubled"
RECORD = "0 of what was acknowledged or receipted lost, 0 doubled, fsck clean, projections right"
DISK = "recording resumes; what is lost is declared, signed and shown"
CLOCK = "order kept, corrected times right to 1 s also for packs already sent, correction visible"
CARD = "new stream, nothing refused for good, 0 lost, 0 doubled"

ROWS = [
    Row("broker stopped 20 s", f"{NOTHING}, resume ≤ 2 s", broker.stopped, peer=True),
    Row("broker killed -9 with its queue", f"{NOTHING}, resume ≤ 2 s", broker.killed, peer=True),
    Row("broker restarted empty", f"{NOTHING}, resume ≤ 2 s", broker.emptied, peer=True),
    Row("link silently swallowing 30 s", NOTHING, link.swallowing, peer=True),
    Row("link flapping every 5 s for 5 min", NOTHING, link.flapping, peer=True),
    Row("gateway killed -9 at 500 seeded points", KILL, crash.gateway_kills),
    Row("gateway killed -9 under load", KILL, gateway.killed_under_load, peer=True),
    Row("killed while offline, restarted offline, killed again, ×5", "0 lost", gateway.killed_offline, peer=True),
    Row("the same at seeded points", "0 lost", crash.offline_kills),
    Row("power cut at 500 seeded points, writes dropped or torn", POWER, crash.power_cuts),
    Row("cloud killed -9 at 300 seeded points", f"{NOTHING} after recovery, fsck clean", crash.cloud_kills),
    Row("power cut of the cloud at 200 seeded points, writes dropped or torn", RECORD, crash.cloud_power_cuts),
    Row("cloud killed -9 under load", f"{NOTHING} after recovery", cloud.killed_under_load),
    Row("cloud database restored from an hour ago", f"{NOTHING} after recovery", cloud.restored),
    Row(
        "ingest sent 10,000 messages of 20 kinds that are no packs, among good ones",
        "rate falls < 20 %, all quarantined with their reason, none stored",
        ingest.poisoned,
    ),
    Row(
        "ingest sent three times the sustainable rate for 60 s, broker as shipped",
        f"{NOTHING} after sending again",
        ingest.overloaded,
    ),
    Row("disk full", DISK, disk.full),
    Row("file system read-only", DISK, disk.read_only),
    Row("buffer file corrupted", DISK, disk.corrupted),
    Row("buffer file corrupted at 500 seeded places", DISK, crash.corruptions),
    Row("clock −1 day", CLOCK, clock.back),
    Row("clock +1 day", CLOCK, clock.forward),
    Row("1970 at boot", CLOCK, clock.began_1970),
    Row("NTP after 10 min", CLOCK, clock.late_ntp),
    Row(
        "30 days offline, 20 sensors at 1 min",
        "fits in 64 MB, drains completely, live readings ≤ seal_after_s + 2 s old meanwhile",
        month.offline,
    ),
    Row("card image cloned", CARD, card.cloned),
    Row("card image restored from last week", CARD, card.restored),
]
