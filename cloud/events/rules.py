"""Scan rules: what a scan at a read point means, as an EPCIS event or a finding. Pure; nothing is dropped in silence.

    step     label          → event
    pack     (01)+(10)      one carton of the lot: ObjectEvent ADD, commissioning
    pack     (00)           closes the pallet: AggregationEvent ADD, packing; inside is every carton scanned since the
                            pallet before (of the same channel and stream)
    store    (00)           ObjectEvent OBSERVE, storing
    load     (00)           ObjectEvent OBSERVE, loading; the lot is in the vehicle from now on
    deliver  (00)           ObjectEvent OBSERVE, receiving at the customer

Repeats: carton labels of one lot are all alike, so a repeated carton scan is another carton and counts. A pallet's
label is unique, so the same SSCC again at the same step and place within 60 s is a scanner held too long: one event,
and a finding for each repeat. A scan that cannot become an event becomes a finding with one of REASONS; the scan itself
stays in the record either way. A pallet seen at a step without ever having been built is an event like any other (it
was there); that it was never built is asked of all events together (events/query.py): one scan cannot know.
A gateway keeps apart what is no goods: of a read point NAME/POINT, the channel NAME/POINT.repeats has double scans,
NAME/POINT.refused codes that were answered with red, and NAME/POINT.COMMAND command cards.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from cloud.instant import from_ms
from cloud.telemetry.place import Place
from standards.epcis.model import AggregationEvent, Event, Identified, ObjectEvent, QuantityElement
from standards.gs1 import damage, digital_link
from standards.gs1.application_identifier import Gs1Error
from standards.gs1.scan import parse
from wire.event_id import event_id_of

#: Why a scan is not an event.
REASONS = frozenset(
    {
        "unknown_read_point",  # nobody told the registry what this scanner's channel means
        "test_scan",  # made to try the installation
        "unreadable_code",  # not GS1, or damaged: the detail names the element
        "no_lot",  # a GTIN without a lot number
        "no_key",  # GS1, but neither a lot nor an SSCC
        "unknown_product",  # the GTIN is not in the registry
        "lot_label_here",  # a carton label where pallets are scanned
        "empty_pallet",  # an SSCC at the packing line with no carton before it
        "repeated_scan",  # the same SSCC again at once, or the same code within its scanner's double-scan window
        "command_card",  # a scanner's command (start lot, undo …), which no rule acts on
        "carried_copy",  # a copy of this scan, carried over into another pack or from one, counts already
        "clock_unset",  # nobody set the gateway's clock, and it cannot have been then; a correction makes it an event
        "from_future",  # later than its own receipt, so its time is wrong for good; a correction makes it an event
    }
)
REPEAT_WINDOW_MS = 60_000
TIME_ZONE_OFFSET = "+07:00"  # Vietnam; EPCIS asks for the offset in force where the event happened


@dataclass(frozen=True, slots=True)
class ScanClock:
    """What is known of a scan's time. unset: nobody ever set the clock.

    possible: it can have been then. near: it says about the time of its receipt. future: it claims to be from after it.
    uncertainty_ms: how far off its correction may be; 0 where nobody corrected it.
    """

    unset: bool = False
    future: bool = False
    possible: bool = True
    near: bool = False
    received_ms: int = 0
    uncertainty_ms: int = 0


SET = ScanClock()


@dataclass(frozen=True, slots=True)
class SeenScan:
    """A stored scan. (gateway, stream, seq, ordinal) is its identity, pack_id where its row is.

    place: where it stands in the order of a stream, which need not be the one it came in (telemetry/place.py).
    observed_ms: its corrected time, as far as it is known by now.
    """

    gateway: str
    stream: bytes
    seq: int
    ordinal: int
    pack_id: int
    channel: str
    code: str
    symbology: str
    observed_ms: int
    quality: int
    place: Place
    clock: ScanClock = SET


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a scan is not an event: one of REASONS, and what exactly."""

    reason: str
    detail: str


@dataclass(frozen=True, slots=True)
class Carton:
    """A carton label: one unit of a lot. uri: the lot's canonical Digital Link."""

    gtin: str
    uri: str


@dataclass(frozen=True, slots=True)
class Pallet:
    """A pallet label. uri: the SSCC's canonical Digital Link."""

    uri: str


@dataclass(frozen=True, slots=True)
class Step:
    """What a read point means: pack, store, load or deliver, at a place (its Digital Link URI)."""

    name: str
    place: str


