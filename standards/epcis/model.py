"""EPCIS 2.0 events as frozen structs: what happened (why, where, when) to which objects. ISO/IEC 19987:2024 §7.

Two of the five event types stand here; the others are further structs of the union `Event` with the same parts.
Names in JSON are the standard's. Namespaced fields (`prefix:name` or a URI) are kept in `extensions` as they came.
Numbers are JSON numbers, instants are aware datetimes.
"""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal

import msgspec


class EpcisError(ValueError):
    """An event is refused. `path` names the field from the event down, `rule` the kind of rule, for machines.

    rule: `schema` for the form of EPCIS JSON, `parent` and `sensor` for rules no schema holds.
    """

    def __init__(self, path: str, why: str, *, rule: str = "schema") -> None:
        super().__init__(f"{path}: {why}" if path else why)
        self.path = path
        self.rule = rule


Number = int | float
Instant = Annotated[dt.datetime, msgspec.Meta(tz=True)]
Action = Literal["ADD", "OBSERVE", "DELETE"]
Extensions = dict[str, Any]

# Where the standard's name is not plain camel case.
_NAMES = {
    "event_id": "eventID",
    "parent_id": "parentID",
    "child_epcs": "childEPCs",
    "device_id": "deviceID",
    "corrective_event_ids": "correctiveEventIDs",
}


def json_name(field: str) -> str:
    """The standard's name of a field of the structs below."""
    first, *rest = field.split("_")
    return _NAMES.get(field, first + "".join(word.capitalize() for word in rest))


class Part(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, forbid_unknown_fields=True, rename=json_name):
    """What every struct here is: frozen, named as in the standard, refusing names the standard doesn't know."""


class Identified(Part, frozen=True, kw_only=True):
    """A read point or business location: `id` is its URI."""

    id: str
    extensions: Extensions = {}


class QuantityElement(Part, frozen=True, kw_only=True):
    """So much of a class (of a lot, of a product); `uom` is a Rec 20 code, absent for a count of items."""

    epc_class: str
    quantity: Number | None = None
    uom: str | None = None


class BizTransaction(Part, frozen=True, kw_only=True):
    """A business document the event belongs to."""

    biz_transaction: str
    type: str | None = None


class Source(Part, frozen=True, kw_only=True):
    """Where, or from whom, a transfer began."""

    type: str
    source: str


class Destination(Part, frozen=True, kw_only=True):
    """Where, or with whom, a transfer ends."""

    type: str
    destination: str


class PersistentDisposition(Part, frozen=True, kw_only=True):
    """Conditions that hold until they are unset."""

    set: list[str] | None = None
    unset: list[str] | None = None


class ErrorDeclaration(Part, frozen=True, kw_only=True):
    """The event, as captured before, was wrong."""

    declaration_time: Instant
    reason: str | None = None
    corrective_event_ids: list[str] = []
    extensions: Extensions = {}


class SensorMetadata(Part, frozen=True, kw_only=True):
    """What holds for all reports of a sensor element: an instant or an interval, device, rules, raw data."""

    time: Instant | None = None
    start_time: Instant | None = None
    end_time: Instant | None = None
    device_id: str | None = None
    device_metadata: str | None = None
    raw_data: str | None = None
    data_processing_method: str | None = None
    biz_rules: str | None = None
    extensions: Extensions = {}


class SensorReport(Part, frozen=True, kw_only=True):
    """One measured quantity: a value, or statistics over the element's interval. `uom`: Rec 20."""

    type: str
    exception: str | None = None
    value: Number | None = None
    min_value: Number | None = None
    max_value: Number | None = None
    mean_value: Number | None = None
    s_dev: Number | None = None
    perc_rank: Number | None = None
    perc_value: Number | None = None
    uom: str | None = None
    component: str | None = None
    string_value: str | None = None
    boolean_value: bool | None = None
    hex_binary_value: str | None = None
    uri_value: str | None = None
    time: Instant | None = None
    device_id: str | None = None
    device_metadata: str | None = None
    raw_data: str | None = None
    data_processing_method: str | None = None
    biz_rules: str | None = None
    microorganism: str | None = None
    chemical_substance: str | None = None
    coordinate_reference_system: str | None = None
    extensions: Extensions = {}


class SensorElement(Part, frozen=True, kw_only=True):
    """Reports that share their metadata."""

    sensor_report: Annotated[list[SensorReport], msgspec.Meta(min_length=1)]
    sensor_metadata: SensorMetadata | None = None
    extensions: Extensions = {}


class _EventPart(Part, frozen=True, kw_only=True, tag_field="type"):
    event_time: Instant
    event_time_zone_offset: str
    action: Action
    event_id: str | None = None
    record_time: Instant | None = None
    biz_step: str | None = None
    disposition: str | None = None
    persistent_disposition: PersistentDisposition | None = None
    read_point: Identified | None = None
    biz_location: Identified | None = None
    biz_transaction_list: list[BizTransaction] = []
    source_list: list[Source] = []
    destination_list: list[Destination] = []
    sensor_element_list: list[SensorElement] = []
    certification_info: str | list[str] | None = None
    error_declaration: ErrorDeclaration | None = None
    extensions: Extensions = {}


class ObjectEvent(_EventPart, frozen=True, kw_only=True, tag="ObjectEvent"):
    """Something happened to objects: named one by one (`epc_list`) or as so much of a class.

    `ilmd`: master data that a lot or item is born with; only with action ADD.
    """

    epc_list: list[str] | None = None
    quantity_list: list[QuantityElement] = []
    ilmd: Extensions | None = None


class AggregationEvent(_EventPart, frozen=True, kw_only=True, tag="AggregationEvent"):
    """Children were put into a parent (ADD), seen in it, or taken out (DELETE)."""

    parent_id: str | None = None
    child_epcs: list[str] = []
    child_quantity_list: list[QuantityElement] = []


Event = ObjectEvent | AggregationEvent
EVENT_TYPES = ("ObjectEvent", "AggregationEvent")
