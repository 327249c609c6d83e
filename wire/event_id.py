"""The name of the event that a scan becomes: derived from the scan, so that everybody gives it the same."""

from __future__ import annotations

import uuid

#: Names our event ids (RFC 9562 §5.5); changing it would double every event.
_NAMESPACE = uuid.UUID("95f5039f-f527-5226-8502-ae2ed9c5fe1b")


def event_id_of(gateway: str, stream: bytes, seq: int, ordinal: int) -> str:
    """The id of the event of the scan with this identity."""
    return f"urn:uuid:{uuid.uuid5(_NAMESPACE, f'{gateway}/{stream.hex()}/{seq}/{ordinal}')}"
