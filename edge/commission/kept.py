"""The last good configuration, and the trial of a new one, as files in the data folder.

`config-good.toml` is what ran last and proved itself. `config-trial` names a new one while its first readings are
awaited: where the gateway finds it at a start, the trial was cut off (by a crash, a power cut or a stop), and the last
good one takes its place again. What is put aside lies beside the configuration as `….rejected`, never deleted.
"""

from __future__ import annotations

import hashlib
import logging

from edge.config import ConfigError, GatewayConfig, parse_config
from edge.durable import replace_file, sync_folder

GOOD_NAME = "config-good.toml"
TRIAL_NAME = "config-trial"
REJECTED_SUFFIX = ".rejected"
MODE = 0o600  # it may hold keys of encrypted sensors

log = logging.getLogger(__name__)


def digest(text: str) -> str:
    """SHA-256 of a configuration, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def keep_good(config: GatewayConfig) -> None:
    """This one has proved itself. Raises OSError."""
    path = config.data_dir / GOOD_NAME
    if not config.text:  # made by hand, not read from a file: there is nothing to go back to
        return
    if not path.exists() or path.read_bytes() != config.text.encode():
        replace_file(path, config.text.encode(), mode=MODE)
    trial = config.data_dir / TRIAL_NAME
    if trial.exists():
        trial.unlink()
        sync_folder(config.data_dir)


def begin_trial(wanted: GatewayConfig) -> None:
    """This one is about to be tried. Raises OSError."""
    replace_file(wanted.data_dir / TRIAL_NAME, digest(wanted.text).encode(), mode=MODE)


def put_back(good: GatewayConfig, *, rejected: str) -> str:
    """Make the file of the configuration say again what runs; what was rejected lies beside it.

    Returns where it lies now. Raises OSError: then the trial stays on record, and the next start does the same.
    """
    path = good.path
    aside = path.with_name(path.name + REJECTED_SUFFIX)
    if digest(rejected) != digest(good.text):
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o640
        replace_file(aside, rejected.encode(), mode=mode)
        replace_file(path, good.text.encode(), mode=mode)
    (good.data_dir / TRIAL_NAME).unlink(missing_ok=True)
    sync_folder(good.data_dir)
    return str(aside)


def settle_trial(config: GatewayConfig) -> GatewayConfig:
    """At a start: `config`, or the last good one in its place where the trial of `config` was cut off."""
    try:
        tried = (config.data_dir / TRIAL_NAME).read_text()
        good_text = (config.data_dir / GOOD_NAME).read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return config
    if tried != digest(config.text) or good_text == config.text:
        return config
    try:
        good = parse_config(good_text, config.path)
    except ConfigError as error:
        log.error("a configuration whose trial was cut off stays, the last good one cannot be used: %s", error)
        return config
    try:
        aside = put_back(good, rejected=config.text)
    except OSError as error:
        log.error("%s cannot be put back, its last good version runs all the same: %s", config.path, error)
    else:
        log.error("the trial of a new configuration was cut off; the last good one runs, the other is %s", aside)
    return good
