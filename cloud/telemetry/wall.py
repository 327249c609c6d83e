"""The times of a block as its gateway believed them."""

from __future__ import annotations

from itertools import accumulate

from wire.pack import Block


def wall_times(block: Block) -> list[int]:
    """When each row was observed, as believed by the gateway, UTC ms."""
    steps = block.wall_dt_ms or block.dt_ms
    return list(accumulate(steps[1:], initial=block.base_wall_ms))
