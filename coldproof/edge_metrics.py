"""A gateway's status as Prometheus text (exposition format 0.0.4), for a textfile collector or any scraper.

Names follow Prometheus' rules: base units in the name, counters end in `_total`. What isn't known has no sample.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge.budget import card_life_s, room_s
from edge.device import State
from edge.health import Health
from standards.exposition import label_text, number_text

PREFIX = "coldproof_gateway"
Sample = tuple[dict[str, str], float | None]


def exposition(health: Health) -> str:
    """The text, ending in a line feed."""
    out: list[str] = []
    for name, kind, text, samples in _families(health):
        told = [(labels, value) for labels, value in samples if value is not None]
        if not told:
            continue
        out += [f"# HELP {PREFIX}_{name} {text}", f"# TYPE {PREFIX}_{name} {kind}"]
        out += [f"{PREFIX}_{name}{label_text(labels)} {number_text(value)}" for labels, value in told]
    return "\n".join(out) + "\n"


def _families(health: Health) -> Iterable[tuple[str, str, str, list[Sample]]]:
    who = {"gateway": health.gateway, "version": health.version, "simulated": str(health.simulated).lower()}
    yield "info", "gauge", "Which gateway this is.", [(who, 1)]
    for name, kind, text, value in (*_of_buffer(health), *_of_uplink(health), *_of_host(health)):
        yield name, kind, text, [({}, value)]
    counts = [({"what": what}, float(count)) for what, count in sorted(health.uplink.counts.items())]
    yield "uplink_events_total", "counter", "Packs, letters and connections, by what became of them.", [*counts]
    yield from _of_devices(health)


def _of_buffer(health: Health) -> Iterable[tuple[str, str, str, float | None]]:
    buffer, intake = health.buffer, health.intake
    oldest = buffer.oldest_unsent_ms
    waits_s = 0.0 if oldest is None else max(0, health.clock_ms - oldest) / 1000
    yield "up", "gauge", "Whether the gateway runs.", health.fresh
    yield "clock_synchronized", "gauge", "Whether its clock is synchronised.", health.clock_state == "synced"
    yield "observations_accepted_total", "counter", "Observations on the disk.", intake.accepted
    yield "observations_refused_total", "counter", "Observations not recorded.", intake.refused
    yield "observations_damaged_total", "counter", "Observations damaged before sealing.", buffer.damaged_observations
    yield "observations_thinned_total", "counter", "Readings left out and declared.", buffer.thinned_readings
    yield "packs_lost_total", "counter", "Packs declared lost.", buffer.lost_packs
    yield "packs_refused", "gauge", "Packs the cloud refused, kept.", buffer.refused_packs
    yield "packs_unsent", "gauge", "Packs without a receipt.", buffer.unsent_packs
    yield "packs_archived", "gauge", "Receipted packs still held.", buffer.archive_packs
    yield "observations_open", "gauge", "Observations not yet in a pack.", buffer.open_observations
    yield "observations_unsent", "gauge", "Observations in packs without a receipt.", buffer.unsent_observations
    yield "oldest_unsent_age_seconds", "gauge", "Age of the oldest observation not receipted.", waits_s
    yield "buffer_size_bytes", "gauge", "Size of the buffer file.", buffer.bytes
    yield "buffer_limit_bytes", "gauge", "The most it may take.", buffer.max_bytes
    yield "buffer_unsent_bytes", "gauge", "Packs without a receipt.", buffer.unsent_bytes
    yield "buffer_full", "gauge", "Whether nothing more is recorded.", buffer.full
    yield "buffer_files_set_aside", "gauge", "Corrupt buffer files kept for rescue.", len(buffer.set_aside)
    yield "room_seconds", "gauge", "Time without the cloud until the buffer is full.", room_s(health)


def _of_uplink(health: Health) -> Iterable[tuple[str, str, str, float | None]]:
    uplink = health.uplink
    last_s = None if uplink.last_receipt_ms is None else uplink.last_receipt_ms / 1000
    left_s = None if uplink.certificate_days is None else uplink.certificate_days * 86_400
    yield "uplink_connected", "gauge", "Whether the broker is connected.", uplink.connected
    yield "uplink_packs_in_flight", "gauge", "Packs sent and not receipted.", uplink.in_flight
    yield "uplink_unanswered_seconds", "gauge", "For how long receipts are missing.", uplink.unanswered_s
    yield "uplink_last_receipt_timestamp_seconds", "gauge", "When the last receipt came.", last_s
    yield "certificate_expiry_seconds", "gauge", "Time until our certificate expires.", left_s


def _of_host(health: Health) -> Iterable[tuple[str, str, str, float | None]]:
    host = health.host
    yield "uptime_seconds", "gauge", "Since the start.", host.uptime_s
    yield "cpu_seconds_total", "counter", "Processor time, user and system.", host.cpu_s
    yield "resident_memory_bytes", "gauge", "Resident memory.", host.resident_bytes
    yield "disk_written_bytes_total", "counter", "Bytes sent to the disk.", host.written_bytes
    yield "disk_free_bytes", "gauge", "Free on the disk.", host.disk_free_bytes
    yield "card_life_seconds", "gauge", "Until the card has taken what it is good for.", card_life_s(health)


def _of_devices(health: Health) -> Iterable[tuple[str, str, str, list[Sample]]]:
    states: list[Sample] = [
        ({"device": device.name, "state": state}, device.state == state) for device in health.devices for state in State
    ]
    yield "device_state", "gauge", "1 for the state a device is in.", states
    for name, kind, text, field in (
        ("device_polls_total", "counter", "Exchanges begun.", "polls"),
        ("device_observations_total", "counter", "Observations it gave.", "observations"),
        ("device_failures_total", "counter", "Exchanges it did not answer.", "failures"),
        ("device_bad_replies_total", "counter", "Answers nobody could use.", "bad_replies"),
        ("device_error_ratio", "gauge", "Part of the last 100 exchanges that gave nothing.", "error_rate"),
    ):
        yield name, kind, text, [({"device": device.name}, getattr(device, field)) for device in health.devices]
    seen: list[Sample] = [
        ({"device": device.name}, None if device.last_seen_ms is None else device.last_seen_ms / 1000)
        for device in health.devices
    ]
    yield "device_last_seen_timestamp_seconds", "gauge", "When it last gave something.", seen
