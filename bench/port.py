"""Ports for servers that are started a moment after their port was chosen."""

from __future__ import annotations

import random
import socket

LOWEST, HIGHEST = 10_000, 32_000  # below those Linux gives to outgoing connections (ip_local_port_range)

_rng = random.SystemRandom()


def quiet_port() -> int:
    """A free loopback port that no outgoing connection takes until its server listens."""
    while True:
        port = _rng.randrange(LOWEST, HIGHEST)
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
