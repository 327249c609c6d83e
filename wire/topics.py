"""Topic names (`coldproof/v1/{gateway}/…`) and the rule for a gateway's name."""

from __future__ import annotations

import re

ROOT = "coldproof/v1"
GATEWAY_PATTERN = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
SHARED_PACKS = f"$share/ingest/{ROOT}/+/up/pack"
ALL_STATUS = f"{ROOT}/+/up/status"
_LETTERS = {("up", "pack"), ("up", "status"), ("down", "receipt"), ("down", "command")}


class TopicError(ValueError):
    """A topic is not one of ours."""


def is_gateway_name(name: str) -> bool:
    """Lower-case letters, digits and `-`, 1–63 characters: safe as topic level, host name and file name."""
    return GATEWAY_PATTERN.fullmatch(name) is not None


def up_pack(gateway: str) -> str:
    """Signed packs, gateway to cloud, QoS 1."""
    return f"{ROOT}/{gateway}/up/pack"


def up_status(gateway: str) -> str:
    """The gateway's state, retained; the last will says offline."""
    return f"{ROOT}/{gateway}/up/status"


def down_receipt(gateway: str) -> str:
    """Signed receipts, cloud to gateway."""
    return f"{ROOT}/{gateway}/down/receipt"


def down_command(gateway: str) -> str:
    """Signed commands, cloud to gateway."""
    return f"{ROOT}/{gateway}/down/command"


def gateway_of(topic: str) -> str:
    """The gateway a topic belongs to. Raises TopicError for foreign topics."""
    parts = topic.split("/")
    ours = len(parts) == 5 and "/".join(parts[:2]) == ROOT and (parts[3], parts[4]) in _LETTERS
    if not ours or not is_gateway_name(parts[2]):
        raise TopicError(f"{topic[:200]!r} is not a coldproof topic ({ROOT}/GATEWAY/up|down/…)")
    return parts[2]
