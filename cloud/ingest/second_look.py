"""What came before its key or its gateway was known is judged again as soon as it is, whoever made it known.

`record` does that itself for the keys that packs bring. Two things it cannot see: a key or a gateway that a command
added, and keys whose packs were not judged any more because the process ended. So this chore looks at each entry once
after it came, and once after each change of the keys; at its start it has seen nothing.
"""

from __future__ import annotations

import hashlib
import threading

from sqlalchemy import Connection, Engine, select

from cloud.db.engine import reading
from cloud.db.tables import gateway_key
from cloud.ingest import quarantine
from cloud.ingest.accept import key_named_by
from cloud.ingest.record import replay
from wire.topics import TopicError, gateway_of

REST_S = 5.0
AT_ONCE = 50  # entries in one read; 256 KiB each at most
REASONS = ("unknown_gateway", "unknown_key")


class SecondLook:
    """A chore's step over one database. It remembers the keys it has seen, and the newest entry it has looked at."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._keys = b""
        self._after = 0

    def run_once(self, stop: threading.Event) -> int:
        """Judge again what signs with a known key by now; how many entries that were. Raises DatabaseUnavailable."""
        with reading(self._engine) as conn:
            known = _known(conn)
        keys = hashlib.sha256(b"".join(sorted(name.encode() + b"\0" + kid for name, kid in known))).digest()
        if keys != self._keys:
            self._keys, self._after = keys, 0
        judged = 0
        while not stop.is_set():
            with reading(self._engine) as conn:
                some = quarantine.ids(conn, *REASONS, after=self._after, limit=AT_ONCE)
                found = quarantine.entries(conn, some)
            if not some:
                break
            due = [one for one in found if one.whole and _signer(one) in known]
            if due:
                replay(self._engine, due)
                judged += len(due)
            self._after = some[-1]
        return judged


def _known(conn: Connection) -> set[tuple[str, bytes]]:
    return {(row.gateway, row.kid) for row in conn.execute(select(gateway_key.c.gateway, gateway_key.c.kid))}


def _signer(entry: quarantine.Entry) -> tuple[str, bytes] | None:
    try:
        name = gateway_of(entry.topic)
    except TopicError:
        return None
    kid = key_named_by(entry.raw)
    return None if kid is None else (name, kid)
