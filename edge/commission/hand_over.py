"""Gathers what the installation report is made of, for the command and for the page."""

from __future__ import annotations

import base64
import datetime
import platform
from importlib import metadata
from pathlib import Path

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.commission.installation import REGISTRY_NAME, read_installation, read_positions
from edge.commission.letters import Look
from edge.commission.report import Language, Report, make_report
from edge.config import GatewayConfig
from edge.keys import PUBLIC_NAME, GatewayPublicHalf
from standards.cose import key_id

LIBRARIES = ("coldproof", "pymodbus", "serialx", "bleak", "llrpkit", "paho-mqtt", "cryptography", "msgspec")


def report_of(look: Look, config: GatewayConfig, language: Language, *, registry: Path | None = None) -> Report:
    """The report at this moment. Raises InstallationError."""
    registry = registry or config.path.with_name(REGISTRY_NAME)
    return make_report(
        look,
        config,
        installation=read_installation(config.path),
        positions=read_positions(registry, config.name, language=language),
        kid=_kid(config.data_dir),
        software=_software(),
        language=language,
        now=datetime.datetime.now(datetime.UTC).astimezone(),
    )


def _software() -> dict[str, str]:
    found = {}
    for name in LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return {**found, "Python": platform.python_version(), platform.system(): platform.release()}


def _kid(folder: Path) -> str:
    """The key's id in hex, as the cloud shows it; a dash where there is none."""
    try:
        half = msgspec.json.decode((folder / PUBLIC_NAME).read_bytes(), type=GatewayPublicHalf)
        key = Ed25519PublicKey.from_public_bytes(base64.b64decode(half.public_key))
    except (OSError, ValueError):
        return "–"
    return key_id(key).hex()
