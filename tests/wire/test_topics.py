"""Topic names: ours are recognised, foreign ones refused."""

from __future__ import annotations

import pytest

from wire import topics


@pytest.mark.parametrize("build", [topics.up_pack, topics.up_status, topics.down_receipt, topics.down_command])
def test_every_topic_names_its_gateway(build: object) -> None:
    assert callable(build)
    assert topics.gateway_of(build("gw-kho-01")) == "gw-kho-01"


@pytest.mark.parametrize(
    "topic",
    [
        "",
        "coldproof/v1/gw-1",
        "coldproof/v1/gw-1/up/pack/more",
        "coldproof/v2/gw-1/up/pack",
        "other/v1/gw-1/up/pack",
        "coldproof/v1/GW-1/up/pack",
        "coldproof/v1/+/up/pack",
        "coldproof/v1//up/pack",
        "coldproof/v1/gw-1/up/command",
        "coldproof/v1/gw-1/sideways/pack",
        "coldproof/v1/gw-1\n/up/pack",
    ],
)
def test_foreign_topic_is_refused(topic: str) -> None:
    with pytest.raises(topics.TopicError):
        topics.gateway_of(topic)


@pytest.mark.parametrize(
    ("name", "good"),
    [
        ("gw-kho-01", True),
        ("0", True),
        ("a" * 63, True),
        ("a" * 64, False),
        ("", False),
        ("-gw", False),
        ("gw_1", False),
        ("gw.1", False),
        ("gw-1\n", False),
        ("kho-lạnh", False),
    ],
)
def test_gateway_name_is_safe_everywhere(name: str, good: bool) -> None:
    assert topics.is_gateway_name(name) is good
