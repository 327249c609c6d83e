"""What is said over a gateway's control socket: one JSON document a line, a request and then answers. Pure.

Apply → Said … → Done or Refused                 Tail → Seen … until the asker hangs up
Test → Done or Refused                            Status → Look
Lend → Lent, then the asker works on the port and hangs up; the devices on it go on then
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from edge.health import Health

SOCKET_NAME = "control.sock"
REQUEST_MAX_BYTES = 64 * 1024
ANSWER_MAX_BYTES = 4 * 1024 * 1024  # a status of 1,000 devices and their newest values
NAMES_MAX = 1000
Text = Annotated[str, msgspec.Meta(max_length=4096)]
Names = Annotated[list[Text], msgspec.Meta(max_length=NAMES_MAX)]


class Apply(msgspec.Struct, frozen=True, tag="apply", tag_field="do"):
    """Take over the configuration at `path`, whose text has this digest."""

    path: Text
    expected: Text
    within_s: float = 30.0
    may_be_silent: Names = []


class Tail(msgspec.Struct, frozen=True, tag="tail", tag_field="do"):
    """Show what the devices give; empty: all of them. A name may be a device's or a channel's."""

    names: Names = []


class Test(msgspec.Struct, frozen=True, tag="test", tag_field="do"):
    """Make an observation marked TEST. value: a number, or the code of a scan; an alarm finds one by itself."""

    __test__ = False  # a noun of ours, not a test class
    kind: Literal["alarm", "reading", "scan"]
    channel: Text
    value: Text = ""


class Status(msgspec.Struct, frozen=True, tag="status", tag_field="do"):
    """How is everything."""


class Lend(msgspec.Struct, frozen=True, tag="lend", tag_field="do"):
    """Let the asker work on what devices occupy (`serial:/dev/ttyUSB0`) until it hangs up."""

    what: Text


Request = Apply | Tail | Test | Status | Lend


class Said(msgspec.Struct, frozen=True, tag="said", tag_field="is"):
    """Progress, for a person."""

    text: str


class Seen(msgspec.Struct, frozen=True, tag="seen", tag_field="is"):
    """An observation as a line for a person, and its parts. at_ms: wall time. value: empty where there is none."""

    line: str
    channel: str
    at_ms: int
    value: str
    unit: str
    quality: str


class Done(msgspec.Struct, frozen=True, tag="done", tag_field="is"):
    """It is done; `warnings` are for a person."""

    text: str
    warnings: list[str] = []


class Refused(msgspec.Struct, frozen=True, tag="refused", tag_field="is"):
    """It is not done, and why. file_stands: the file still says what was refused, and should be put back."""

    text: str
    file_stands: bool = False


class Lent(msgspec.Struct, frozen=True, tag="lent", tag_field="is"):
    """These devices pause."""

    devices: list[str]


class Held(msgspec.Struct, frozen=True):
    """A device of the running gateway and something it occupies."""

    device: str
    what: str
    part: str


class Look(msgspec.Struct, frozen=True, tag="look", tag_field="is"):
    """Everything at one moment."""

    path: str
    health: Health
    held: list[Held]
    newest: list[Seen]
    applying: bool
    first: list[Seen] = []
    tests: list[Seen] = []
    stuck: dict[str, int] = {}  #: channel → equal readings in a row, of probes that are likely stuck


Answer = Said | Seen | Done | Refused | Lent | Look

_REQUESTS = msgspec.json.Decoder(Request)
_ANSWERS = msgspec.json.Decoder(Answer)


def read_request(line: bytes) -> Request:
    """Raises ValueError."""
    try:
        request: Request = _REQUESTS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not a request of this version: {error}") from error
    return request


def read_answer(line: bytes) -> Answer:
    """Raises ValueError."""
    try:
        answer: Answer = _ANSWERS.decode(line)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"not an answer of this version: {error}") from error
    return answer


def line(letter: Request | Answer) -> bytes:
    """One line."""
    return msgspec.json.encode(letter) + b"\n"
