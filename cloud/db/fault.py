"""What can be wrong with a database, whichever it is.

    CloudError
    ├── Retryable   DatabaseUnavailable   locked, full, restarting, its disk fails  → the same again, later
    │               └── OutcomeUnknown    lost in the middle of a commit            → look, then perhaps again
    └── Fatal       DatabaseNewer, DatabaseDamaged, DatabaseUnsupported, DatabaseUnreachable, DatabaseUnsafe

What is wrong with the values of a statement is no fault of the database: SQLAlchemy's DBAPIError says it.
"""

from __future__ import annotations

from sqlalchemy import URL

from cloud.errors import Fatal, Retryable


class DatabaseUnavailable(Retryable):
    """The database is locked, full, away, or its disk fails: nothing of the transaction was kept."""


class OutcomeUnknown(DatabaseUnavailable):
    """The server was lost while it committed: the transaction was kept whole, or nothing of it."""


class DatabaseNewer(Fatal):
    """The database was written by a newer program."""


class DatabaseDamaged(Fatal):
    """The file is not a database, or its pages contradict each other."""


class DatabaseUnsupported(Fatal):
    """The URL names no database this version can use."""


class DatabaseUnreachable(Fatal):
    """The file of the database cannot be made or opened."""


class DatabaseUnsafe(Fatal):
    """The server is set up to lose what it has said it committed."""


def shown(url: URL) -> str:
    """A URL for logs and errors: no password, wherever it stands."""
    return url.set(drivername=url.drivername.partition("+")[0], query={}).render_as_string(hide_password=True)
