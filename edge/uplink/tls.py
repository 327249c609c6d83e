"""The TLS side of a connection: whom we trust, who we are, and what to do while our own clock is surely wrong.

A board without a battery clock wakes up in 1970. Until it has a network it has no time, and with the usual rule it
would never get a network: no certificate is valid in 1970. So certificates are judged at the later of the machine's
time and `floor_ms`, a time that has certainly passed (this program was built then, or the gateway knew the time
then); the moment our own certificate was issued has certainly passed, too. Where the machine's clock is the later one,
OpenSSL judges as always. Where it isn't, OpenSSL checks everything but times (chain, signatures, name, purposes), and
this module judges the times of every certificate of the chain it verified. What is expired at that time, or not yet
valid then, is refused.

Files are read anew for every connection, so that replacing them needs no restart.
"""

from __future__ import annotations

import datetime
import ssl
import time
from collections.abc import Callable
from pathlib import Path

from cryptography import x509

from edge.uplink.base import TlsOptions, UplinkMisconfigured

NO_CHECK_TIME = ssl.VerifyFlags(0x200000)  # X509_V_FLAG_NO_CHECK_TIME of OpenSSL; Python has no name for it
DAY_MS = 86_400_000


def tls_context(options: TlsOptions, *, floor_ms: int = 0, now: Callable[[], float] = time.time) -> ssl.SSLContext:
    """The TLS context for one connection. `now` is the machine's clock, in seconds. Raises UplinkMisconfigured."""
    try:
        context = ssl.create_default_context(cafile=options.ca)
        if options.certificate is not None:
            context.load_cert_chain(options.certificate, options.key)
    except (OSError, ValueError) as error:
        files = ", ".join(each for each in (options.ca, options.certificate, options.key) if each)
        raise UplinkMisconfigured(f"uplink.tls: certificates cannot be used ({error}); check {files}") from error
    context.sslsocket_class = _ClosingSocket
    floor_ms = max(floor_ms, _issued_ms(options))
    if now() * 1000 < floor_ms:
        context.verify_flags |= NO_CHECK_TIME
        context.sslsocket_class = _judging_at(datetime.datetime.fromtimestamp(floor_ms / 1000, datetime.UTC))
    return context


def days_left(options: TlsOptions, now_ms: int) -> float | None:
    """Days until our certificate expires, negative afterwards; None without one. Raises UplinkMisconfigured."""
    found = _own(options)
    return None if found is None else (found.not_valid_after_utc.timestamp() * 1000 - now_ms) / DAY_MS


def _issued_ms(options: TlsOptions) -> int:
    found = _own(options)
    return 0 if found is None else int(found.not_valid_before_utc.timestamp() * 1000)


def _own(options: TlsOptions) -> x509.Certificate | None:
    if options.certificate is None:
        return None
    try:
        return x509.load_pem_x509_certificate(Path(options.certificate).read_bytes())
    except (OSError, ValueError) as error:
        raise UplinkMisconfigured(f"uplink.tls: {options.certificate} cannot be read ({error})") from error


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho 2.2 only forgets it then."""

    def do_handshake(self, block: bool = False) -> None:
        """See ssl.SSLSocket."""
        try:
            super().do_handshake(block)
            self._judge()
        except OSError:
            self.close()
            raise

    def _judge(self) -> None:
        """Nothing to add to OpenSSL's own judgement."""


def _judging_at(moment: datetime.datetime) -> type[_ClosingSocket]:
    """A socket that judges the times of the chain at `moment`; only for contexts that leave them to it."""

    class _JudgingSocket(_ClosingSocket):
        def _judge(self) -> None:
            chain = _verified_chain(self)
            if not chain:
                raise ssl.SSLCertVerificationError(1, "certificate verify failed: no chain to judge")
            for certificate in map(x509.load_der_x509_certificate, chain):
                if not certificate.not_valid_before_utc <= moment <= certificate.not_valid_after_utc:
                    raise ssl.SSLCertVerificationError(
                        1,
                        f"certificate verify failed: {certificate.subject.rfc4514_string()} is valid from "
                        f"{certificate.not_valid_before_utc:%Y-%m-%d} to {certificate.not_valid_after_utc:%Y-%m-%d}, "
                        f"and it is at least {moment:%Y-%m-%d} (this machine's clock is behind that)",
                    )

    return _JudgingSocket


def _verified_chain(opened: ssl.SSLSocket) -> list[bytes]:
    """DER of every certificate OpenSSL has verified, leaf first. Public in Python from 3.13 on, there before."""
    public = getattr(opened, "get_verified_chain", None)
    if public is not None:
        return list(public())
    try:
        chain = opened._sslobj.get_verified_chain()  # type: ignore[attr-defined]  # noqa: SLF001 - see above
    except AttributeError as error:
        raise ssl.SSLError(1, "this Python does not show the verified chain; set the machine's clock") from error
    return [ssl.PEM_cert_to_DER_cert(certificate.public_bytes()) for certificate in chain]
