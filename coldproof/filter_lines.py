"""What the filters of the command line share: lines in, answers out in the same order, and no line too long for memory.

A line that cannot be read is answered like any other; it never ends the run.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from typing import Any, BinaryIO

import msgspec

LINE_MAX_BYTES = 65_536  # the longest advert has 1,650 bytes in hex, a code 4,096


def bounded_lines(stream: BinaryIO, *, limit: int) -> Iterator[bytes | int]:
    """The lines of a stream, never holding more than one; of one over `limit` bytes only how many bytes it had."""
    while line := stream.readline(limit + 1):
        if len(line) <= limit or line.endswith(b"\n"):
            yield line
            continue
        size = len(line)
        while (rest := stream.readline(limit)) and not rest.endswith(b"\n"):
            size += len(rest)
        yield size + len(rest.rstrip(b"\n"))


def decoded(stream: BinaryIO, decode: Callable[[str], dict[str, Any]]) -> Iterator[bytes]:
    """One JSON document for each line that is not empty, in order: what `decode` says, or `{"error": …}`."""
    encoder = msgspec.json.Encoder(decimal_format="number")
    for line in bounded_lines(stream, limit=LINE_MAX_BYTES):
        if isinstance(line, bytes):
            text = line.decode("utf-8", "replace").strip("\r\n")
            if text.strip(" \t"):
                yield encoder.encode(_answer(decode, text))
        else:
            yield encoder.encode({"error": f"a line of {line} bytes, the limit is {LINE_MAX_BYTES}"})


def write_answers(answers: Iterable[bytes]) -> None:
    """Write each answer to standard output as soon as it is there; end quietly when nobody reads any more."""
    try:
        for answer in answers:
            sys.stdout.buffer.write(answer + b"\n")
            sys.stdout.buffer.flush()  # somebody may be typing, or following a log
    except BrokenPipeError:  # whoever read us has seen enough
        sys.stderr.close()


def _answer(decode: Callable[[str], dict[str, Any]], text: str) -> dict[str, Any]:
    try:
        return decode(text)
    except (ValueError, RecursionError) as error:
        return {"error": str(error)}
    except ImportError as error:
        return {"error": f"a library is missing: {error}"}
