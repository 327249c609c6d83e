"""How a gateway comes to be known: the one-time code, and the letters that are exchanged for it. See docs/wire.md §9.

A person carries the code from the cloud to the gateway. It names the cloud and pins its key, so that nobody on the
way can put another cloud in its place, over a plain line as well; and it holds a secret, of which the gateway shows
knowledge by a signature and which itself never travels. The cloud keeps only the public half of that signature's key:
who reads its database cannot enrol anything.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
from urllib.parse import urlsplit

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from standards import cose
from wire.envelope import WireError, decode, require_type
from wire.rule import require, require_time
from wire.topics import is_gateway_name

ENROLMENT_TYPE = "application/vnd.coldproof.enrolment.v1"
RENEWAL_TYPE = "application/vnd.coldproof.renewal.v1"
LINK_TYPE = "application/vnd.coldproof.link.v1"
PATH = "/enrol/v1"  # below the cloud's public URL
MEDIA_TYPE = "application/cose"
REQUEST_MAX_BYTES = 8 * 1024  # a letter with its certificate request is under 1 KiB
ANSWER_MAX_BYTES = 16 * 1024  # two certificates are under 2 KiB

CODE_PREFIX = "cp"
CODE_MAX_CHARS = 1024
SECRET_BYTES = 16
FINGERPRINT_BYTES = 16  # of SHA-256: nobody finds a second key that has the same
CHECK_BYTES = 4
NONCE_BYTES = 16
KEY_BYTES = 32  # RFC 8032 §5.1.5
DER_MAX_BYTES = 4 * 1024
PORT_MAX = 65_535
HOST_PATTERN = r"^[A-Za-z0-9._:-]{1,253}\Z"  # it is written into configurations
_CODE_KEY = b"coldproof enrolment code v1\x00"
_PROOF = b"coldproof enrolment proof v1\x00"


class CodeError(ValueError):
    """What was typed is not a code, or has a mistake in it; `str()` says what to do."""


class Code(msgspec.Struct, frozen=True, array_like=True):
    """What a person carries to the gateway. fingerprint: of the cloud's key. issued_s: a time that has been."""

    secret: bytes
    fingerprint: bytes
    issued_s: int
    gateway: str
    url: str

    @property
    def key(self) -> Ed25519PrivateKey:
        """The key that shows knowledge of the secret."""
        return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(_CODE_KEY + self.secret).digest())


class Enrolment(msgspec.Struct, frozen=True, array_like=True):
    """A gateway asks to be known. csr: PKCS #10, DER, for its link key. proof: by the code's key, over the rest."""

    gateway: str
    public_key: bytes
    simulated: bool
    csr: bytes
    code_id: bytes
    nonce: bytes
    proof: bytes


class Renewal(msgspec.Struct, frozen=True, array_like=True):
    """A gateway asks for its next link certificate."""

    gateway: str
    csr: bytes
    nonce: bytes


class Link(msgspec.Struct, frozen=True, array_like=True):
    """The cloud's answer: how to get onto the broker. Certificates are DER. request: SHA-256 of the letter answered."""

    gateway: str
    request: bytes
    certificate: bytes
    authority: bytes
    broker_host: str
    broker_port: int
    cloud_key: bytes
    issued_at_ms: int


def new_code(*, cloud_key: Ed25519PublicKey, gateway: str, url: str, issued_s: int) -> Code:
    """A fresh code for a gateway. Raises ValueError for a URL no gateway could use."""
    if not is_cloud_url(url):
        raise ValueError(f"{url!r}: expected http://HOST or https://HOST")
    return Code(secrets.token_bytes(SECRET_BYTES), fingerprint(cloud_key), issued_s, gateway, url.rstrip("/"))


def is_cloud_url(url: str) -> bool:
    """Whether letters can be sent there: http or https, a host, no query."""
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        return False
    sound = url.isascii() and url.isprintable() and " " not in url
    return sound and parts.scheme in {"http", "https"} and bool(host) and not parts.query and not parts.fragment


def fingerprint(cloud_key: Ed25519PublicKey) -> bytes:
    """By what a code pins the cloud's key."""
    return hashlib.sha256(cloud_key.public_bytes_raw()).digest()[:FINGERPRINT_BYTES]


def write_code(code: Code) -> str:
    """The code as text: letters and digits only, one word to copy."""
    body = msgspec.msgpack.encode(code)
    return CODE_PREFIX + _base32(body + _check(body))


def read_code(text: str) -> Code:
    """Take a code apart; case, spaces, line ends and dashes don't count. Raises CodeError."""
    word = re.sub(r"[\s-]", "", text).lower()
    if not word.startswith(CODE_PREFIX) or len(word) > CODE_MAX_CHARS:
        raise CodeError(
            f"not an enrolment code: it begins with {CODE_PREFIX!r}; copy all of what `gateway invite` printed"
        )
    bare = word.removeprefix(CODE_PREFIX).upper()
    try:
        data = base64.b32decode(bare + "=" * (-len(bare) % 8))
    except (binascii.Error, ValueError) as error:
        raise CodeError("the code has a wrong letter, or a part is missing: copy it again") from error
    body, check = data[:-CHECK_BYTES], data[-CHECK_BYTES:]
    if _check(body) != check or _base32(data) != bare.lower():  # the last letter has bits to spare
        raise CodeError("the code has a mistake in it, or a part is missing: copy it again")
    try:
        code = msgspec.msgpack.decode(body, type=Code)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise CodeError("the code was made by another version of coldproof: update this one") from error
    if not is_cloud_url(code.url):
        raise CodeError(f"the code names {code.url!r} as its cloud, not http://HOST or https://HOST: ask for another")
    return code


