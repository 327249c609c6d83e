"""Whether a bundle is intact, and whose word that rests on (docs/bundle.md §8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import BinaryIO

import msgspec

from standards.tlog.key import VerifierKey
from wire.bundle import anchor, form, summary
from wire.bundle.examine import Content, Progress, examine
from wire.bundle.form import Broken, Unusable


class Bad(msgspec.Struct, frozen=True):
    """The first record that is not what it must be, and why."""

    record: str
    why: str


class Report(msgspec.Struct, frozen=True):
    """The judgement on a bundle. bad: None when it is intact; content: None where it could not be read to its end.

    anchored: whether the ledger's key is one the reader brought; None when none was brought: then nobody checked
    whose ledger it is.
    """

    bad: Bad | None
    anchored: bool | None
    content: Content | None
    witnesses: list[anchor.Witness] = []

    @property
    def intact(self) -> bool:
        """Whether everything in it is as it was recorded."""
        return self.bad is None


def verify(
    file: BinaryIO, *, size: int, trusted: Sequence[VerifierKey] = (), progress: Progress = lambda _: None
) -> Report:
    """Judge the bundle in a seekable file of `size` bytes. Raises Unusable for what is no bundle.

    trusted: keys of ledgers and witnesses that the reader got another way.
    """
    if size > form.BUNDLE_MAX_BYTES:
        raise Unusable(f"{size} bytes are more than a bundle has ({form.BUNDLE_MAX_BYTES})")
    form.require_first_line(file.read(len(form.FIRST_LINE)))
    try:
        content = examine(file, size=size, progress=progress)
    except Broken as broken:
        return Report(Bad(broken.record, broken.why), None, None)
    witnesses = anchor.trusted_witnesses(content.ledger, trusted)
    anchored = anchor.is_trusted(content.ledger, trusted) if trusted else None
    return Report(_bad(content, anchored=anchored), anchored, content, witnesses)


def _bad(content: Content, *, anchored: bool | None) -> Bad | None:
    if content.wrong:
        return Bad(content.wrong[0].what, content.wrong[0].why())
    if content.summary != summary.write(content):
        return Bad(f"record 1 ({form.NAMES[form.SUMMARY]})", "is not what the records say")
    if anchored is False:
        return Bad("checkpoint", f"is signed by {', '.join(content.ledger.vkeys)}: none of the keys you trust")
    return None
