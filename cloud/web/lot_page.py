"""The lot page: where, when, how cold, what is missing, who decided what, and what stands behind it."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Response
from markupsafe import Markup
from sqlalchemy import Connection

from cloud.auth.people import find_person
from cloud.db.engine import reading
from cloud.evidence import versions
from cloud.evidence.lot import look
from cloud.evidence.model import LotEvidence, Stay
from cloud.evidence.source import ReadingsOnce
from cloud.registry import query as registry
from cloud.registry.profile import Profile
from cloud.review.submissions import APPROVED, SUBMITTED, Submission, submission
from cloud.web import phrase
from cloud.web.chart import Chart, Section
from cloud.web.form import Refused
from cloud.web.page import Page, open_page, render
from cloud.web.proof import Proof, proof_of
from cloud.web.stay_view import AROUND, StayView, drawn, excesses, losses, silences, thinned, view_stay
from cloud.web.timeline import Moment, moments
from standards.gs1 import digital_link

router = APIRouter(include_in_schema=False)

_GTIN = re.compile(r"[0-9]{8}|[0-9]{12,14}")
_LOT = re.compile(r"[!\"%&'()*+,\-./0-9:;<=>?A-Z_a-z]{1,20}")  # AI 10: 1–20 of CSET 82 (GS1 General Specifications)
_JOURNEY_AFTER = 0.04  # share of the journey shown after our custody ended, so that the hand-over is seen


@dataclass(frozen=True, slots=True)
class Review:
    """Where the lot stands with the officials, and what the reader may do about it.

    changed: the evidence is no longer what was decided on; names: login → name of who decided.
    """

    submission: Submission
    names: dict[str, str]
    changed: bool
    may_submit: bool
    may_decide: bool
    version: int | None


@dataclass(frozen=True, slots=True)
class LotView:
    """Everything on the page. frozen: the version that is shown instead of what is known now, if one was asked for."""

    evidence: LotEvidence
    product_name: str
    producer: str
    sentence: str
    reasons: list[str]
    journey: Markup | None
    stays: list[StayView]
    moments: list[Moment]
    place_names: dict[str, str]
    review: Review
    proof: Proof
    evidence_hash: str
    frozen: versions.Version | None
    as_of_ms: int

    @property
    def declared(self) -> bool:
        """Whether anything on the page was declared thinned or lost, so that the legend must tell it."""
        return any(series.evidence.declared for view in self.stays for series in view.series)


def identify(gtin: str, lot: str) -> tuple[str, str]:
    """GTIN-14 and lot number from a URL. Raises Refused when nothing can have such numbers."""
    if _GTIN.fullmatch(gtin) is None or _LOT.fullmatch(lot) is None:
        raise Refused(404, "impossible_lot")
    return gtin.zfill(14), lot


@router.get("/lots/01/{gtin}/10/{lot:path}")
def lot_page(gtin: str, lot: str, page: Annotated[Page, Depends(open_page)]) -> Response:
    """The page of one lot, as known now or as frozen in `?version=`."""
    if page.session is None:
        raise Refused(401, "sign_in_first")
    gtin, lot = identify(gtin, lot)
    with reading(page.site.engine) as conn:
        view = _view(conn, page, gtin, lot)
    return render(page, "lot.html", view=view)


def _view(conn: Connection, page: Page, gtin: str, lot: str) -> LotView:
    now_ms = page.site.now()
    found = look(conn, gtin, lot, now_ms, around=AROUND)
    if found is None:
        raise Refused(404, "unknown_lot")
    current, events, sources = found
    frozen = _asked_version(conn, page, gtin, lot)
    evidence = frozen.evidence if frozen else current
    names = {one.gln: page.named(one.name, one.name_en) for one in registry.places(conn)}
    names |= {stay.place: page.named(stay.place_name, stay.place_name_en) for stay in evidence.stays}
    counted: Counter[int] = Counter()
    stays = [
        view_stay(
            conn,
            page,
            stay,
            number,
            source=sources.get(stay.place) or ReadingsOnce(conn, []),  # a frozen stay may be none any more
            profile_name=evidence.profile,
            readings_by_pack=counted,
        )
        for number, stay in enumerate(evidence.stays, start=1)
    ]
    profile = registry.profile_at(conn, evidence.profile, evidence.stays[-1].from_ms) if evidence.stays else None
    product = registry.product(conn, gtin)
    producer = registry.party(conn, product.party) if product else None
    return LotView(
        evidence=evidence,
        product_name=page.named(evidence.product_name, evidence.product_name_en) or gtin,
        producer=producer.name if producer else "",
        sentence=phrase.verdict_sentence(evidence, profile, page.words),
        reasons=[phrase.reason_sentence(reason, names, page.words) for reason in evidence.reasons],
        journey=_journey(page, evidence, stays, profile),
        stays=stays,
        moments=moments([one.event for one in events], digital_link.lot(gtin, lot)),
        place_names=names,
        review=_review(conn, page, current, frozen),
        proof=proof_of(conn, counted),
        evidence_hash=hashlib.sha256(msgspec.json.encode(evidence)).hexdigest(),
        frozen=frozen,
        as_of_ms=frozen.computed_ms if frozen else now_ms,
    )


def _asked_version(conn: Connection, page: Page, gtin: str, lot: str) -> versions.Version | None:
    asked = page.query.get("version", "")
    if not asked:
        return None
    number = int(asked) if asked.isascii() and asked.isdigit() and len(asked) < 9 else 0
    version = versions.read(conn, gtin, lot, number)
    if version is None:
        raise Refused(404, "unknown_version")
    return version


def _review(conn: Connection, page: Page, current: LotEvidence, frozen: versions.Version | None) -> Review:
    at = submission(conn, current.gtin, current.lot)
    decided = versions.read(conn, current.gtin, current.lot, at.last.evidence_version) if at.last else None
    changed = decided is not None and not versions.still_holds(decided.evidence, current)
    logins = {one.person for one in at.history}
    people = {login: find_person(conn, login) for login in logins}
    role = page.session.person.role if page.session and frozen is None else ""
    return Review(
        submission=at,
        names={login: person.name if person else login for login, person in people.items()},
        changed=changed,
        may_submit=role == "operator" and (changed or at.state not in {SUBMITTED, APPROVED}),
        may_decide=role == "official" and at.state == SUBMITTED,
        version=at.last.evidence_version if at.last else None,
    )


def _journey(page: Page, evidence: LotEvidence, stays: Sequence[StayView], profile: Profile | None) -> Markup | None:
    """The whole way in one picture: all stays on one axis of time, with the temperature at each."""
    watched = [view for view in stays if view.stay.custody]
    if not watched:
        return None
    first = min(view.stay.from_ms for view in watched)
    last = max(view.stay.until_ms for view in watched)
    end = last + int((last - first) * _JOURNEY_AFTER) + 1
    series = [(view, one) for view in watched for one in view.series if one.evidence.measurement == phrase.TEMPERATURE]
    blind = [view.stay for view in watched if not any(other is view for other, _ in series)]
    chart = Chart(
        name="journey",
        title=page.words("journey.title", lot=evidence.lot),
        description=phrase.verdict_sentence(evidence, profile, page.words),
        language=page.language,
        unit=next((one.evidence.unit for _, one in series), "CEL"),
        from_ms=first,
        to_ms=end,
        lines=[piece for _, one in series for piece in one.line],
        low=profile.low if profile else None,
        high=profile.high if profile else None,
        excesses=[each for _, one in series for each in excesses(one.evidence)],
        gaps=[gap for _, one in series for gap in silences(one.evidence)]
        + [(stay.from_ms, stay.until_ms) for stay in blind],
        sections=[_section(view, end, profile) for view in stays if view.stay.from_ms < end],
        gap_words=page.words("chart.gap"),
        lost=[gap for _, one in series for gap in losses(one.evidence)],
        lost_words=page.words("chart.lost"),
        thinned=[span for view, one in series for span in thinned(one.evidence, view.stay.from_ms, view.stay.until_ms)],
        thinned_words=page.words("chart.thinned"),
    )
    return drawn(chart)


def _section(view: StayView, end_ms: int, profile: Profile | None) -> Section:
    stay: Stay = view.stay
    until_ms = stay.until_ms if stay.custody else stay.to_ms or end_ms
    limited = profile is not None and profile.band_holds(stay.kind)
    return Section(view.number, view.place_name, stay.from_ms, min(until_ms, end_ms), limited=limited)
