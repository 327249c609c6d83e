"""Time stamps of checkpoints by an authority (RFC 3161): who vouches that these bytes existed at that instant.

The CMS and certificate work is rfc3161-client's (extra `timestamp`), imported when it is needed. The clock of this
machine plays no part: certificates are judged at the stamped time, so that a stamp stays good when they have expired.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from cryptography import x509

if TYPE_CHECKING:
    import rfc3161_client

RESPONSE_MAX_BYTES = 64 * 1024  # a response with its certificate chain has 2 to 6 KiB


class TimestampError(ValueError):
    """A time stamp is malformed, not over these bytes, or not by an authority that is trusted; `str()` says why."""


def request(message: bytes) -> tuple[bytes, int]:
    """The bytes to ask an authority with for a stamp of `message`, and their nonce, which `verify` is given.

    Raises ImportError when the extra is not installed.
    """
    import rfc3161_client

    made = rfc3161_client.TimestampRequestBuilder().data(message).build()
    assert made.nonce is not None, "a request has a nonce by default"
    return made.as_bytes(), made.nonce


def is_over(response: bytes, message: bytes) -> bool:
    """Whether a response says that it stamps `message`; who says so, and whether truly, only `verify` tells.

    Raises ImportError when the extra is not installed.
    """
    import rfc3161_client

    try:
        imprint = rfc3161_client.decode_timestamp_response(response).tst_info.message_imprint
        made = rfc3161_client.TimestampRequestBuilder().data(message).build().message_imprint
        return imprint.hash_algorithm == made.hash_algorithm and imprint.message == made.message
    except ValueError:
        return False


def verify(
    response: bytes,
    message: bytes,
    *,
    authority: x509.Certificate,
    roots: Sequence[x509.Certificate],
    intermediates: Sequence[x509.Certificate] = (),
    nonce: int | None = None,
) -> datetime:
    """The instant (aware, UTC) at which `authority` stamped `message`. Raises TimestampError.

    The authority's own certificate is pinned: what a response carries of certificates is not signed. It must lead to
    one of `roots`. `nonce` is the one of the request, for whoever asked. A response is not canonical: bytes outside of
    what is signed may differ, so keep it as it came. Raises ImportError when the extra is not installed.
    """
    import rfc3161_client

    if len(response) > RESPONSE_MAX_BYTES:
        raise TimestampError(f"time stamp: {len(response)} bytes, at most {RESPONSE_MAX_BYTES}")
    if not roots:
        raise TimestampError("time stamp: no root certificate is trusted")
    verifier = rfc3161_client.VerifierBuilder(
        tsa_certificate=authority, intermediates=list(intermediates), roots=list(roots), nonce=nonce
    ).build()
    try:
        parsed: rfc3161_client.TimeStampResponse = rfc3161_client.decode_timestamp_response(response)
        verifier.verify_message(parsed, message)
        return parsed.tst_info.gen_time
    except (ValueError, x509.InvalidVersion, x509.DuplicateExtension, rfc3161_client.VerificationError) as error:
        raise TimestampError(f"time stamp: {error}") from error
