"""What `coldproof cloud fsck` says of a record that a bench has harmed."""

from __future__ import annotations

from sqlalchemy import Connection

from cloud.fsck.check import check

SHOWN = 3  # what comes after the first ones follows from them, or is as bad


def complaints(conn: Connection) -> list[str]:
    """The first divergences in fsck's own words, and how many more there are; nothing when everything agrees."""
    report = check(conn)
    told = [f"fsck: {one}" for one in report.divergences[:SHOWN]]
    more = len(report.divergences) + report.more - len(told)
    return [*told, f"fsck: {more} more"] if more else told
