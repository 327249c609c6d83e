"""When this program was made: a time that has certainly passed, for gateways whose clock knows nothing better."""

from __future__ import annotations

import datetime

RELEASED_AT_MS = int(datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC).timestamp() * 1000)
