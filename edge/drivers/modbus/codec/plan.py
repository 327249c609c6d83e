"""How a profile is asked for: points that stand close together are read in one request.

Explicit blocks stay as they are. Points on their own are merged, table by table in the order of their registers, as
long as no more than `max_gap` registers that nobody asked for lie between two of them and a request stays within
`max_registers`. Taking each point into the request that is open, where that is possible, gives the fewest requests.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from edge.drivers.modbus.codec.error import CodecError
from edge.drivers.modbus.codec.number import Decode, Value, decoder
from edge.drivers.modbus.codec.point import BIT_FUNCTIONS, Point
from edge.drivers.modbus.codec.profile import READ_MAX_BITS, Block, Profile, Requests
from wire.observation import Quality


def plan(profile: Profile, requests: Requests | None = None) -> list[Block]:
    """The requests that read every point of a profile once. requests: in place of the profile's own."""
    manners = requests or profile.requests
    blocks, loose = [], [(point.function or 0, point) for point in profile.point]
    for block in profile.block:
        if manners.one_by_one or block.count > _limit(manners, block.function):
            loose += [(block.function, point) for point in block.point]
        else:
            blocks.append(block)
    return blocks + list(_merged(loose, manners))


def decode_block(block: Block, registers: Sequence[int]) -> list[Value]:
    """The values of all points of a block from its registers (or bits). Raises CodecError for a wrong count."""
    return BlockDecoder(block).decode(registers)


def with_faults(values: Sequence[Value]) -> list[Value]:
    """The values of one look, without the numbers of probes that the device itself says have failed."""
    failed = {value.point.name for value in values if value.mantissa}
    return [
        Value(value.point, None, Quality.SENSOR_ERROR) if value.point.fault in failed else value for value in values
    ]


class _Place(NamedTuple):
    begins: int
    ends: int
    decode: Decode


class BlockDecoder:
    """`decode_block` for one block, prepared."""

    def __init__(self, block: Block) -> None:
        self.block = block
        self._places = [
            _Place(begins, begins + point.width, decoder(point))
            for point in block.point
            for begins in (point.register - block.address,)
        ]

    def decode(self, registers: Sequence[int]) -> list[Value]:
        """The values of all points, in their order. Raises CodecError for a wrong count."""
        if len(registers) != self.block.count:
            raise CodecError(f"{len(registers)} registers, asked for {self.block.count}")
        return [place.decode(registers[place.begins : place.ends]) for place in self._places]


def _limit(manners: Requests, function: int) -> int:
    return READ_MAX_BITS if function in BIT_FUNCTIONS else manners.max_registers


def _merged(loose: Iterable[tuple[int, Point]], manners: Requests) -> Iterator[Block]:
    ordered = sorted(loose, key=lambda each: (each[0], each[1].register))
    group: list[Point] = []
    function = ends = 0
    for table, point in ordered:
        begins, reach = point.register, point.register + point.width
        joins = (
            group
            and table == function
            and not manners.one_by_one
            and begins - ends <= manners.max_gap
            and max(ends, reach) - group[0].register <= _limit(manners, table)
        )
        if group and not joins:
            yield _block(function, group, ends)
            group = []
        group.append(point)
        function, ends = table, max(ends, reach) if joins else reach
    if group:
        yield _block(function, group, ends)


def _block(function: int, points: list[Point], ends: int) -> Block:
    address = points[0].register
    return Block(function=function, address=address, count=ends - address, point=points)  # type: ignore[arg-type]
