"""What the registry knows, as frozen nouns. None or an empty list means: not in the registry."""

from __future__ import annotations

from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, or_, select

from cloud.db import tables
from cloud.registry.profile import Profile


class Gateway(msgspec.Struct, frozen=True):
    """A gateway. simulated: once it was, for ever."""

    name: str
    simulated: bool
    added_ms: int


class Party(msgspec.Struct, frozen=True):
    """Who answers for a place or a product."""

    gln: str
    name: str
    address: str


class Place(msgspec.Struct, frozen=True):
    """Where a lot can be. kind: packing, storage, vehicle, customer. custody: whether we answer for its cold."""

    gln: str
    name: str
    name_en: str
    kind: str
    party: str
    custody: bool


class ReadPoint(msgspec.Struct, frozen=True):
    """A scanner's channel at a place. step: pack, store, load, deliver."""

    gateway: str
    channel: str
    place: str
    step: str


class Binding(msgspec.Struct, frozen=True):
    """A series bound to a place for [valid_from_ms, valid_to_ms); None: until further notice."""

    gateway: str
    channel: str
    place: str
    measurement: str
    sensor: str
    log_interval_s: int
    valid_from_ms: int
    valid_to_ms: int | None
    note: str


class Product(msgspec.Struct, frozen=True):
    """A product. gtin: 14 digits. profile: the name of its limits."""

    gtin: str
    name: str
    name_en: str
    party: str
    profile: str


def gateways(conn: Connection) -> list[Gateway]:
    """Every gateway, by name."""
    return [_gateway(row) for row in conn.execute(select(tables.gateway).order_by(tables.gateway.c.name))]


def gateway(conn: Connection, name: str) -> Gateway | None:
    """One gateway."""
    row = conn.execute(select(tables.gateway).where(tables.gateway.c.name == name)).one_or_none()
    return None if row is None else _gateway(row)


def parties(conn: Connection) -> list[Party]:
    """Every party, by GLN."""
    rows = conn.execute(select(tables.party).order_by(tables.party.c.gln))
    return [Party(row.gln, row.name, row.address) for row in rows]


def party(conn: Connection, gln: str) -> Party | None:
    """One party."""
    row = conn.execute(select(tables.party).where(tables.party.c.gln == gln)).one_or_none()
    return None if row is None else Party(row.gln, row.name, row.address)


def places(conn: Connection) -> list[Place]:
    """Every place, by GLN."""
    return [_place(row) for row in conn.execute(select(tables.place).order_by(tables.place.c.gln))]


def place(conn: Connection, gln: str) -> Place | None:
    """One place."""
    row = conn.execute(select(tables.place).where(tables.place.c.gln == gln)).one_or_none()
    return None if row is None else _place(row)


def read_point(conn: Connection, gateway: str, channel: str) -> ReadPoint | None:
    """What a scan of this channel means."""
    found = tables.read_point
    query = select(found).where(found.c.gateway == gateway, found.c.channel == channel)
    row = conn.execute(query).one_or_none()
    return None if row is None else ReadPoint(row.gateway, row.channel, row.place, row.step)


def bindings(conn: Connection, place: str, from_ms: int, to_ms: int) -> list[Binding]:
    """The series bound to a place at any moment of [from_ms, to_ms), by gateway, channel and start.

    A binding is returned as it stands: the caller cuts its time to the window.
    """
    bound = tables.sensor_binding
    query = (
        select(bound)
        .where(bound.c.place == place, bound.c.valid_from_ms < to_ms)
        .where(or_(bound.c.valid_to_ms.is_(None), bound.c.valid_to_ms > from_ms))
    )
    return _bindings(conn, query)


def bindings_of_channel(conn: Connection, gateway: str, channel: str) -> list[Binding]:
    """Where a channel is and was bound, oldest first."""
    bound = tables.sensor_binding
    return _bindings(conn, select(bound).where(bound.c.gateway == gateway, bound.c.channel == channel))


def channels_of_gateway(conn: Connection, gateway: str, from_ms: int, to_ms: int) -> list[str]:
    """The channels of a gateway that were bound to any place at any moment of [from_ms, to_ms), by name."""
    bound = tables.sensor_binding
    query = (
        select(bound.c.channel)
        .where(bound.c.gateway == gateway, bound.c.valid_from_ms < to_ms)
        .where(or_(bound.c.valid_to_ms.is_(None), bound.c.valid_to_ms > from_ms))
    )
    return list(conn.scalars(query.distinct().order_by(bound.c.channel)))


def products(conn: Connection) -> list[Product]:
    """Every product, by GTIN."""
    return [_product(row) for row in conn.execute(select(tables.product).order_by(tables.product.c.gtin))]


def product(conn: Connection, gtin: str) -> Product | None:
    """One product by its GTIN-14."""
    row = conn.execute(select(tables.product).where(tables.product.c.gtin == gtin)).one_or_none()
    return None if row is None else _product(row)


def profile_at(conn: Connection, name: str, at_ms: int) -> Profile | None:
    """The version of the limits in force at an instant: the highest among the last that had begun by then."""
    known = tables.profile
    query = (
        select(known.c.body)
        .where(known.c.name == name, known.c.valid_from_ms <= at_ms)
        .order_by(known.c.valid_from_ms.desc(), known.c.version.desc())
        .limit(1)
    )
    body = conn.scalar(query)
    return None if body is None else msgspec.json.decode(body, type=Profile)


def _gateway(row: Row[Any]) -> Gateway:
    return Gateway(row.name, row.simulated, row.added_ms)


def _place(row: Row[Any]) -> Place:
    return Place(row.gln, row.name, row.name_en, row.kind, row.party, row.custody)


def _product(row: Row[Any]) -> Product:
    return Product(row.gtin, row.name, row.name_en, row.party, row.profile)


def _bindings(conn: Connection, query: Select[Any]) -> list[Binding]:
    bound = tables.sensor_binding
    ordered = query.order_by(bound.c.gateway, bound.c.channel, bound.c.valid_from_ms, bound.c.id)
    return [
        Binding(
            gateway=row.gateway,
            channel=row.channel,
            place=row.place,
            measurement=row.measurement,
            sensor=row.sensor,
            log_interval_s=row.log_interval_s,
            valid_from_ms=row.valid_from_ms,
            valid_to_ms=row.valid_to_ms,
            note=row.note,
        )
        for row in conn.execute(ordered)
    ]
