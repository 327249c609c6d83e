"""A small site the registry knows: a packing hall, a cold room, a truck, a customer; one product with limits."""

from __future__ import annotations

import tempfile
from pathlib import Path

from sqlalchemy import Engine

from cloud.db.engine import writing
from cloud.registry.load import load, read_file
from standards.gs1.check_digit import check_digit


def numbered(payload: str) -> str:
    """A GS1 key with its check digit."""
    return payload + check_digit(payload)


PARTY, HALL, ROOM, TRUCK, CUSTOMER = (numbered(f"8930000000{at}") for at in range(10, 15))
GTIN = numbered("0893000000001")
STRANGE_GTIN = numbered("0893000000999")
SSCC_1, SSCC_2, SSCC_3 = (numbered(f"08930000000000{at:03}") for at in range(1, 4))
MINUTE_S = 60


def carton(lot: str = "L1", gtin: str = GTIN) -> str:
    """What the scanner reads from a carton label."""
    return f"01{gtin}10{lot}"


def pallet(sscc: str = SSCC_1) -> str:
    """What the scanner reads from a pallet label."""
    return f"00{sscc}"


REGISTRY = f"""
[[party]]
gln = "{PARTY}"
name = "Công ty Thử nghiệm"

[[place]]
gln = "{HALL}"
name = "Xưởng đóng gói"
name_en = "Packing hall"
kind = "packing"
party = "{PARTY}"

[[place]]
gln = "{ROOM}"
name = "Kho lạnh 1"
name_en = "Cold room 1"
kind = "storage"
party = "{PARTY}"

[[place]]
gln = "{TRUCK}"
name = "Xe lạnh 1"
name_en = "Truck 1"
kind = "vehicle"
party = "{PARTY}"

[[place]]
gln = "{CUSTOMER}"
name = "Siêu thị"
name_en = "Supermarket"
kind = "customer"
party = "{PARTY}"
custody = false

[[read_point]]
gateway = "gw-kho-01"
channel = "packing/scan"
place = "{HALL}"
step = "pack"

[[read_point]]
gateway = "gw-kho-01"
channel = "door/scan"
place = "{ROOM}"
step = "store"

[[read_point]]
gateway = "gw-xe-01"
channel = "load/scan"
place = "{TRUCK}"
step = "load"

[[read_point]]
gateway = "gw-xe-01"
channel = "deliver/scan"
place = "{CUSTOMER}"
step = "deliver"

[[sensor_binding]]
gateway = "gw-kho-01"
channel = "hall/air"
place = "{HALL}"
measurement = "Temperature"
sensor = "T-hall"
log_interval_s = 60
valid_from = 2025-01-01T00:00:00Z

[[sensor_binding]]
gateway = "gw-kho-01"
channel = "room-1/air"
place = "{ROOM}"
measurement = "Temperature"
sensor = "T-room"
log_interval_s = 60
valid_from = 2025-01-01T00:00:00Z

[[sensor_binding]]
gateway = "gw-xe-01"
channel = "truck/air"
place = "{TRUCK}"
measurement = "Temperature"
sensor = "T-truck"
log_interval_s = 60
valid_from = 2025-01-01T00:00:00Z

[[profile]]
name = "frozen"
version = 1
title = "Hàng đông lạnh"
title_en = "Frozen goods"
source = "made for this test"
high = -18.0
valid_from = 2025-01-01T00:00:00Z

[[profile.rules]]
name = "warm"
direction = "above"
threshold = -15.0
duration_s = 900
severity = "critical"

[[product]]
gtin = "{GTIN}"
name = "Tôm đông lạnh"
name_en = "Frozen shrimps"
party = "{PARTY}"
profile = "frozen"
"""


def register(engine: Engine, document: str = REGISTRY) -> None:
    """Load a registry document."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "registry.toml"
        path.write_text(document, encoding="utf-8")
        with writing(engine) as conn:
            load(conn, read_file(path))
