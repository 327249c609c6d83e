"""The cloud's signing key: made on the first start, pinned by every gateway, never leaves its folder."""

from __future__ import annotations

import base64
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from cloud.durable import write_new
from cloud.errors import Fatal
from standards import cose

PRIVATE_FILE = "cloud-key.pem"
PUBLIC_FILE = "cloud-public.json"


class KeyFileError(Fatal):
    """The cloud's key cannot be read or made."""


class CloudKey(msgspec.Struct, frozen=True):
    """The key that signs receipts, with its id."""

    private: Ed25519PrivateKey
    kid: bytes

    @property
    def public_half(self) -> bytes:
        """What gateways are given: JSON with the raw public key in base64."""
        raw = self.private.public_key().public_bytes_raw()
        return msgspec.json.encode({"cloud_key": base64.b64encode(raw).decode()}) + b"\n"


def load_or_create(data_dir: Path) -> CloudKey:
    """The key in `data_dir`, made (0600, fsynced) when there is none; the public half is written beside it.

    A key that exists but cannot be read is an error, never a reason to make another one: gateways have pinned it.
    Raises KeyFileError.
    """
    private = load_or_create_private(data_dir / PRIVATE_FILE)
    key = CloudKey(private, cose.key_id(private.public_key()))
    public = data_dir / PUBLIC_FILE
    try:
        if not public.exists() or public.read_bytes() != key.public_half:
            public.write_bytes(key.public_half)
    except OSError as error:
        raise KeyFileError(f"{public}: {error.strerror}; check the rights of the folder") from error
    return key


def load(data_dir: Path) -> CloudKey:
    """The key in `data_dir`, which must be there: receipts signed by another one release nothing.

    Raises KeyFileError.
    """
    private = load_private(data_dir / PRIVATE_FILE)
    return CloudKey(private, cose.key_id(private.public_key()))


def load_or_create_private(path: Path) -> Ed25519PrivateKey:
    """The private key in a file, made (0600, fsynced) with its folder when there is none. Raises KeyFileError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            write_new(path, _pem(Ed25519PrivateKey.generate()))
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; check the rights of the folder") from error
    return load_private(path)


def load_private(path: Path) -> Ed25519PrivateKey:
    """The private key in a file. Raises KeyFileError, also when there is none."""
    try:
        private = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as error:
        raise KeyFileError(f"{path}: {error.strerror}; restore it from the backup, or set its rights") from error
    except (ValueError, TypeError) as error:
        raise KeyFileError(f"{path}: not a private key ({error}); restore it from the backup") from error
    if not isinstance(private, Ed25519PrivateKey):
        raise KeyFileError(f"{path}: not an Ed25519 key; restore it from the backup")
    return private


def _pem(key: Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
