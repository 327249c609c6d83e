"""What the commands of `coldproof cloud` share: which cloud is meant, its database, how an instant is written."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from sqlalchemy import Engine

from cloud import config as cloud_config
from cloud.config import CloudConfig
from cloud.db.engine import migrate as migrate_database
from cloud.db.engine import open_engine
from cloud.errors import CloudError

ConfigOption = Annotated[Path | None, typer.Option("--config", help="The cloud's TOML configuration.")]
DataOption = Annotated[Path | None, typer.Option("--data-dir", help="The data folder, when there is no file.")]
DEFAULT_DATA_DIR = Path("data")


def settings_of(file: Path | None, data_dir: Path | None, *, begins: bool = False) -> CloudConfig:
    """The configuration that is meant. begins: the command may make a new cloud; others must find one.

    Raises CloudError.
    """
    if file is None and data_dir is None and not begins and not DEFAULT_DATA_DIR.exists():
        raise CloudError(f"no cloud in ./{DEFAULT_DATA_DIR}: name its configuration with --config, or --data-dir")
    if file is None:
        return cloud_config.defaults(data_dir or DEFAULT_DATA_DIR)
    if data_dir is not None:
        raise CloudError("give either a configuration or --data-dir: the configuration names its own data_dir")
    return cloud_config.load(file)


@contextmanager
def database(config: CloudConfig) -> Iterator[Engine]:
    """The migrated database."""
    engine = open_engine(config.database_url)
    try:
        migrate_database(engine)
        yield engine
    finally:
        engine.dispose()


def time_text(at_ms: int) -> str:
    """An instant for a person: ISO 8601, to the second."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds")
