"""How long a supervisor bears with a device, in real seconds."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

HOST_PAUSE_S = 5.0  # at 2 s, 20 hosts that refuse cost 1.4 % of a core; looking for a serial port costs next to nothing


class Patience(msgspec.Struct, frozen=True):
    """Real seconds a supervisor grants.

    hang: for one open or poll of a driver that does not keep its own timeout. On a shared line an exchange also
    waits for its turn, so this is far above any timeout. stable: a listener that lasted this long has recovered.
    absent: the longest pause while the device cannot even be opened; long_absent: the same, when that has lasted for
    absent_for. busy: the pauses before a device that says it is busy is asked again, within its turn.
    """

    hang_s: float = 60.0
    close_s: float = 5.0
    first_pause_s: float = 0.5
    longest_pause_s: float = 8.0
    absent_pause_s: float = 2.0
    long_absent_pause_s: float = 2.0
    absent_for_s: float = 60.0
    failures: int = 5  # in a row, until the breaker opens
    probe_s: float = 30.0
    stable_s: float = 10.0
    after_bad_reply_s: float = 0.01
    busy_s: tuple[float, ...] = (0.1, 0.2, 0.4)


def patience_for(claimed: Iterable[str]) -> Patience:
    """The patience for a device that occupies these (`Claim.what`)."""
    by_network = any(what.startswith("tcp:") for what in claimed)
    return Patience(long_absent_pause_s=HOST_PAUSE_S) if by_network else Patience()
