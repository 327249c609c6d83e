"""The one error of the codec."""

from __future__ import annotations


class CodecError(ValueError):
    """A profile or a value cannot be what it claims to be; `str()` says where and why."""
