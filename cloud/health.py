"""How the parts of a running cloud are, with reasons: what `/healthz` shows."""

from __future__ import annotations

from collections.abc import Callable

import msgspec


class PartHealth(msgspec.Struct, frozen=True):
    """One part. state: what it is doing, or why it cannot."""

    ok: bool
    state: str


class Health(msgspec.Struct, frozen=True):
    """Every part by name. counters: what ingest has done since the start."""

    parts: dict[str, PartHealth]
    counters: dict[str, int] = {}

    @property
    def ok(self) -> bool:
        """Whether every part does its work."""
        return all(part.ok for part in self.parts.values())


HealthOf = Callable[[], Health]
