"""The broker of the bench: mosquitto with a persistent store, to be stopped, killed and emptied."""

from __future__ import annotations

from pathlib import Path

from coldproof.demo.broker import BrokerError, LocalBroker, free_port

_STORE = """
persistence true
persistence_location {folder}/
autosave_interval 1
"""


class Mosquitto(LocalBroker):
    """A LocalBroker that keeps sessions and queues on the disk, as a site's broker does."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, free_port())
        if self.name != "mosquitto":
            raise BrokerError("the fault bench needs mosquitto: install Debian's `mosquitto`")
        self._store = folder / "broker-store"
        self._store.mkdir(exist_ok=True)
        config = folder / "broker.conf"
        text = config.read_text().replace("persistence false\n", "")
        config.write_text(text + _STORE.format(folder=self._store))

    def forget(self) -> None:
        """Take away what a stopped broker kept: sessions, subscriptions, queues, retained letters."""
        for file in self._store.iterdir():
            file.unlink()
