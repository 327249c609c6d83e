"""`[local]`: the page that a gateway serves at the site. Without the table there is none."""

from __future__ import annotations

from typing import Annotated

import msgspec


class LocalTable(msgspec.Struct, frozen=True):
    """listen: the address of this machine that may be asked; 127.0.0.1 is nobody but this machine (and SSH tunnels)."""

    listen: Annotated[str, msgspec.Meta(min_length=1, max_length=253)] = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=1, le=65_535)] = 8480
