"""A witness: cosigns a log's checkpoints as long as each continues what it has cosigned before (c2sp.org/tlog-witness).

    name = "witness.example/chi-cuc"      the name in its signatures
    host = "127.0.0.1"                    where it listens
    port = 8090
    data_dir = "witness"                  its key and what it has seen
    [[log]]
    origin = "cold.example/ledger"
    vkeys = ["cold.example/ledger+…"]

Invariants: what was cosigned is on the disk before the cosignature leaves; a size below it, or another root for it, is
never cosigned, whoever asks however often; with a state that is missing or damaged nothing is cosigned at all.
"""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cloud import strict_toml
from cloud.durable import replace_file
from cloud.errors import Fatal
from cloud.keys import load_or_create_private
from standards.tlog import witness
from standards.tlog.key import Cosigner, KeyTextError, VerifierKey, parse_vkey
from standards.tlog.note import is_name
from standards.tlog.tree import HASH_BYTES, SIZE_MAX
from standards.tlog.witness import Continued, Refusal, Seen

KEY_FILE, STATE_FILE, LOCK_FILE = "witness-key.pem", "seen.json", "lock"
_log = logging.getLogger(__name__)


class WitnessUnusable(Fatal):
    """The configuration or the state of a witness cannot be used; nothing is cosigned."""


class LogConfig(msgspec.Struct, frozen=True):
    """A log that is witnessed, by the keys that sign its checkpoints."""

    origin: Annotated[str, msgspec.Meta(min_length=1, max_length=1_000)]
    vkeys: Annotated[list[str], msgspec.Meta(min_length=1, max_length=16)]


class WitnessConfig(msgspec.Struct, frozen=True):
    """Everything a witness needs."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
    log: Annotated[list[LogConfig], msgspec.Meta(min_length=1, max_length=1_000)]
    host: str = "127.0.0.1"
    port: Annotated[int, msgspec.Meta(ge=0, le=65_535)] = 8090
    data_dir: Path = Path("witness")


def load(path: Path) -> WitnessConfig:
    """Read a configuration; paths start at the file's folder. Raises DocumentError, WitnessUnusable."""
    found = strict_toml.read(path, WitnessConfig)
    if not is_name(found.name):
        raise WitnessUnusable(f"{path}: name {found.name!r}: a key's name has no space and no plus sign")
    _keys(found, path)
    return msgspec.structs.replace(found, data_dir=path.absolute().parent / found.data_dir)


class Witness:
    """One witness with its key and its memory; only one process may hold the folder."""

    def __init__(self, config: WitnessConfig, *, now_s: Callable[[], int] = lambda: int(time.time())) -> None:
        self._config, self._now_s = config, now_s
        self._logs = _keys(config, config.data_dir)
        self._lock = threading.Lock()
        self._held = _hold(config.data_dir)
        try:
            self._key, self._seen = _open(config.data_dir)
        except Fatal:
            self.close()
            raise

    @property
    def vkey(self) -> VerifierKey:
        """What the log's operator and verifiers are given."""
        return Cosigner(self._config.name, self._key, at_s=0).verifier

    def answer(self, data: bytes) -> tuple[int, str, str]:
        """Status, media type and body for an `add-checkpoint`; what it cosigns is on the disk when it returns."""
        with self._lock:
            found = witness.consider(data, logs=self._logs, seen=lambda origin: self._seen.get(origin, Seen()))
            if isinstance(found, Refusal):
                return found.status, found.media_type, found.body
            self._keep(found)
            return (
                200,
                witness.TEXT_TYPE,
                Cosigner(self._config.name, self._key, at_s=self._now_s()).sign(found.text).line(),
            )

    def close(self) -> None:
        """Let the folder go."""
        os.close(self._held)

    def _keep(self, found: Continued) -> None:
        if self._seen.get(found.origin) == found.seen:
            return
        seen = self._seen | {found.origin: found.seen}
        replace_file(self._config.data_dir / STATE_FILE, _encode(seen), mode=0o600)
        self._seen = seen
        _log.info("cosigned %s at size %d", found.origin, found.seen.size)


class _SeenJson(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    size: Annotated[int, msgspec.Meta(ge=0, le=SIZE_MAX)]
    root: str


def _open(folder: Path) -> tuple[Ed25519PrivateKey, dict[str, Seen]]:
    """Key and memory. A key without a memory has cosigned what nobody knows any more: it must not go on."""
    key, state = folder / KEY_FILE, folder / STATE_FILE
    try:
        if not state.exists():
            if key.exists():
                raise WitnessUnusable(
                    f"{state}: is missing, so nobody knows what {key.name} has cosigned; restore it, or move the key "
                    "away and give the new one to everybody"
                )
            replace_file(state, _encode({}), mode=0o600)
        seen = _decode(state)
    except OSError as error:
        raise WitnessUnusable(f"{state}: {error.strerror}; check the rights of the folder") from error
    return load_or_create_private(key), seen


def _decode(state: Path) -> dict[str, Seen]:
    try:
        told = msgspec.json.decode(state.read_bytes(), type=dict[str, _SeenJson])
        found = {origin: Seen(one.size, bytes.fromhex(one.root)) for origin, one in told.items()}
    except (msgspec.MsgspecError, ValueError) as error:
        raise WitnessUnusable(f"{state}: damaged ({error}); restore it, nothing is cosigned without it") from error
    if wrong := [origin for origin, one in found.items() if len(one.root) != HASH_BYTES]:
        raise WitnessUnusable(f"{state}: damaged (the root of {wrong[0]}); restore it, nothing is cosigned without it")
    return found


def _encode(seen: dict[str, Seen]) -> bytes:
    return msgspec.json.encode({origin: _SeenJson(one.size, one.root.hex()) for origin, one in seen.items()})


def _hold(folder: Path) -> int:
    """Keep every other process out of the folder. Raises WitnessUnusable."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        held = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise WitnessUnusable(f"{folder}: {error.strerror}; check the rights of the folder") from error
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(held)
        raise WitnessUnusable(f"{folder}: another witness works with it; stop that one first") from error
    return held


def _keys(config: WitnessConfig, where: Path) -> dict[str, list[VerifierKey]]:
    found: dict[str, list[VerifierKey]] = {}
    for one in config.log:
        if one.origin in found:
            raise WitnessUnusable(f"{where}: log {one.origin!r} stands twice; put all its vkeys into one")
        try:
            found[one.origin] = [parse_vkey(vkey) for vkey in one.vkeys]
        except KeyTextError as error:
            raise WitnessUnusable(f"{where}: log {one.origin!r}: {error}") from error
    return found
