"""How long room and card will last, from what was measured since the start. Pure.

What was written is what the kernel sent to the disk for this process. The card itself writes more than that, by a
factor nobody outside can see; makers give the endurance they vouch for in terabytes written by the host.
"""

from __future__ import annotations

from edge.health import Health

SURE_AFTER_S = 600.0  # before that a rate says nothing
ROW_OVERHEAD = 1.1  # of a pack's bytes: its row, index entry and share of a page


def written_per_observation(health: Health) -> float | None:
    """Bytes the disk was sent per accepted observation; None while nobody can tell."""
    written, accepted = health.host.written_bytes, health.intake.accepted
    return None if written is None or accepted == 0 else written / accepted


def card_life_s(health: Health) -> float | None:
    """Seconds until the card has taken the bytes it is good for, at the rate since the start; None: not known yet."""
    host = health.host
    if host.uptime_s < SURE_AFTER_S or not host.written_bytes:
        return None
    return health.card_endurance_bytes * host.uptime_s / host.written_bytes


def room_bytes(health: Health) -> int:
    """Bytes of unsent data that still fit: within the bound, and within what the disk has beside its reserve."""
    buffer = health.buffer
    disk = max(0, health.host.disk_free_bytes - health.min_free_bytes)
    return max(0, min(buffer.max_bytes, buffer.bytes + disk) - buffer.unsent_bytes)


def room_s(health: Health) -> float | None:
    """Seconds without the cloud until the bound is reached, at the rate since the start; None: not known yet."""
    buffer = health.buffer
    packs = buffer.unsent_packs + buffer.archive_packs
    sealed = buffer.head_seq - health.head_seq_at_start
    if health.host.uptime_s < SURE_AFTER_S or packs == 0 or sealed <= 0:
        return None
    per_pack_bytes = ROW_OVERHEAD * (buffer.unsent_bytes + buffer.archive_bytes) / packs
    return room_bytes(health) * health.host.uptime_s / (sealed * per_pack_bytes)