def seal_enrolment(code: Code, *, key: Ed25519PrivateKey, simulated: bool, csr: bytes, nonce: bytes) -> bytes:
    """The letter that asks for enrolment, signed by the gateway's signing key."""
    public_key, code_key = key.public_key(), code.key
    code_id = cose.key_id(code_key.public_key())
    bare = Enrolment(code.gateway, public_key.public_bytes_raw(), simulated, csr, code_id, nonce, b"")
    letter = msgspec.structs.replace(bare, proof=code_key.sign(_to_prove(bare)))
    return _seal(letter, ENROLMENT_TYPE, key)


def seal_renewal(gateway: str, *, key: Ed25519PrivateKey, csr: bytes, nonce: bytes) -> bytes:
    """The letter that asks for the next link certificate, signed by the gateway's signing key."""
    return _seal(Renewal(gateway, csr, nonce), RENEWAL_TYPE, key)


def seal_link(link: Link, *, key: Ed25519PrivateKey) -> bytes:
    """The cloud's answer, signed by the cloud's key."""
    return _seal(link, LINK_TYPE, key)


def open_request(letter: bytes) -> tuple[cose.Sign1, Enrolment | Renewal]:
    """Open what a gateway sent. An enrolment's own signature was checked, the proof and a renewal's were not.

    Raises WireError.
    """
    message = _open(letter, REQUEST_MAX_BYTES)
    request: Enrolment | Renewal
    if message.content_type == ENROLMENT_TYPE:
        request = decode(message.payload, Enrolment, "enrolment")
        require(len(request.public_key) == KEY_BYTES, "enrolment.public_key", f"must have {KEY_BYTES} bytes")
        require(len(request.code_id) == cose.KID_BYTES, "enrolment.code_id", f"must have {cose.KID_BYTES} bytes")
        if not message.is_signed_by(Ed25519PublicKey.from_public_bytes(request.public_key)):
            raise WireError("bad_signature", "enrolment: not signed by the key it brings")
    else:
        require_type(message, RENEWAL_TYPE)
        request = decode(message.payload, Renewal, "renewal")
    require(is_gateway_name(request.gateway), "gateway", "not a gateway name")
    require(len(request.nonce) == NONCE_BYTES, "nonce", f"must have {NONCE_BYTES} bytes")
    require(len(request.csr) <= DER_MAX_BYTES, "csr", f"more than {DER_MAX_BYTES} bytes")
    return message, request


def is_proven(enrolment: Enrolment, code_key: Ed25519PublicKey) -> bool:
    """Whether the sender knew the code's secret."""
    try:
        code_key.verify(enrolment.proof, _to_prove(enrolment))
    except InvalidSignature:
        return False
    return True


def open_link(letter: bytes, *, request: bytes, gateway: str, pinned: bytes) -> Link:
    """Open the cloud's answer to `request`, and believe it only when the pinned cloud signed it.

    pinned: the fingerprint from the code. Raises WireError.
    """
    message = _open(letter, ANSWER_MAX_BYTES)
    require_type(message, LINK_TYPE)
    link = decode(message.payload, Link, "link")
    require(len(link.cloud_key) == KEY_BYTES, "link.cloud_key", f"must have {KEY_BYTES} bytes")
    cloud_key = Ed25519PublicKey.from_public_bytes(link.cloud_key)
    if fingerprint(cloud_key) != pinned:
        raise WireError("foreign_cloud", "the answer is another cloud's than the one the code names")
    if not message.is_signed_by(cloud_key):
        raise WireError("bad_signature", "the answer was changed on its way")
    if link.request != letter_hash(request) or link.gateway != gateway:
        raise WireError("foreign_answer", "the answer belongs to another request")
    require(max(len(link.certificate), len(link.authority)) <= DER_MAX_BYTES, "link", "certificates are too long")
    require(re.match(HOST_PATTERN, link.broker_host) is not None, "link.broker_host", "not a host name or address")
    require(1 <= link.broker_port <= PORT_MAX, "link.broker_port", "out of range")
    require_time(link.issued_at_ms, "link.issued_at_ms")
    return link


def letter_hash(letter: bytes) -> bytes:
    """By what an answer names the letter it answers."""
    return hashlib.sha256(letter).digest()


def _seal(letter: Enrolment | Renewal | Link, content_type: str, key: Ed25519PrivateKey) -> bytes:
    payload = msgspec.msgpack.encode(letter)
    return cose.sign1(payload, content_type=content_type, key=key, kid=cose.key_id(key.public_key()))


def _open(letter: bytes, limit: int) -> cose.Sign1:
    if len(letter) > limit:
        raise WireError("too_large", f"a letter of {len(letter)} bytes, the limit is {limit}")
    try:
        return cose.parse_sign1(letter)
    except cose.CoseError as error:
        raise WireError("malformed", str(error)) from error


def _to_prove(enrolment: Enrolment) -> bytes:
    return _PROOF + msgspec.msgpack.encode(msgspec.structs.replace(enrolment, proof=b""))


def _base32(data: bytes) -> str:
    return base64.b32encode(data).decode().rstrip("=").lower()


def _check(body: bytes) -> bytes:
    return hashlib.sha256(body).digest()[:CHECK_BYTES]