def event_id(scan: SeenScan) -> str:
    """The id of the event a scan becomes: the same for ever, so that working it through again doubles nothing."""
    return event_id_of(scan.gateway, scan.stream, scan.seq, scan.ordinal)


def read_label(code: str, symbology: str) -> Carton | Pallet | Finding:
    """What a scanned code names; a label with both an SSCC and a lot is a pallet's."""
    try:
        label = parse(code, symbology)
        lost = damage.swallowed(label)
        if lost is not None:
            return Finding("unreadable_code", lost.what)
        if label.sscc is not None:
            return Pallet(digital_link.sscc(label.sscc))
        if label.gtin is not None and label.lot is not None:
            return Carton(label.gtin, digital_link.lot(label.gtin, label.lot))
    except Gs1Error as error:
        found = damage.find(code, symbology, error)
        return Finding("unreadable_code", str(error) if found is None else found.what)
    if label.gtin is not None:
        return Finding("no_lot", f"GTIN {label.gtin} without a lot number (10)")
    return Finding("no_key", f"({', '.join(ai for ai, _ in label.values)}): neither lot nor SSCC")


def judge_apart(part: str, code: str, symbology: str) -> Finding:
    """Why a scan is no event that its scanner keeps apart from goods: it has the channel POINT.part."""
    if part == "repeats":
        return Finding("repeated_scan", "the scanner read the same code again within its double-scan window")
    if part == "refused":
        label = read_label(code, symbology)
        if isinstance(label, Finding) and label.reason == "unreadable_code":
            return label
        return Finding("unreadable_code", "refused at the scanner: damaged on the way, or not what it is there for")
    return Finding("command_card", f"{part}: {code[:80]}")


def judge_carton(
    scan: SeenScan, label: Carton, step: Step, *, known_product: bool, zone: str = TIME_ZONE_OFFSET
) -> Event | Finding:
    """What the scan of a carton label means."""
    if step.name != "pack":
        return Finding("lot_label_here", f"a carton label where step {step.name!r} scans pallets (00)")
    if not known_product:
        return Finding("unknown_product", f"GTIN {label.gtin} is not in the registry")
    return ObjectEvent(
        event_id=event_id(scan),
        event_time=from_ms(scan.observed_ms),
        event_time_zone_offset=zone,
        action="ADD",
        quantity_list=[QuantityElement(epc_class=label.uri, quantity=1)],
        biz_step="commissioning",
        disposition="active",
        read_point=Identified(id=step.place),
        biz_location=Identified(id=step.place),
    )


def judge_pallet(
    scan: SeenScan,
    label: Pallet,
    step: Step,
    *,
    open_cartons: Mapping[str, int],
    repeated: bool,
    zone: str = TIME_ZONE_OFFSET,
) -> Event | Finding:
    """What the scan of a pallet label means.

    open_cartons: lot URI → cartons scanned since the pallet before; asked for at step `pack` only.
    repeated: whether this SSCC became an event of this step and place within REPEAT_WINDOW_MS.
    """
    if repeated and not open_cartons:
        return Finding("repeated_scan", "the same SSCC within a minute at the same place")
    if step.name == "pack":
        return _closed_pallet(scan, label, step, open_cartons, zone)
    return ObjectEvent(
        event_id=event_id(scan),
        event_time=from_ms(scan.observed_ms),
        event_time_zone_offset=zone,
        action="OBSERVE",
        epc_list=[label.uri],
        biz_step=BIZ_STEPS[step.name],
        disposition="in_transit" if step.name == "load" else "in_progress",
        read_point=Identified(id=step.place),
        biz_location=Identified(id=step.place),
    )


#: Step of a read point → what a pallet's scan there is called in the Core Business Vocabulary 2.0.
BIZ_STEPS = {"pack": "packing", "store": "storing", "load": "loading", "deliver": "receiving"}


def _closed_pallet(
    scan: SeenScan, label: Pallet, step: Step, open_cartons: Mapping[str, int], zone: str
) -> Event | Finding:
    if not open_cartons:
        return Finding("empty_pallet", "no carton was scanned here since the pallet before")
    return AggregationEvent(
        event_id=event_id(scan),
        event_time=from_ms(scan.observed_ms),
        event_time_zone_offset=zone,
        action="ADD",
        parent_id=label.uri,
        child_quantity_list=[
            QuantityElement(epc_class=lot, quantity=count) for lot, count in sorted(open_cartons.items())
        ],
        biz_step=BIZ_STEPS[step.name],
        disposition="in_progress",
        read_point=Identified(id=step.place),
        biz_location=Identified(id=step.place),
    )
