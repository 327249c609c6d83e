"""The balance of a crash: what was produced and accepted against every envelope there is.

An observation is known by its number: a reading's mantissa, or what follows the dash of a scan's code. A number is
given out once in the life of a point, so that a lost, doubled, swapped or invented one shows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from edge.buffer.base import PackName
from wire.envelope import WireError, envelope_hash
from wire.observation import Observation, Reading
from wire.pack import Loss, Pack, observations, unseal

NUMBERED = ("count", "scan")  # last part of the channels that count
SHOWN = 8  # numbers named in a problem


class Archive:
    """Every envelope that ever left a gateway, the first of each (stream, seq); others are contradictions."""

    def __init__(self, key: Ed25519PublicKey) -> None:
        self._key = key
        self.envelopes: dict[PackName, bytes] = {}
        self.packs: dict[PackName, Pack] = {}
        self.problems: list[str] = []

    def take(self, envelope: bytes) -> PackName | None:
        """Keep an envelope; its name, or None for one that no gateway of ours can have sealed."""
        try:
            message, pack = unseal(envelope)
        except WireError as error:
            self.problems.append(f"an envelope cannot be opened: {error}")
            return None
        if not message.is_signed_by(self._key):
            self.problems.append(f"seq {pack.seq}: signed by another key")
            return None
        name = (pack.stream, pack.seq)
        if self.envelopes.setdefault(name, envelope) != envelope:
            self.problems.append(f"stream {pack.stream.hex()[:8]} seq {pack.seq} was signed twice, with other bytes")
        self.packs.setdefault(name, pack)
        return name

    def keep_only(self, names: Iterable[PackName]) -> None:
        """Forget the content of all others: they were on their way. Their bytes still contradict others of the name."""
        kept = set(names)
        self.packs = {name: pack for name, pack in self.packs.items() if name in kept}


class Balance(msgspec.Struct, frozen=True):
    """See PointResult for the counts."""

    delivered: int
    declared: int
    lost: int
    doubled: int
    out_of_order: int
    problems: list[str]


def balance(
    archive: Archive, produced: Mapping[int, Observation], accepted: Iterable[int], *, once: bool = True
) -> Balance:
    """Hold everything an archive has (with what the buffer still holds put in) against what was produced.

    produced: by number, each as the gateway got it from the device. once: doubled observations are a broken promise.
    """
    found: Counter[int] = Counter()
    problems = list(archive.problems)
    for name in sorted(archive.packs):
        for number, observation in _numbered(archive, archive.packs[name]):
            found[number] += 1
            if produced.get(number) != observation:
                problems.append(f"seq {name[1]}: observation {number} was never produced like that")
    problems += _chain_problems(archive)
    missing = sorted(set(accepted) - set(found))
    declared = _declared(archive.packs.values(), len(missing))
    lost = len(missing) - declared
    doubled = sorted(number for number, count in found.items() if count > 1)
    out_of_order = _out_of_order(archive)
    if lost:
        problems.append(f"{lost} accepted observations are lost, of {_some(missing)}; {declared} were declared")
    if doubled and once:
        problems.append(f"{len(doubled)} observations are there twice: {_some(doubled)}")
    if out_of_order and once:
        problems.append(f"{out_of_order} observations come before an older one of their channel")
    return Balance(len(found), declared, lost, len(doubled), out_of_order, problems)


def number_of(observation: Observation) -> int | None:
    """The number an observation carries; None for what a gateway says of itself, and of a silent device."""
    if observation.channel.rpartition("/")[2] not in NUMBERED:
        return None
    return observation.mantissa if isinstance(observation, Reading) else int(observation.code.rpartition("-")[2])


def is_misfortune(loss: Loss) -> bool:
    """Whether a loss tells of something that broke; what gave way under disk pressure is counted, and no misfortune."""
    return loss.kind == "lost" and not loss.counts and not loss.reason.startswith("disk pressure")


def _numbered(archive: Archive, pack: Pack) -> Iterable[tuple[int, Observation]]:
    """(number, observation) of a pack, but what the gateway says of itself, and what was carried over from a pack
    that is here, too."""
    here = [
        range(each.first_ordinal, each.first_ordinal + each.count)
        for each in pack.carried_from
        if (each.stream, each.seq) in archive.packs
        and envelope_hash(archive.envelopes[each.stream, each.seq]) == each.hash
    ]
    for ordinal, observation in observations(pack):
        number = number_of(observation)
        if number is not None and not any(ordinal in ordinals for ordinals in here):
            yield number, observation


def _chain_problems(archive: Archive) -> list[str]:
    """Seqs of a stream run 1, 2, 3 … and each names the hash before; what is missing has to be declared."""
    problems = []
    declared = [loss for pack in archive.packs.values() for loss in pack.losses]
    for stream in {stream for stream, _ in archive.packs}:
        seqs = sorted(seq for each, seq in archive.packs if each == stream)
        for seq in range(1, seqs[-1] + 1):
            pack = archive.packs.get((stream, seq))
            if pack is None:
                if not any(
                    loss.stream == stream and loss.first_seq <= seq and (loss.last_seq is None or seq <= loss.last_seq)
                    for loss in declared
                ):
                    problems.append(f"stream {stream.hex()[:8]} seq {seq} of {seqs[-1]} is neither there nor declared")
                continue
            before = archive.envelopes.get((stream, seq - 1))
            if before is not None and pack.prev != envelope_hash(before):
                problems.append(f"stream {stream.hex()[:8]} seq {seq} does not name the hash of the pack before")
    return problems


def _declared(packs: Iterable[Pack], missing: int) -> int:
    """Of the missing observations, how many signed losses speak of; one that gives no number speaks of all."""
    losses = [loss for pack in packs for loss in pack.losses]
    if any(is_misfortune(loss) for loss in losses):
        return missing
    return min(missing, sum(count for loss in losses for _, count in loss.counts))


def _out_of_order(archive: Archive) -> int:
    """Observations with a lower number than one before them in their stream and channel; what was carried over is
    older than its pack."""
    highest: dict[tuple[bytes, str], int] = {}
    wrong = 0
    for name in sorted(archive.packs):
        pack = archive.packs[name]
        for number, observation in () if pack.carried_from else _numbered(archive, pack):
            line = (name[0], observation.channel)
            wrong += number < highest.get(line, number)
            highest[line] = max(number, highest.get(line, number))
    return wrong


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:SHOWN]))
    return shown + (f" … ({len(numbers)})" if len(numbers) > SHOWN else "")
