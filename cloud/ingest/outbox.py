"""Commands on their way to the broker: they wait in the database, whoever issued them, until it has them.

None is lost between its commit and the broker; one that is published twice, by two workers at once or after a crash,
does no harm: gateways take each counter once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import takewhile

from sqlalchemy import Engine

from cloud.clock import Now
from cloud.db.engine import reading, writing
from cloud.ingest import command
from wire.topics import down_command

LOOK_S = 1.0
AT_ONCE = 100

Publish = Callable[[str, bytes], bool]


class Outbox:
    """Gives the broker the commands that wait. Times: monotonic seconds."""

    def __init__(self, engine: Engine, now: Now) -> None:
        self._engine = engine
        self._now = now
        self._next_look_s = 0.0

    def turn(self, publish: Publish, now_s: float | None = None) -> int:
        """Look once in a while and give away what waits; how many those were. Raises DatabaseUnavailable."""
        now_s = time.monotonic() if now_s is None else now_s
        if now_s < self._next_look_s:
            return 0
        self._next_look_s = now_s + LOOK_S
        return self.give(publish)

    def give(self, publish: Publish) -> int:
        """Give away what waits, as far as the broker takes it; how many those were. Raises DatabaseUnavailable."""
        with reading(self._engine) as conn:
            waiting = command.waiting(conn, self._now(), AT_ONCE)
        sent = list(takewhile(lambda one: publish(down_command(one.gateway), one.envelope), waiting))
        if sent:
            with writing(self._engine) as conn:
                command.published(conn, sent, self._now())
        return len(sent)
