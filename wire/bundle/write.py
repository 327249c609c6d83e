"""Making a bundle: records in, one file out (docs/bundle.md §2). What is written is examined first."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from typing import BinaryIO, cast

import msgspec

from wire.bundle import anchor, form, subject, summary
from wire.bundle.examine import Content, Progress, examine

_SPOOL_BYTES = 16 * 1024 * 1024  # above this the records wait on disk


class Item(msgspec.Struct, frozen=True):
    """A record with a leaf: its letter (form.py), its leaf's index, and the bytes the leaf is over."""

    letter: int
    leaf: int
    payload: bytes


class Frame(msgspec.Struct, frozen=True):
    """What stands before the items. vkeys: the log's and then its witnesses', in the order of the signatures.

    leaves: of all items, ascending; proof: of these leaves in the checkpoint's tree (tree.py).
    """

    subject: subject.Subject
    checkpoint: bytes
    vkeys: Sequence[str]
    leaves: Sequence[int]
    proof: bytes


def write(file: BinaryIO, frame: Frame, items: Iterable[Item], progress: Progress = lambda _: None) -> Content:
    """Write a bundle; items come in the order of docs/bundle.md §2. Raises Broken; nothing is written then.

    Returns what the bundle holds: what is wrong or missing in the record itself is for the caller to tell.
    """
    with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
        spool.write(form.FIRST_LINE)
        spool.write(form.framed(form.SUMMARY, b""))
        begin = spool.tell()
        for letter, body in _frame(frame):
            spool.write(form.framed(letter, body))
        for item in items:
            spool.write(form.framed(item.letter, form.with_leaf(item.leaf, item.payload)))
        size = spool.tell()
        spool.seek(len(form.FIRST_LINE))
        content = examine(cast(BinaryIO, spool), size=size, progress=progress)
        file.write(form.FIRST_LINE)
        file.write(form.framed(form.SUMMARY, summary.write(content)))
        spool.seek(begin)
        shutil.copyfileobj(spool, file)
    return content


def _frame(frame: Frame) -> Iterable[tuple[int, bytes]]:
    yield form.SUBJECT, subject.encode(frame.subject)
    yield form.CHECKPOINT, frame.checkpoint
    for vkey in frame.vkeys:
        yield form.VKEY, vkey.encode()
    yield form.INDICES, anchor.encode_indices(frame.leaves)
    yield form.NODES, frame.proof
