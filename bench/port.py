"""Ports for servers that are started a moment after their port was chosen, and whether the cloud on one is well."""

from __future__ import annotations

import random
import socket
import urllib.error
import urllib.request

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


def is_well(port: int) -> bool:
    """Whether the cloud whose pages are on a loopback port says that every part of it works."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=2):
            return True
    except (urllib.error.HTTPError, OSError):  # not up, or not connected to the broker yet
        return False
