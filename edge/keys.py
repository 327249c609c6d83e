"""The gateway's signing key, made on its first start, and the cloud's public key it was told to trust.

The private half never leaves `gateway-key.pem` (owner-only, PKCS #8). The public half lies beside it as
`gateway-public.json`, for `coldproof cloud gateway add`. A key that is to follow lies in `gateway-key-next.pem` until
the cloud is known to have taken it over (edge/rotation.py).
"""

from __future__ import annotations

import base64
import binascii
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from edge.durable import make_folder, replace_file, sync_folder
from standards import cose

PRIVATE_NAME = "gateway-key.pem"
NEXT_NAME = "gateway-key-next.pem"
PUBLIC_NAME = "gateway-public.json"
KEY_BYTES = 32  # RFC 8032 §5.1.5
KEY_FILE_MAX_BYTES = 16 * 1024  # a key file is a few hundred bytes; this is not one


class KeyFileError(Exception):
    """A key cannot be read, written or trusted; `str()` says which, where, why and what to do."""


class Identity(msgspec.Struct, frozen=True):
    """Who signs: the gateway's name, its key with key id, and whether its world is simulated."""

    gateway: str
    key: Ed25519PrivateKey
    kid: bytes
    simulated: bool = False


class GatewayPublicHalf(msgspec.Struct, frozen=True):
    """What the cloud is given about a gateway. `public_key` is base64 of the raw 32 bytes."""

    gateway: str
    public_key: str
    simulated: bool


class CloudPublicHalf(msgspec.Struct, frozen=True):
    """What a gateway is given about the cloud. `cloud_key` is base64 of the raw 32 bytes."""

    cloud_key: str


def load_or_make(folder: Path, gateway: str, *, simulated: bool = False) -> Identity:
    """The gateway's identity, its key made on the first call; the public half is written beside it.

    A key that exists is never replaced. Raises KeyFileError.
    """
    private = folder / PRIVATE_NAME
    try:
        make_folder(folder)
        if not private.exists():
            replace_file(private, _to_pem(Ed25519PrivateKey.generate()), mode=0o600)
    except OSError as error:
        raise KeyFileError(f"{private}: the gateway's key cannot be written ({error}): check the folder") from error
    identity = _identity(private, gateway, simulated=simulated)
    _publish(folder / PUBLIC_NAME, identity.key, gateway, simulated=simulated)
    return identity


def make_next(folder: Path, identity: Identity) -> Identity:
    """The key that is to follow, made unless there is one already. Raises KeyFileError."""
    path = folder / NEXT_NAME
    try:
        if not path.exists():
            replace_file(path, _to_pem(Ed25519PrivateKey.generate()), mode=0o600)
    except OSError as error:
        raise KeyFileError(f"{path}: the next key cannot be written ({error}): check the folder") from error
    return _identity(path, identity.gateway, simulated=identity.simulated)


def load_next(folder: Path, identity: Identity) -> Identity | None:
    """The key that is to follow, None when there is none. Raises KeyFileError."""
    path = folder / NEXT_NAME
    return _identity(path, identity.gateway, simulated=identity.simulated) if path.exists() else None


def promote_next(folder: Path, successor: Identity) -> None:
    """Put the next key in the place of the present one, in one durable step. Raises KeyFileError."""
    private = folder / PRIVATE_NAME
    try:
        (folder / NEXT_NAME).replace(private)
        sync_folder(folder)
    except OSError as error:
        raise KeyFileError(f"{private}: the next key cannot be put in its place ({error})") from error
    _publish(folder / PUBLIC_NAME, successor.key, successor.gateway, simulated=successor.simulated)


def load_cloud_key(text: str, base: Path) -> Ed25519PublicKey:
    """The pinned cloud key from `cloud_key` in the configuration: a path relative to `base`, or base64.

    Raises KeyFileError.
    """
    path = base / text
    try:
        is_file = path.is_file()
    except OSError as error:
        raise KeyFileError(f"cloud_key = {text[:80]!r}: neither a path nor base64 ({error})") from error
    if is_file:
        return _public_key(_read_cloud_half(path), f"{path}: cloud_key")
    if "." not in text:  # base64 never has a dot, a file name nearly always
        return _public_key(text, f"cloud_key = {text[:80]!r} is no file")
    raise KeyFileError(f"{path}: there is no such file; copy the cloud's public half (cloud-public.json) there")


def _identity(path: Path, gateway: str, *, simulated: bool) -> Identity:
    key = _read_private(path)
    return Identity(gateway, key, cose.key_id(key.public_key()), simulated)


def _to_pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _read_private(path: Path) -> Ed25519PrivateKey:
    try:
        if path.stat().st_mode & 0o077:
            raise KeyFileError(f"{path}: others may read the gateway's key; run `chmod 600` on it")
        key = serialization.load_pem_private_key(_read_bounded(path), password=None)
    except OSError as error:
        raise KeyFileError(f"{path}: the gateway's key cannot be read ({error})") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise KeyFileError(
            f"{path}: not a private key ({error}); restore it from a backup. "
            "A new key means enrolling the gateway again"
        ) from error
    if not isinstance(key, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: holds a {type(key).__name__}, an Ed25519 key is needed")
    return key


def _publish(path: Path, key: Ed25519PrivateKey, gateway: str, *, simulated: bool) -> None:
    public = base64.b64encode(key.public_key().public_bytes_raw()).decode()
    text = msgspec.json.encode(GatewayPublicHalf(gateway, public, simulated)) + b"\n"
    try:
        if not path.exists() or path.read_bytes() != text:
            replace_file(path, text, mode=0o644)
    except OSError as error:
        raise KeyFileError(f"{path}: the public half cannot be written ({error})") from error


def _read_cloud_half(path: Path) -> str:
    try:
        return msgspec.json.decode(_read_bounded(path), type=CloudPublicHalf).cloud_key
    except OSError as error:
        raise KeyFileError(f"{path}: the cloud's public half cannot be read ({error})") from error
    except (msgspec.MsgspecError, UnicodeDecodeError, ValueError) as error:
        raise KeyFileError(
            f'{path}: not a cloud public half ({error}); expected is {{"cloud_key": "<base64>"}}'
        ) from error


def _read_bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(KEY_FILE_MAX_BYTES + 1)
    if len(data) > KEY_FILE_MAX_BYTES:
        raise ValueError(f"longer than {KEY_FILE_MAX_BYTES} bytes")
    return data


def _public_key(text: str, where: str) -> Ed25519PublicKey:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise KeyFileError(f"{where}: not base64 ({error})") from error
    if len(raw) != KEY_BYTES:
        raise KeyFileError(f"{where}: {len(raw)} bytes, an Ed25519 public key has {KEY_BYTES}")
    return Ed25519PublicKey.from_public_bytes(raw)
