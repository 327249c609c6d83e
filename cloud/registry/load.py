"""A registry document goes into the registry: all of it or nothing, and loading it again changes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import msgspec
from sqlalchemy import Column, Connection, Table, and_, func, insert, or_, select, update

from cloud import strict_toml
from cloud.db import tables
from cloud.instant import to_ms
from cloud.registry.document import BindingEntry, Document, ProfileEntry, check, gtin14
from cloud.registry.keys import RegistryError
from cloud.registry.profile import Profile


def read_file(path: Path) -> Document:
    """Read and check a registry document. Raises DocumentError or RegistryError with file and path."""
    document = strict_toml.read(path, Document)
    try:
        check(document)
    except RegistryError as error:
        raise RegistryError(f"{path}: {error}") from error
    return document


def load(conn: Connection, document: Document) -> None:
    """Put a checked document into the registry, in the caller's write transaction.

    Parties, places, read points and products are replaced by what the document says; a binding ends where the next
    one of its channel begins; a version of limits that is already there must be the same. Raises RegistryError.
    """
    _check_references(conn, document)
    for party in document.party:
        _put(conn, tables.party, ["gln"], msgspec.structs.asdict(party))
    for place in document.place:
        _put(conn, tables.place, ["gln"], msgspec.structs.asdict(place))
    for point in document.read_point:
        _put(conn, tables.read_point, ["gateway", "channel"], msgspec.structs.asdict(point))
    for binding in sorted(document.sensor_binding, key=lambda one: one.valid_from):
        _bind(conn, binding)
    for at, profile in enumerate(document.profile):
        _put_profile(conn, profile, f"profile[{at}]")
    for product in document.product:
        row = msgspec.structs.asdict(product) | {"gtin": gtin14(product.gtin)}
        _put(conn, tables.product, ["gtin"], row)


def _check_references(conn: Connection, document: Document) -> None:
    parties = _known(conn, tables.party.c.gln) | {one.gln for one in document.party}
    places = _known(conn, tables.place.c.gln) | {one.gln for one in document.place}
    profiles = _known(conn, tables.profile.c.name) | {one.name for one in document.profile}
    _refer("place", "party", [one.party for one in document.place], parties)
    _refer("product", "party", [one.party for one in document.product], parties)
    _refer("read_point", "place", [one.place for one in document.read_point], places)
    _refer("sensor_binding", "place", [one.place for one in document.sensor_binding], places)
    _refer("product", "profile", [one.profile for one in document.product], profiles)


def _refer(table: str, key: str, named: Sequence[str], known: set[str]) -> None:
    for at, name in enumerate(named):
        if name not in known:
            raise RegistryError(f"{table}[{at}].{key}: no {key} {name!r} in the registry; add a [[{key}]] for it")


def _known(conn: Connection, column: Column[str]) -> set[str]:
    return set(conn.scalars(select(column)))


def _put(conn: Connection, table: Table, key: list[str], row: dict[str, object]) -> None:
    same = and_(*(table.c[name] == row[name] for name in key))
    if conn.scalar(select(func.count()).select_from(table).where(same)):
        conn.execute(update(table).where(same).values(row))
    else:
        conn.execute(insert(table).values(row))


def _put_profile(conn: Connection, entry: ProfileEntry, where: str) -> None:
    names = (field for field in Profile.__struct_fields__)
    body = msgspec.json.encode(Profile(**{name: getattr(entry, name) for name in names})).decode()
    valid_from_ms = to_ms(entry.valid_from)
    table = tables.profile
    known = conn.execute(
        select(table).where(table.c.name == entry.name, table.c.version == entry.version)
    ).one_or_none()
    if known is None:
        row = {"name": entry.name, "version": entry.version, "valid_from_ms": valid_from_ms, "body": body}
        conn.execute(insert(table).values(row))
    elif (known.body, known.valid_from_ms) != (body, valid_from_ms):
        raise RegistryError(
            f"{where}: version {entry.version} of {entry.name!r} is in the registry with other limits, and evidence "
            "may rest on them; give the new limits a new version"
        )


def _bind(conn: Connection, entry: BindingEntry) -> None:
    """Add a binding, or correct the one that begins at the same instant; bindings of a channel never overlap."""
    table = tables.sensor_binding
    from_ms = to_ms(entry.valid_from)
    siblings = and_(
        table.c.gateway == entry.gateway, table.c.channel == entry.channel, table.c.measurement == entry.measurement
    )
    end_ms = conn.scalar(select(func.min(table.c.valid_from_ms)).where(siblings, table.c.valid_from_ms > from_ms))
    if entry.valid_to is not None:
        asked_ms = to_ms(entry.valid_to)
        end_ms = asked_ms if end_ms is None else min(asked_ms, end_ms)
    row = {
        "gateway": entry.gateway,
        "channel": entry.channel,
        "place": entry.place,
        "measurement": entry.measurement,
        "sensor": entry.sensor,
        "log_interval_s": entry.log_interval_s,
        "valid_from_ms": from_ms,
        "valid_to_ms": end_ms,
        "note": entry.note,
    }
    same = conn.scalar(select(table.c.id).where(siblings, table.c.valid_from_ms == from_ms))
    if same is not None:
        conn.execute(update(table).where(table.c.id == same).values(row))
        return
    still_open = or_(table.c.valid_to_ms.is_(None), table.c.valid_to_ms > from_ms)
    before = and_(siblings, table.c.valid_from_ms < from_ms, still_open)
    conn.execute(update(table).where(before).values(valid_to_ms=from_ms))
    conn.execute(insert(table).values(row))
