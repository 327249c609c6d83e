"""Finds BLE devices in the air, also while the gateway listens: BlueZ serves several."""

from __future__ import annotations

from typing import Any

from edge.commission.finder import Asked, Finding, Place, Scene
from edge.commission.words import SIGNS
from edge.drivers.ble.discover import Found, discover

ADAPTER = "hci0"
UNKNOWN_SHOWN = 10  # the nearest ones with a name; telephones have none


class BleFinder:
    """Listens for as long as the person allows."""

    def places(self, asked: Asked) -> list[Place]:
        """The radio, if it may be used."""
        return [Place(f"radio:{ADAPTER}", f"Bluetooth {ADAPTER}", shared=True)] if asked.radio_s > 0 else []

    async def look(self, place: Place, scene: Scene) -> list[Finding]:
        """Every device of a known kind, and the nearest unknown ones. Raises DeviceUnavailable without an adapter."""
        scene.say(f"{place.address}: listening for {scene.asked.radio_s:g} s")
        found = await discover(ADAPTER, seconds=scene.asked.radio_s)
        known = [_finding(each) for each in found if each.proposal]
        unknown = [each for each in found if not each.proposal]
        scene.say(f"{place.address}: {len(known)} sensors, {len(unknown)} other devices in the air")
        return known + [_unknown(each) for each in unknown if each.name][:UNKNOWN_SHOWN]


def _finding(found: Found) -> Finding:
    observations = found.says.get("observations", [])
    needs_key = "bindkey" in found.proposal
    return Finding(
        where=f"{found.address}, {found.rssi_dbm} dBm",
        what=f"{found.name or 'BLE sensor'} ({found.says.get('format') or found.proposal['driver']})",
        certainty="sure",
        table=dict(found.proposal),
        live=[_words(each) for each in observations],
        channels=[(str(each["point"]), str(each["unit"])) for each in observations if each.get("unit")],
        fault="its adverts are encrypted: write its bindkey (from the maker's app) into the table" if needs_key else "",
    )


def _unknown(found: Found) -> Finding:
    return Finding(
        where=f"{found.address}, {found.rssi_dbm} dBm",
        what=f"{found.name}: a BLE device of a kind we don't decode",
        live=[str(found.says.get("error", ""))[:120]],
    )


def _words(observation: dict[str, Any]) -> str:
    unit = str(observation.get("unit", ""))
    return f"{observation['point']} {observation.get('value')}{SIGNS.get(unit, f' {unit}')}"


finder = BleFinder()
