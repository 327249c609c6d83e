"""The cold store as a site of ours: its rooms, probes, scanners and products, and the lots that travel through it.

Rooms follow the probes' names; that freezer_1/2 and freezer_3/4 hang in two chambers, docs/cold-store.md tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, NamedTuple

from cloud.registry.document import (
    BindingEntry,
    Document,
    PartyEntry,
    PlaceEntry,
    ProductEntry,
    ProfileEntry,
    ReadPointEntry,
)
from edge.drivers.modbus.codec import shipped_profile
from firmware_sim.kinds import Bus, Device, Gateway, ModbusRtu, RecordedPoint, Scanner
from firmware_sim.place import Ambient, Offset
from firmware_sim.scenario import Scenario
from standards.gs1.check_digit import check_digit
from tests.journeys.alarm_file import Limit, Side
from tests.journeys.saveris import PROBES, RAW_TIME_FORMAT, RAW_VALUES, STEP_MS, VALUES, ZONE
from tests.journeys.site_rule import changes, rules_at, sides_of

GATEWAY = "gw-cold-store"
BEGIN = datetime(2021, 1, 1, tzinfo=UTC)  # the registry is older than the log
POLL_TIMEOUT_S = 30.0  # a busy machine must not decide what is read


class Room(NamedTuple):
    """A place with its probes, and the scanner at its door."""

    name: str
    number: int
    kind: str
    probes: tuple[str, ...]
    step: str


PLATFORM = Room("platform", 1, "packing", ("platform_1", "platform_2"), "pack")
FREEZER_1 = Room("freezer-1", 2, "storage", ("freezer_1", "freezer_2"), "store")
FREEZER_2 = Room("freezer-2", 3, "storage", ("freezer_3", "freezer_4"), "store")
DEEPFREEZER = Room("deepfreezer", 4, "storage", ("deepfreezer_1", "deepfreezer_2"), "store")
COOLER = Room("cooler", 5, "storage", ("cooling_1", "cooling_2"), "store")
CUSTOMER = Room("customer", 6, "customer", (), "deliver")
ROOMS = (PLATFORM, FREEZER_1, FREEZER_2, DEEPFREEZER, COOLER, CUSTOMER)

#: Product → the rooms whose limits it is judged by.
STORED_IN = {
    "frozen": (*FREEZER_1.probes, *FREEZER_2.probes),
    "deep-frozen": DEEPFREEZER.probes,
    "chilled": COOLER.probes,
}


class Visit(NamedTuple):
    """A lot comes to a room."""

    at_ms: int
    room: Room


@dataclass(frozen=True)
class Lot:
    """One lot on one pallet: packed on the platform when its first visit begins, then where its visits say."""

    number: int
    product: str
    visits: tuple[Visit, ...]

    @property
    def name(self) -> str:
        """The lot number on its labels."""
        return f"LOT{self.number:03}"

    @property
    def pallet(self) -> str:
        """Its SSCC."""
        return _numbered(f"0893000000{self.number:07}")


class Scanned(NamedTuple):
    """A code that somebody scans, and where."""

    at_ms: int
    scanner: str
    code: str


def gln(room: Room) -> str:
    """A room's GLN."""
    return _numbered(f"89300000{room.number:04}")


def gtin(product: str) -> str:
    """A product's GTIN-14."""
    return _numbered(f"089300000{list(STORED_IN).index(product) + 1:04}")


def scans(lots: Sequence[Lot]) -> list[Scanned]:
    """Everything that is scanned, in order of time; what belongs to one pallet stays together."""
    found = []
    for lot in lots:
        first = lot.visits[0]
        carton = Scanned(first.at_ms, _scanner(PLATFORM), f"01{gtin(lot.product)}10{lot.name}")
        found.append([carton, Scanned(first.at_ms, _scanner(PLATFORM), f"00{lot.pallet}")])
        found += [
            [Scanned(at_ms, _scanner(room), f"00{lot.pallet}")] for at_ms, room in lot.visits if room is not PLATFORM
        ]
    return [scan for group in sorted(found, key=lambda group: group[0].at_ms) for scan in group]


def separate_probes() -> tuple[Scenario, dict[str, str]]:
    """Ten transmitters, a line for each room at 115,200 baud; and the channel of each probe."""
    buses = [Bus(f"line-{room.name}", baudrate=115_200) for room in ROOMS if room.probes]
    devices: list[Device] = [
        ModbusRtu(
            name=probe,
            gateway=GATEWAY,
            bus=f"line-{room.name}",
            unit_id=unit_id,
            profile="pt100",
            points={"air": _recorded(probe)},
            interval_s=STEP_MS / 1000,
            timeout_s=POLL_TIMEOUT_S,
        )
        for room in ROOMS
        for unit_id, probe in enumerate(room.probes, 1)
    ]
    return _scenario(buses, devices), {probe: f"{probe}/air" for probe in PROBES}


