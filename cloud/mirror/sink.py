"""Where the mirror writes: a server that speaks InfluxDB's v2 write API. The only module that imports its client.

Its errors are named for what the follower does next: Away (try again later), Refused (something in these lines).
"""

from __future__ import annotations

from typing import Any, Protocol

from cloud.config import MirrorConfig
from cloud.errors import Fatal, Rejected, Retryable

TIMEOUT_MS = 5_000  # of one request: a stop waits for it
#: What a server answers when it dislikes the lines themselves: malformed, too large, of a wrong type or time.
REFUSED_STATUS = frozenset({400, 413, 422})
_HINTS = {
    401: "is the token in [mirror] token_file right?",
    403: "may the token write to the bucket?",
    404: "do org and bucket exist, and does the server speak the v2 write API?",
}


class Away(Retryable):
    """The server cannot be reached, is not well, or does not let us in."""


class Refused(Rejected):
    """The server will not have these lines, however often they come."""


class Sink(Protocol):
    """Takes lines."""

    def write(self, text: str) -> None:
        """Write lines, separated by line breaks, with times in ms; done when it returns. Raises Away, Refused."""


class InfluxSink:
    """A bucket of a server, by HTTP. One request at a time."""

    def __init__(self, config: MirrorConfig) -> None:
        """Raises Fatal when the library is not installed, or the token cannot be read."""
        try:
            from influxdb_client.client.influxdb_client import InfluxDBClient
            from influxdb_client.client.write_api import SYNCHRONOUS
            from influxdb_client.domain.write_precision import WritePrecision
            from influxdb_client.rest import ApiException
            from urllib3.exceptions import HTTPError
        except ImportError as error:
            raise Fatal(f"[mirror] needs influxdb-client ({error}): pip install 'coldproof[cloud,mirror]'") from error
        self._api_error, self._link_errors = ApiException, (HTTPError, OSError)
        self._precision: Any = WritePrecision.MS  # a str, though the client's signature names the class
        self._config = config
        client = InfluxDBClient(
            config.url, token=_token(config), org=config.org, timeout=TIMEOUT_MS, enable_gzip=config.gzip
        )
        self._writer = client.write_api(write_options=SYNCHRONOUS)

    def write(self, text: str) -> None:
        """Write lines; see Sink."""
        try:
            self._writer.write(self._config.bucket, self._config.org, text, self._precision)
        except self._api_error as error:
            told = f"{error.status} {error.reason or ''}: {_words(error.body)}"
            if error.status in REFUSED_STATUS:
                raise Refused(told) from error
            hint = _HINTS.get(error.status or 0, "look at the server's log")
            raise Away(f"{self._config.url} answers {told}; {hint}") from error
        except self._link_errors as error:
            raise Away(f"{self._config.url} cannot be reached ({_words(str(error))}); does it run?") from error


def _token(config: MirrorConfig) -> str:
    if config.token_file is None:
        return ""
    try:
        token = config.token_file.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Fatal(
            f"[mirror] token_file {config.token_file}: cannot be read ({error}); check name and rights"
        ) from error
    if not token or not token.isascii() or not token.isprintable() or " " in token:
        raise Fatal(f"[mirror] token_file {config.token_file}: holds no token; one line, without spaces, is expected")
    return token


def _words(said: object) -> str:
    """The beginning of what a server says of itself, on one line."""
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said or "")
    return " ".join(text.split())[:200]
