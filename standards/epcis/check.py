"""The rules an event must keep beyond its types: terms, URIs, what must be there, and the rules of sensor data.

Terms and URIs: EPCIS 2.0 JSON schema 2.0.1. What no schema expresses: the parent of an aggregation
(ISO/IEC 19987:2024 §7.4.3), and sensor data (§7.3.7 and the conformance case TCR-53); the order of minimum,
mean and maximum is common sense.
"""

from __future__ import annotations

import datetime as dt
import math
import re
from collections.abc import Iterable

from standards import units
from standards.epcis import vocabulary
from standards.epcis.model import (
    AggregationEvent,
    EpcisError,
    Event,
    Extensions,
    Number,
    ObjectEvent,
    QuantityElement,
    SensorElement,
    SensorMetadata,
    SensorReport,
    json_name,
)

_OFFSET = re.compile(r"[+-](?:(?:0\d|1[0-3]):[0-5]\d|14:00)")
_UOM = re.compile(r"[A-Z0-9]{2,3}")
_HEX = re.compile(r"[A-Fa-f0-9]+")
_ONLY_ONCE = ("time", "device_id", "device_metadata", "raw_data", "data_processing_method", "biz_rules")
_NUMBERS = ("value", "min_value", "max_value", "mean_value", "s_dev", "perc_rank", "perc_value")
_WITH_UNIT = tuple(name for name in _NUMBERS if name != "perc_rank")  # a rank is in percent by definition


def check(event: Event) -> None:
    """Hold an event against every rule it can break by itself. Raises EpcisError."""
    _require(_OFFSET.fullmatch(event.event_time_zone_offset), "eventTimeZoneOffset", "not an offset like +07:00")
    _check_uris([("eventID", event.event_id)])
    _check_term(event.biz_step, "bizStep", vocabulary.BIZ_STEPS)
    _check_term(event.disposition, "disposition", vocabulary.DISPOSITIONS)
    _check_persistent_disposition(event)
    _check_context(event)
    _check_extensions(event.extensions, "")
    match event:
        case ObjectEvent():
            _check_object_event(event)
        case AggregationEvent():
            _check_aggregation_event(event)
    for at, element in enumerate(event.sensor_element_list):
        _check_sensor_element(element, event.event_time, f"sensorElementList[{at}]")


def _check_object_event(event: ObjectEvent) -> None:
    seen = event.epc_list is not None or event.quantity_list
    sensed = event.sensor_element_list and event.read_point is not None
    _require(seen or sensed, "", "names no object: epcList, quantityList, or sensor data at a readPoint is needed")
    _check_uris((f"epcList[{at}]", epc) for at, epc in enumerate(event.epc_list or ()))
    _require(len(set(event.epc_list or ())) == len(event.epc_list or ()), "epcList", "names an object twice")
    _check_quantities(event.quantity_list, "quantityList")
    if event.ilmd is not None:
        _require(event.action == "ADD", "ilmd", "only with action ADD: master data objects are born with")
        _check_extensions(event.ilmd, "ilmd")


def _check_aggregation_event(event: AggregationEvent) -> None:
    children = event.child_epcs or event.child_quantity_list
    _require(children or event.action == "DELETE", "", "names no child: childEPCs or childQuantityList is needed")
    named = event.parent_id is not None or event.action == "OBSERVE"
    _require(named, "parentID", "is missing: only an observation may leave the parent open", rule="parent")
    _check_uris([("parentID", event.parent_id)])
    _check_uris((f"childEPCs[{at}]", epc) for at, epc in enumerate(event.child_epcs))
    _check_quantities(event.child_quantity_list, "childQuantityList")


def _check_persistent_disposition(event: Event) -> None:
    held = event.persistent_disposition
    if held is None:
        return
    where = "persistentDisposition"
    _require(held.set is not None or held.unset is not None, where, "set or unset is needed")
    for name, terms in (("set", held.set), ("unset", held.unset)):
        if terms is None:
            continue
        _require(terms and len(set(terms)) == len(terms), f"{where}.{name}", "empty or with repeated terms")
        for at, term in enumerate(terms):
            _check_term(term, f"{where}.{name}[{at}]", vocabulary.DISPOSITIONS)


def _check_context(event: Event) -> None:
    """Where, with whom and by which documents."""
    for name, place in (("readPoint", event.read_point), ("bizLocation", event.biz_location)):
        if place is not None:
            _check_uris([(f"{name}.id", place.id)])
    for at, transaction in enumerate(event.biz_transaction_list):
        where = f"bizTransactionList[{at}]"
        _check_term(transaction.type, f"{where}.type", vocabulary.BIZ_TRANSACTION_TYPES)
        _check_uris([(f"{where}.bizTransaction", transaction.biz_transaction)])
    for at, source in enumerate(event.source_list):
        _check_term(source.type, f"sourceList[{at}].type", vocabulary.SOURCE_DESTINATION_TYPES)
        _check_uris([(f"sourceList[{at}].source", source.source)])
    for at, destination in enumerate(event.destination_list):
        _check_term(destination.type, f"destinationList[{at}].type", vocabulary.SOURCE_DESTINATION_TYPES)
        _check_uris([(f"destinationList[{at}].destination", destination.destination)])
    info = event.certification_info
    _check_uris(("certificationInfo", uri) for uri in ([info] if isinstance(info, str) else info or ()))
    if event.error_declaration is not None:
        _check_term(event.error_declaration.reason, "errorDeclaration.reason", vocabulary.ERROR_REASONS)
        corrected = enumerate(event.error_declaration.corrective_event_ids)
        _check_uris((f"errorDeclaration.correctiveEventIDs[{at}]", uri) for at, uri in corrected)
        _check_extensions(event.error_declaration.extensions, "errorDeclaration")