def one_module() -> tuple[Scenario, dict[str, str]]:
    """One module that all ten probes are wired to, on a line as fast as memory; and the channel of each probe."""
    points = [point.name for point in shipped_profile("pt100-10").points]
    module = ModbusRtu(
        name="module",
        gateway=GATEWAY,
        bus="line",
        unit_id=1,
        profile="pt100-10",
        points={point: _recorded(probe) for point, probe in zip(points, PROBES, strict=True)},
        interval_s=STEP_MS / 1000,
        timeout_s=POLL_TIMEOUT_S,
    )
    channels = {probe: f"module/{point}" for point, probe in zip(points, PROBES, strict=True)}
    return _scenario([Bus("line", baudrate=115_200, paced=False)], [module]), channels


def failing_probes() -> tuple[Scenario, dict[str, str]]:
    """The deep freezer's probes from the vendor's raw export: one says that it fails, the other refuses to answer."""
    line = f"line-{DEEPFREEZER.name}"
    told_by: list[tuple[str, str, Literal["sentinel", "exception"]]] = [
        ("deepfreezer_1", "c", "sentinel"),
        ("deepfreezer_2", "d", "exception"),
    ]
    devices: list[Device] = [
        ModbusRtu(
            name=probe,
            gateway=GATEWAY,
            bus=line,
            unit_id=unit_id,
            profile="pt100",
            points={"air": RecordedPoint(RAW_VALUES, column, ["date", "hour"], ZONE, RAW_TIME_FORMAT)},
            interval_s=STEP_MS / 1000,
            timeout_s=POLL_TIMEOUT_S,
            failure=failure,
        )
        for unit_id, (probe, column, failure) in enumerate(told_by, 1)
    ]
    return _scenario([Bus(line, paced=False)], devices), {probe: f"{probe}/air" for probe in PROBES}


def registry(channels: Mapping[str, str], limits: Mapping[Side, Sequence[Limit]]) -> Document:
    """The site as the cloud's registry knows it, with the vendor's limits as they change over time."""
    party = PartyEntry(_numbered("893000009999"), "Kho lạnh")
    places = [
        PlaceEntry(gln(room), room.name, room.name, room.kind, party.gln, custody=room is not CUSTOMER)  # type: ignore[arg-type]
        for room in ROOMS
    ]
    points = [ReadPointEntry(GATEWAY, f"{_scanner(room)}/scan", gln(room), room.step) for room in ROOMS]  # type: ignore[arg-type]
    bindings = [
        BindingEntry(GATEWAY, channels[probe], gln(room), "Temperature", probe, STEP_MS // 1000, BEGIN)
        for room in ROOMS
        for probe in room.probes
    ]
    profiles = [one for product in STORED_IN for one in _profiles(product, limits)]
    products = [ProductEntry(gtin(product), product, product, party.gln, product) for product in STORED_IN]
    return Document([party], places, points, bindings, profiles, products)


def _profiles(product: str, limits: Mapping[Side, Sequence[Limit]]) -> list[ProfileEntry]:
    room, platform = sides_of(limits, STORED_IN[product]), sides_of(limits, PLATFORM.probes)
    common: dict[str, Any] = {"name": product, "title": product, "title_en": product, "source": "alarms file"}
    entries = [ProfileEntry(**common, version=1, valid_from=BEGIN)]
    for version, at_ms in enumerate(changes(room, platform), 2):
        rules = rules_at(room, at_ms, places=["storage"]) + rules_at(platform, at_ms, places=["packing"])
        valid_from = datetime.fromtimestamp(at_ms / 1000, UTC)
        entries.append(ProfileEntry(**common, version=version, valid_from=valid_from, rules=rules))
    return entries


def _scenario(buses: list[Bus], devices: list[Device]) -> Scenario:
    scanners: list[Device] = [Scanner(_scanner(room), GATEWAY) for room in ROOMS]
    return Scenario(
        name="cold-store",
        title="Kho lạnh ghi lại",
        title_en="Recorded cold store",
        duration=Offset(0),
        ambient=Ambient(mean_c=20, swing_c=0),
        place=[],
        gateway=[Gateway(GATEWAY)],
        bus=buses,
        device=devices + scanners,
    )


def _recorded(probe: str) -> RecordedPoint:
    return RecordedPoint(file=VALUES, column=probe, time_columns=["date"], zone=ZONE)


def _scanner(room: Room) -> str:
    return f"scanner-{room.name}"


def _numbered(payload: str) -> str:
    return payload + check_digit(payload)
