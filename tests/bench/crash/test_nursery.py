"""What a life says reaches the other side whole, or not at all."""

from __future__ import annotations

import os
import sys

import pytest

from bench.crash import nursery


def test_a_word_is_one_write(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    """A life may be killed between two writes: half a line of it would run into the nursery's next one."""
    written: list[bytes] = []
    with (tmp_path / "out").open("w") as out:
        monkeypatch.setattr(sys, "stdout", out)
        monkeypatch.setattr(os, "write", lambda _fd, data: written.append(bytes(data)) or len(data))
        nursery.say("subscribed", 12)
    assert written == [b"subscribed 12\n"]
