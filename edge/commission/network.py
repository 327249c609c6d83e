"""Which hosts a person means: names, addresses and networks, bounded."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence

HOSTS_MAX = 1024  # four networks of 254: each costs a connection attempt


class TooMany(ValueError):
    """More hosts than one scan looks at, or no network at all."""


def hosts_of(hosts: Sequence[str], networks: Sequence[str]) -> list[str]:
    """Every host once, in order. Raises TooMany."""
    found = dict.fromkeys(hosts)
    for text in networks:
        try:
            network = ipaddress.ip_network(text, strict=False)
        except ValueError as error:
            raise TooMany(f"--subnet {text[:60]}: not a network such as 192.168.1.0/24 ({error})") from error
        if network.num_addresses > HOSTS_MAX:
            raise TooMany(f"--subnet {text}: {network.num_addresses} addresses, one scan looks at {HOSTS_MAX}")
        found |= dict.fromkeys(str(each) for each in network.hosts())
    if len(found) > HOSTS_MAX:
        raise TooMany(f"{len(found)} hosts, one scan looks at {HOSTS_MAX}")
    return list(found)


def units_of(text: str) -> list[int]:
    """`1-16`, `1,3,7` or both, as Modbus unit ids. Raises ValueError."""
    units: dict[int, None] = {}
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        if not first.isdecimal() or (dash and not last.isdecimal()):
            raise ValueError(f"{text[:60]!r}: write units as in 1-16 or 1,3,7")
        span = range(int(first), int(last or first) + 1)
        if not span or not 1 <= span[0] <= span[-1] <= 247:
            raise ValueError(f"{text[:60]!r}: Modbus units are 1 to 247")
        units |= dict.fromkeys(span)
    return list(units)
