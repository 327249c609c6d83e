"""Ingest is sent what is no pack, and more than it can take: packs sealed beforehand, real broker, real cloud."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import func, select

from bench.account import Account
from bench.faults.row import Bench, Result
from bench.fsck import complaints
from bench.ingest.load import LoadFile, Shape, make
from bench.ingest.poison import KINDS, Poison, admit, poisons, write_file
from bench.ingest.publisher import Told
from bench.ingest.site import Site
from bench.process import cost
from cloud.clock import system_now_ms
from cloud.db.engine import reading, writing
from cloud.db.tables import conflict, pack, quarantine, settled
from cloud.telemetry import query

READINGS, SERIES, GATEWAYS = 100, 20, 20
FALLS_AT_MOST = 0.20
TIMES = 3.0  # the sustainable rate
WARM_PACKS = 400
#: Letters that a gateway sends without a receipt. So there is always work for seconds, and none waits so long that it
#: is sent again: that would make the slower of two runs slower still.
PATIENT = ("--unsettled", "500")
#: … where more is sent than can be taken: a hundred times what ours do, so that the broker gets more than it keeps,
#: and drops some.
UNSETTLED = 4_000


def poisoned(bench: Bench) -> Result:
    """The same packs alone, with poison among them all the way, and alone again: other work on the machine shows."""
    count, packs = int(bench.pick(10_000, 500)), int(bench.pick(40_000, 2_000))
    made = poisons(count, bench.seed)
    write_file(bench.folder / "poison", made)
    bench.say(f"{packs} packs are sealed")
    load = _load(bench.folder, "packs", packs, bench.seed)
    alone = [_take_in(bench, "before", load)]
    with Site(bench.folder / "poisoned") as site:
        _ready(site, load)
        with writing(site.engine) as conn:
            admit(conn, system_now_ms())
        warm = site.stored()
        pace = str(count / alone[0].told.seconds)
        good = site.publisher(_path(bench.folder, "packs"), *PATIENT)
        bad = site.publisher(bench.folder / "poison", "--rate", pace, sealed=False)
        used = _cpu_s(site)
        good.go()
        bad.go()
        went, _ = good.wait()
        sent, _ = bad.wait()
        _until_quarantined(site, count)
        amid = _Run(went, _cpu_s(site) - used)
        bench.say(f"poisoned: {amid.told_of}; {sent.settled} poisons in {sent.published_s:.1f} s")
        why = _wrong(site, made)
        stored = site.stored() - warm
    alone.append(_take_in(bench, "after", load))
    usual_s = sum(one.told.seconds for one in alone) / len(alone)
    falls = 1 - usual_s / went.seconds
    if falls >= FALLS_AT_MOST:
        why.append(f"the rate falls by {falls:.0%}")
    return bench.result(
        Account(produced=packs * READINGS, stored=stored, lost=packs * READINGS - stored),
        why="; ".join(why),
        kinds=len(KINDS),
        poisons=count,
        alone_per_s=round(packs * READINGS / usual_s),
        poisoned_per_s=round(packs * READINGS / went.seconds),
        falls_percent=round(100 * falls, 1),
        poison_s=round(sent.published_s, 1),
        ingest_cpu_s_alone=round(sum(one.cpu_s for one in alone) / len(alone), 2),
        ingest_cpu_s_poisoned=round(amid.cpu_s, 2),
    )


def overloaded(bench: Bench) -> Result:
    """Three times as much as it took, for a minute; what gets lost on the way is sent again."""
    lasts_s = bench.pick(60.0, 5.0)
    probe = _load(bench.folder, "probe", int(bench.pick(12_000, 2_000)), bench.seed)
    easy = _take_in(bench, "easy", probe, shipped=True).told
    per_s = easy.letters / easy.seconds
    rate = TIMES * per_s
    bench.say(f"sustainable: {per_s * READINGS:,.0f} readings/s; {rate * lasts_s:,.0f} packs are sealed")
    load = _load(bench.folder, "packs", int(rate * lasts_s), bench.seed + 1)
    with Site(bench.folder / "overloaded", shipped=True) as site:
        tls = _ready(site, load)
        warm = site.stored()
        words = ("--rate", str(rate), "--window", "1000", "--unsettled", str(UNSETTLED))
        publisher = site.publisher(_path(bench.folder, "packs"), *words, tls=tls)
        publisher.go()
        went, _ = publisher.wait()
        stored = site.stored() - warm
        with reading(site.engine) as conn:
            why = complaints(conn)
            doubled = abs(sum(span.count for span in query.list_series(conn)) - warm - stored)
    bench.say(
        f"{went.published} sent in {went.published_s:.0f} s, {went.again} of them again; drained {went.seconds:.0f} s"
    )
    total = load.heading.shape.total
    if went.settled != went.letters:
        why.append(f"{went.letters - went.settled} packs were never receipted")
    return bench.result(
        Account(produced=total, stored=stored, lost=total - stored, doubled=doubled),
        why="; ".join(why),
        sustainable_per_s=round(per_s * READINGS),
        asked_per_s=round(rate * READINGS),
        lasts_s=lasts_s,
        sent_again=went.again,
        reconnects=went.reconnects,
        drained_s=round(went.seconds, 1),
    )


def _path(folder: Path, name: str) -> Path:
    return folder / f"{name}.load"


def _load(folder: Path, name: str, packs: int, seed: int) -> LoadFile:
    make(Shape(GATEWAYS, packs, READINGS, SERIES), _path(folder, name), prefix=name, seed=seed)
    return LoadFile(_path(folder, name))


class _Run(NamedTuple):
    """How it went, and what the ingest process used."""

    told: Told
    cpu_s: float

    @property
    def told_of(self) -> str:
        rate = self.told.letters / self.told.seconds * READINGS
        return f"{rate:,.0f} readings/s, {self.cpu_s:.1f} CPU s of ingest"


def _take_in(bench: Bench, name: str, load: LoadFile, *, shipped: bool = False) -> _Run:
    """One undisturbed run."""
    file = _path(bench.folder, load.heading.senders[0].name.rpartition("-")[0])
    with Site(bench.folder / name, shipped=shipped) as site:
        tls = _ready(site, load)
        publisher = site.publisher(file, *PATIENT, tls=tls)
        used = _cpu_s(site)
        publisher.go()
        run = _Run(publisher.wait()[0], _cpu_s(site) - used)
        bench.say(f"{name}: {run.told_of}")
        return run


def _cpu_s(site: Site) -> float:
    return cost(site.stage.pid("cloud")).cpu_s


def _ready(site: Site, load: LoadFile) -> Path | None:
    """Known gateways, and a cloud that has warmed up."""
    tls = site.admit(load)
    warm = _load(site.folder, "warm", WARM_PACKS, 7)
    site.admit(warm)
    site.start_cloud()
    publisher = site.publisher(_path(site.folder, "warm"), tls=tls)
    publisher.go()
    publisher.wait()
    return tls


def _until_quarantined(site: Site, count: int) -> None:
    """Poison that came last may still be on its way."""
    site.stage.wait_for("cloud", lambda: _quarantined(site) >= count, within_s=60.0)


def _quarantined(site: Site) -> int:
    with reading(site.engine) as conn:
        return int(conn.scalar(select(func.coalesce(func.sum(quarantine.c.times), 0))) or 0)


def _wrong(site: Site, made: list[Poison]) -> list[str]:
    """What of the poison is not as it should be."""
    expected = {(hashlib.sha256(one.payload).digest(), one.reason) for one in made}
    with reading(site.engine) as conn:
        kept = {(row.hash, row.reason) for row in conn.execute(select(quarantine.c.hash, quarantine.c.reason))}
        as_packs = conn.scalar(select(func.count()).select_from(pack).where(pack.c.gateway.like("poison%")))
        settles = conn.scalar(select(func.count()).select_from(settled).where(settled.c.gateway.like("poison%")))
        rivals = conn.scalar(select(func.count()).select_from(conflict))
        diverging = complaints(conn)
    told = _quarantined(site)
    claims = {
        f"{told} of {len(made)} poisons are told of in the quarantine": told == len(made),
        f"{len(expected - kept)} poisons are not kept with their reason": expected <= kept,
        f"{as_packs} poisons are packs": not as_packs,
        f"{settles} streams of poison are settled": not settles,
        f"{rivals} conflicts": not rivals,
    }
    return [*(claim for claim, holds in claims.items() if not holds), *diverging]
