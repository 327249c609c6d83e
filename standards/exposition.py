"""Labels and numbers of a sample in Prometheus' text format, version 0.0.4."""

from __future__ import annotations

from collections.abc import Mapping


def label_text(named: Mapping[str, str]) -> str:
    """As they stand behind the name of a sample; nothing where there are none."""
    if not named:
        return ""
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in named.items()) + "}"


def number_text(value: float) -> str:
    """A finite value, whole where it is whole."""
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
