"""The uplink's options, its visible state, and its errors.

UplinkError
├── BrokerUnavailable         retry: no connection, or it was lost
│   └── BrokerAbsent          retry soon: nobody listens there, or there is no network; trying costs the broker nothing
├── BrokerRefused             retry slowly: the broker answered, and said no (CONNACK, SUBACK)
├── UplinkMisconfigured       retry slowly: certificates or the cloud's key cannot be read; recording goes on meanwhile
└── LetterRefused             reject: count it, go on
"""

from __future__ import annotations

import msgspec


class UplinkError(Exception):
    """What the uplink's connection may raise; `str()` says what, where, why and what to do."""


class BrokerUnavailable(UplinkError):
    """There is no connection to the broker."""


class BrokerAbsent(BrokerUnavailable):
    """Nobody listens at the broker's address, or no way leads there."""


class BrokerRefused(UplinkError):
    """The broker answered and refused."""


class UplinkMisconfigured(UplinkError):
    """The uplink cannot work with the files it was given; they may be put right at any time."""


class LetterRefused(UplinkError):
    """A letter from the broker is not the cloud's word to us. `reason` is one word for counting."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


class TlsOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Paths of PEM files. Without `ca` the system's authorities count; certificate and key belong together."""

    ca: str | None = None
    certificate: str | None = None
    key: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate is None) != (self.key is None):
            raise ValueError("certificate and key belong together: give both or none")


class UplinkOptions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where packs go, and how fast.

    cloud_key: the pinned key of the cloud, a path or base64 (edge.keys.load_cloud_key reads it).
    window: packs on their way without a receipt. retry_s: when such a pack is sent again, at first.
    keepalive_s: a link that says nothing is asked after this, and given up after two of these.
    """

    host: str
    cloud_key: str
    port: int = 1883
    tls: TlsOptions | None = None
    backfill_readings_per_s: int = 5_000
    window: int = 40
    retry_s: float = 30.0
    keepalive_s: int = 4

    def __post_init__(self) -> None:
        if not self.host:
            raise ValueError("host is empty: give the broker's name or address")
        for name, low, high in (
            ("port", 1, 65_535),
            ("backfill_readings_per_s", 1, 1_000_000),
            ("window", 8, 50),
            ("retry_s", 1, 3600),
            ("keepalive_s", 1, 600),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise ValueError(f"{name} = {value}: allowed are {low} to {high}")


class UplinkState(msgspec.Struct, frozen=True):
    """The uplink at one moment.

    last_error: why there is no connection, or the latest refusal; empty when all is well.
    unanswered_s: for how long the broker has been taking packs while no receipt comes; 0 when none is missing.
    certificate_days: until our certificate expires, negative afterwards; None without one, or while it is unreadable.
    counts: letters by what became of them (receipts, forged, foreign, malformed, …) and packs sent and sent again.
    """

    connected: bool
    last_error: str
    in_flight: int
    last_receipt_ms: int | None
    checkpoint_size: int
    checkpoint_root: str
    counts: dict[str, int]
    unanswered_s: float = 0.0
    certificate_days: float | None = None
