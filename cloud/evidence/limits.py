"""The limits a stay is judged by: every version of a profile in force during it, in the units evidence is shown in."""

from __future__ import annotations

import msgspec
from sqlalchemy import Connection, select

from cloud.db.tables import profile as profile_table
from cloud.evidence.excursions import Limits
from cloud.registry.profile import UNITS, Profile, Rule
from standards.units import convert


def limits(conn: Connection, name: str, from_ms: int, until_ms: int) -> Limits | None:
    """The versions of a profile in force in [from_ms, until_ms); None when none was in force at its start.

    Of versions that begin at the same instant the highest holds.
    """
    query = (
        select(profile_table.c.valid_from_ms, profile_table.c.body)
        .where(profile_table.c.name == name)
        .where((profile_table.c.valid_from_ms < until_ms) | (profile_table.c.valid_from_ms <= from_ms))
        .order_by(profile_table.c.valid_from_ms, profile_table.c.version)
    )
    begun = {row.valid_from_ms: row.body for row in conn.execute(query)}
    at_start = [since for since in begun if since <= from_ms]
    if not at_start:
        return None
    in_force = [(since, body) for since, body in begun.items() if since >= at_start[-1]]
    return Limits([(since, _in_our_units(msgspec.json.decode(body, type=Profile))) for since, body in in_force])


def _in_our_units(profile: Profile) -> Profile:
    return msgspec.structs.replace(profile, rules=[_in_our_unit(rule) for rule in profile.rules])


def _in_our_unit(rule: Rule) -> Rule:
    unit = UNITS.get(rule.measurement, rule.unit)
    if unit == rule.unit:
        return rule
    return msgspec.structs.replace(rule, threshold=convert(rule.threshold, rule.unit, unit), unit=unit)
