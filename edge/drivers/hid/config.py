"""The keys of a `[[device]]` with `driver = "hid"`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import msgspec

from edge.drivers.barcode.options import ScanOptions
from edge.drivers.base import Claim
from edge.drivers.hid.codec import HidSuffix
from standards.gs1.keyboard import Layout

Text = Annotated[str, msgspec.Meta(max_length=256)]


class Match(msgspec.Struct, frozen=True):
    """`[device.match]`: how to know the scanner among the input devices; what is empty is not asked for.

    name: what the maker calls it. phys: where it is plugged in. uniq: its serial number, or Bluetooth address.
    """

    name: Text = ""
    phys: Text = ""
    uniq: Text = ""

    def __str__(self) -> str:
        said = {"name": self.name, "phys": self.phys, "uniq": self.uniq}
        return ", ".join(f'{key} = "{value}"' for key, value in said.items() if value)


class HidConfig(ScanOptions, frozen=True, kw_only=True):
    """One scanner that plays a keyboard: `path` (best one of /dev/input/by-id) or `match` says which.

    layout: the keyboard the scanner thinks it is. suffix: the key it presses after a code.
    """

    path: Annotated[str, msgspec.Meta(max_length=4096)] = ""
    match: Match = Match()
    layout: Layout = "us"
    suffix: HidSuffix = "enter"

    def problems(self) -> Iterator[tuple[str, str]]:
        """(key, what is wrong with it)."""
        yield from ScanOptions.problems(self)
        if bool(self.path) == bool(str(self.match)):
            yield "path", "say which scanner it is: by path (of /dev/input/by-id), or by [device.match], not both"

    def claims(self) -> list[Claim]:
        """The input device, all of it."""
        return [Claim(key="path" if self.path else "match", what=f"input:{self.path or self.match}")]
