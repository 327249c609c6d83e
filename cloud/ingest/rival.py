"""Whether another client has our name at the broker: then each pushes the other out, again and again.

MQTT 5 has a reason for that, and mosquitto 2.0.11 does not say it: it just ends the connection. A broker that restarts
does so, too, but refuses the first tries after it.
"""

from __future__ import annotations

SHORT_S = 10.0  # a connection that ended sooner was cut short; twice as long as a rival who gives way stays away
CUT_SHORT_MAX = 5  # in a row, with a broker that takes every connection: no network fails like that


class Rival:
    """How often in a row our connections were cut short. Times: monotonic seconds."""

    def __init__(self) -> None:
        self._since_s: float | None = None
        self._cut_short = 0

    def connected(self, now_s: float) -> None:
        """The broker took us."""
        self._since_s = now_s

    def unreachable(self) -> None:
        """There was no broker."""
        self._cut_short = 0

    def ended(self, now_s: float) -> bool:
        """A connection ended that we did not end; whether by a rival, as it seems."""
        if self._since_s is not None:
            self._cut_short = self._cut_short + 1 if now_s - self._since_s < SHORT_S else 0
            self._since_s = None
        return self._cut_short >= CUT_SHORT_MAX
