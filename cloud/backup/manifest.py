"""What a backup says of itself, and the form of its file.

A backup is one tar file (POSIX 1003.1-2001, not compressed: packs are) of regular files: `files/…` as they lie in the
data folder, the database `cloud.db`, and last `manifest.json`, which names every other one with its size and SHA-256.
So a file that was cut off has no manifest, and any tar program opens it in need.
"""

from __future__ import annotations

import re

import msgspec

from cloud.errors import CloudError

FORMAT = "coldproof-backup/1"
MANIFEST, DATABASE, FILES = "manifest.json", "cloud.db", "files/"
SUFFIX = ".backup"
MANIFEST_MAX_BYTES = 1024 * 1024
FILE_MAX_BYTES = 1024 * 1024  # of what lies beside the database: keys and certificates have a few KiB
FILES_MAX = 200
NAME_PATTERN = re.compile(r"files/[A-Za-z0-9_][A-Za-z0-9._-]{0,99}(/[A-Za-z0-9_][A-Za-z0-9._-]{0,99})?")


class BackupError(CloudError):
    """A backup cannot be made, read or restored; nothing was put in place."""


class Member(msgspec.Struct, frozen=True):
    """A file in the backup. sha256: in hex."""

    name: str
    size_bytes: int
    sha256: str


class Manifest(msgspec.Struct, frozen=True):
    """What is in a backup. revision: of the schema; ledger_root: in hex; with_keys: whether the secrets are in it.

    newest_pack_ms: when the newest pack was received, None without packs.
    """

    format: str
    made_ms: int
    revision: str
    ledger_size: int
    ledger_root: str
    packs: int
    gateways: int
    newest_pack_ms: int | None
    with_keys: bool
    members: list[Member]


def decode(raw: bytes) -> Manifest:
    """The manifest in these bytes. Raises BackupError."""
    try:
        found = msgspec.json.decode(raw, type=Manifest)
    except (msgspec.ValidationError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise BackupError(f"{MANIFEST}: not one of ours ({error}); the file is damaged, use another backup") from error
    if found.format != FORMAT:
        raise BackupError(f"{MANIFEST}: format {found.format!r}, this program reads {FORMAT!r}; use the newer program")
    names = [one.name for one in found.members]
    if len(names) > FILES_MAX + 1 or len(set(names)) < len(names) or DATABASE not in names:
        raise BackupError(f"{MANIFEST}: names no database, or a file twice; use another backup")
    return found


def is_allowed(name: str) -> bool:
    """Whether a file may have this name: below `files/`, no folder above, nothing hidden; or the database."""
    return name == DATABASE or NAME_PATTERN.fullmatch(name) is not None