def _check_quantities(elements: list[QuantityElement], where: str) -> None:
    for at, element in enumerate(elements):
        _check_uris([(f"{where}[{at}].epcClass", element.epc_class)])
        _check_finite(element.quantity, f"{where}[{at}].quantity")
        form = element.uom is None or _UOM.fullmatch(element.uom)
        _require(form, f"{where}[{at}].uom", f"{element.uom!r} is not a UN/ECE Rec 20 code")


def _check_sensor_element(element: SensorElement, event_time: dt.datetime, where: str) -> None:
    metadata = element.sensor_metadata or SensorMetadata()
    inside = f"{where}.sensorMetadata"
    for name in ("device_id", "device_metadata", "raw_data", "data_processing_method", "biz_rules"):
        _check_uris([(f"{inside}.{json_name(name)}", getattr(metadata, name))])
    if metadata.start_time is not None and metadata.end_time is not None:
        ordered = metadata.start_time <= metadata.end_time
        _require(ordered, f"{inside}.startTime", "lies after endTime", rule="sensor")
    _check_not_after(metadata.time, event_time, f"{inside}.time")
    _check_extensions(metadata.extensions, inside)
    _check_extensions(element.extensions, where)
    for at, report in enumerate(element.sensor_report):
        path = f"{where}.sensorReport[{at}]"
        _check_report(report, path)
        _check_not_after(report.time, event_time, f"{path}.time")
        for name in _ONLY_ONCE:
            twice = getattr(metadata, name, None) is not None and getattr(report, name) is not None
            _require(not twice, f"{path}.{json_name(name)}", "stands in sensorMetadata too (TCR-53)", rule="sensor")


def _check_report(report: SensorReport, where: str) -> None:
    known = vocabulary.is_sensor_term(report.type, vocabulary.MEASUREMENT_TYPES)
    _require(known, f"{where}.type", f"{report.type[:80]!r} is neither a gs1:MeasurementType nor a URI")
    exception = report.exception
    known = exception is None or vocabulary.is_sensor_term(exception, vocabulary.SENSOR_EXCEPTIONS)
    _require(known, f"{where}.exception", "neither ALARM_CONDITION, ERROR_CONDITION nor a URI")
    _check_term(report.component, f"{where}.component", vocabulary.COMPONENTS)
    for name in (*_ONLY_ONCE[1:], "uri_value", "microorganism", "chemical_substance", "coordinate_reference_system"):
        _check_uris([(f"{where}.{json_name(name)}", getattr(report, name))])
    hexadecimal = report.hex_binary_value is None or _HEX.fullmatch(report.hex_binary_value)
    _require(hexadecimal, f"{where}.hexBinaryValue", "not hexadecimal")
    for name in _NUMBERS:
        _check_finite(getattr(report, name), f"{where}.{json_name(name)}")
    _check_extensions(report.extensions, where)
    _check_statistics(report, where)
    _check_unit(report, where)


def _check_statistics(report: SensorReport, where: str) -> None:
    ascending = [value for value in (report.min_value, report.mean_value, report.max_value) if value is not None]
    _require(ascending == sorted(ascending), where, "not minValue ≤ meanValue ≤ maxValue", rule="sensor")
    _require(report.s_dev is None or report.s_dev >= 0, f"{where}.sDev", "is negative", rule="sensor")
    ranked = report.perc_rank is None or 0 <= report.perc_rank <= 100
    _require(ranked, f"{where}.percRank", "not in 0 to 100", rule="sensor")


def _check_unit(report: SensorReport, where: str) -> None:
    path = f"{where}.uom"
    if report.uom is None:
        bare = [name for name in _WITH_UNIT if getattr(report, name) is not None]
        _require(not bare, path, f"is missing beside {', '.join(map(json_name, bare))}", rule="sensor")
        return
    form = _UOM.fullmatch(report.uom)
    _require(form, path, f"{report.uom[:20]!r} is not a UN/ECE Rec 20 code", rule="sensor")
    quantity = vocabulary.MEASUREMENT_TYPES.get(report.type.removeprefix("gs1:"))
    if quantity is not None and units.is_unit(report.uom):
        measured = units.unit(report.uom).quantity
        _require(measured == quantity, path, f"{report.uom} measures {measured}, not {report.type}", rule="sensor")


def _check_not_after(time: dt.datetime | None, event_time: dt.datetime, where: str) -> None:
    _require(time is None or time <= event_time, where, "lies after eventTime", rule="sensor")


def _check_finite(value: Number | None, where: str) -> None:
    _require(value is None or math.isfinite(value), where, "not a finite number")


def _check_term(term: str | None, where: str, terms: frozenset[str]) -> None:
    known = term is None or vocabulary.is_term(term, terms)
    _require(known, where, f"{(term or '')[:80]!r} is neither a CBV term nor another vocabulary's URI")


def _check_uris(named: Iterable[tuple[str, str | None]]) -> None:
    for where, uri in named:
        _require(uri is None or vocabulary.is_uri(uri), where, f"{(uri or '')[:80]!r} is not a URI")


def _check_extensions(extensions: Extensions, where: str) -> None:
    for name in extensions:
        _require(vocabulary.is_uri(name), where, f"field {name[:80]!r} is unknown and not namespaced")


def _require(claim: object, where: str, why: str, *, rule: str = "schema") -> None:
    if not claim:
        raise EpcisError(where, why, rule=rule)
