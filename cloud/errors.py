"""The cloud's errors, named for what the caller does next.

    CloudError
    ├── Retryable   a database or broker is unavailable     → back off, try the same again
    ├── Rejected    what was handed in is wrong             → say so, keep the evidence, go on
    └── Fatal       configuration, schema or key is wrong   → stop with the hint

Every message says what, where, why and what to do.
"""

from __future__ import annotations


class CloudError(Exception):
    """Anything the cloud raises on purpose."""


class Retryable(CloudError):
    """Something outside is unavailable: the same call may work later."""


class Rejected(CloudError):
    """What was handed in cannot be taken; nothing was changed."""


class Fatal(CloudError):
    """No amount of waiting helps: a person has to act."""
