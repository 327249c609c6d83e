"""Submissions: an operator hands a lot's evidence in, an official approves it or returns it with a reason.

    draft ──submit──▸ submitted ──approve──▸ approved
                        ▴     └──return────▸ returned
                        └──submit again──────┘            (also when evidence changed after submission or approval)

Invariants: the state is what the last decision says; a decision names the frozen evidence version it was made on, and
is a leaf of the ledger in the same transaction; who submitted cannot approve; nothing is approved that no longer
holds. Decisions are made in a write transaction, so of two officials deciding at once one comes second, sees the first
one's decision, and is told. Evidence is computed before, without the write lock (`decide`): what it rests on must not
have moved when the decision is written, or it is computed again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Connection, Engine, Row, func, insert, select

from cloud.auth.people import Person
from cloud.db.engine import reading, writing
from cloud.db.tables import decision
from cloud.errors import Rejected, Retryable
from cloud.evidence.basis import Basis, basis, stands
from cloud.evidence.lot import evidence_with_events
from cloud.evidence.model import LotEvidence
from cloud.evidence.versions import Version, freeze, read, still_holds
from cloud.ledger.log import append

TRIES = 3  # computing without the write lock; after that it is held meanwhile
REASON_MAX = 2_000  # characters: a page, so that it is read
DRAFT, SUBMITTED, RETURNED, APPROVED = "draft", "submitted", "returned", "approved"


class ReviewError(Rejected):
    """A decision cannot be made like this, and nothing was changed; `code` names why, for the catalogue.

    unknown_lot, wrong_role, not_submitted, already_submitted, already_approved, own_submission, reason_required,
    reason_too_long, evidence_changed, version_changed.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class EvidenceMoved(Retryable):
    """What the evidence rests on has changed since it was computed: nothing was decided."""


class Examined(msgspec.Struct, frozen=True):
    """A lot's evidence as of now_ms, None where no event speaks of it; on what it rests."""

    now_ms: int
    evidence: LotEvidence | None
    basis: Basis
    gateways: frozenset[str]


class Decision(msgspec.Struct, frozen=True):
    """One decision. kind: submitted, returned, approved; person: a login; leaf_index: in the ledger."""

    id: int
    evidence_version: int
    kind: str
    reason: str
    person: str
    decided_ms: int
    leaf_index: int


class Submission(msgspec.Struct, frozen=True):
    """Where a lot stands. state: draft, submitted, returned, approved; history: its decisions, oldest first."""

    gtin: str
    lot: str
    state: str
    history: list[Decision]

    @property
    def last(self) -> Decision | None:
        """The decision that made the state, None for a draft."""
        return self.history[-1] if self.history else None


def submission(conn: Connection, gtin: str, lot: str) -> Submission:
    """State and history of a lot; a lot that was never submitted is a draft."""
    query = select(decision).where(decision.c.gtin == gtin, decision.c.lot == lot).order_by(decision.c.id)
    history = [_made(row) for row in conn.execute(query)]
    return Submission(gtin, lot, history[-1].kind if history else DRAFT, history)


def last_decisions(conn: Connection) -> dict[tuple[str, str], Decision]:
    """The decision that made the state of each lot that was ever submitted, by GTIN and lot number."""
    last = select(func.max(decision.c.id)).group_by(decision.c.gtin, decision.c.lot)
    rows = conn.execute(select(decision).where(decision.c.id.in_(last)))
    return {(row.gtin, row.lot): _made(row) for row in rows}


def examine(conn: Connection, gtin: str, lot: str, now_ms: int) -> Examined:
    """Compute the evidence of a lot, for a decision that follows. Takes as long as the journey is."""
    on = basis(conn)
    found = evidence_with_events(conn, gtin, lot, now_ms)
    if found is None:
        return Examined(now_ms, None, on, frozenset())
    evidence, events = found
    measuring = {series.gateway for stay in evidence.stays for series in stay.series}
    return Examined(now_ms, evidence, on, frozenset(measuring | {one.gateway for one in events if one.gateway}))


def decide(
    engine: Engine, gtin: str, lot: str, now_ms: int, act: Callable[[Connection, Examined], Decision]
) -> Decision:
    """Examine a lot without the write lock, then `act` on that in a short write transaction.

    Where what came meanwhile concerns the lot, it is examined again. Raises what `act` raises.
    """
    for _ in range(TRIES):
        with reading(engine) as conn:
            examined = examine(conn, gtin, lot, now_ms)
        try:
            with writing(engine) as conn:
                return act(conn, examined)
        except EvidenceMoved:
            continue
    with writing(engine) as conn:
        return act(conn, examine(conn, gtin, lot, now_ms))


def submit(
    conn: Connection, gtin: str, lot: str, *, by: Person, now_ms: int, examined: Examined | None = None
) -> Decision:
    """Freeze the lot's evidence and hand it in. Raises ReviewError, and EvidenceMoved when `examined` is out of date.

    A lot that waits or is approved can be submitted again only when its evidence has changed since.
    """
    _require_role(by, "operator", "submit a lot")
    evidence = _evidence(conn, gtin, lot, now_ms, examined)
    at = submission(conn, gtin, lot)
    if at.state in {SUBMITTED, APPROVED} and still_holds(_frozen(conn, at).evidence, evidence):
        raise ReviewError(
            f"already_{at.state}",
            f"lot {lot} of {gtin} is {at.state} already, and its evidence has not changed since; nothing to submit",
        )
    version = freeze(conn, evidence, now_ms)
    return _decide(conn, gtin, lot, Decision(0, version, SUBMITTED, "", by.login, now_ms, 0))


def return_(
    conn: Connection, gtin: str, lot: str, *, by: Person, reason: str, now_ms: int, version: int | None = None
) -> Decision:
    """Send a submission back with a reason of at most 2,000 characters. Raises ReviewError.

    version: the evidence version the official looked at; another one submitted since is refused.
    """
    _require_role(by, "official", "return a lot")
    text = reason.strip()
    if not text:
        raise ReviewError("reason_required", "a return needs a reason: write what is to be supplied or put right")
    if len(text) > REASON_MAX:
        raise ReviewError("reason_too_long", f"the reason has {len(text)} characters, at most {REASON_MAX} are kept")
    submitted = _waiting(conn, gtin, lot, version)
    return _decide(conn, gtin, lot, Decision(0, submitted.evidence_version, RETURNED, text, by.login, now_ms, 0))


def approve(
    conn: Connection,
    gtin: str,
    lot: str,
    *,
    by: Person,
    now_ms: int,
    version: int | None = None,
    examined: Examined | None = None,
) -> Decision:
    """Approve a submission as it was frozen. Raises ReviewError, also when the evidence has changed since.

    version: the evidence version the official looked at; another one submitted since is refused. Raises EvidenceMoved
    when `examined` is out of date.
    """
    _require_role(by, "official", "approve a lot")
    submitted = _waiting(conn, gtin, lot, version)
    if submitted.person == by.login:
        raise ReviewError("own_submission", f"{by.login} submitted lot {lot}: another official must decide")
    frozen = _frozen(conn, submission(conn, gtin, lot))
    if not still_holds(frozen.evidence, _evidence(conn, gtin, lot, now_ms, examined)):
        raise ReviewError(
            "evidence_changed",
            f"the evidence of lot {lot} has changed since version {frozen.version} was submitted (late readings, new "
            "events or limits); let it be submitted again, or return it",
        )
    return _decide(conn, gtin, lot, Decision(0, frozen.version, APPROVED, "", by.login, now_ms, 0))


def decision_bytes(gtin: str, lot: str, one: Decision, evidence_hash: bytes) -> bytes:
    """The bytes of a decision in the ledger: JSON of who decided what, when, why, and on which evidence."""
    return msgspec.json.encode(
        {
            "gtin": gtin,
            "lot": lot,
            "kind": one.kind,
            "reason": one.reason,
            "person": one.person,
            "decided_ms": one.decided_ms,
            "evidence_version": one.evidence_version,
            "evidence_sha256": evidence_hash.hex(),
        }
    )


def _made(row: Row[Any]) -> Decision:
    return Decision(row.id, row.evidence_version, row.kind, row.reason, row.person, row.decided_ms, row.leaf_index)


def _require_role(person: Person, role: str, what: str) -> None:
    if person.role != role:
        raise ReviewError("wrong_role", f"{person.login} is {person.role}: only an {role} may {what}")


def _evidence(conn: Connection, gtin: str, lot: str, now_ms: int, examined: Examined | None) -> LotEvidence:
    """The evidence as it is now: what was examined, if that still stands; without it, computed here."""
    examined = examined or examine(conn, gtin, lot, now_ms)
    if not stands(conn, examined.basis, examined.gateways):
        raise EvidenceMoved(f"lot {lot} of {gtin}: what its evidence rests on has changed; try again")
    if examined.evidence is None:
        raise ReviewError("unknown_lot", f"lot {lot} of GTIN {gtin}: no event speaks of it; check both numbers")
    return examined.evidence


def _waiting(conn: Connection, gtin: str, lot: str, version: int | None) -> Decision:
    """The submission that waits for a decision."""
    at = submission(conn, gtin, lot)
    if at.last is None or at.state != SUBMITTED:
        by = f" by {at.last.person}" if at.last else ""
        raise ReviewError("not_submitted", f"lot {lot} of {gtin} is {at.state}{by}: there is nothing to decide")
    if version is not None and version != at.last.evidence_version:
        raise ReviewError(
            "version_changed",
            f"lot {lot} of {gtin} was submitted again as version {at.last.evidence_version} while version {version} "
            "was looked at; look at the new one first",
        )
    return at.last


def _frozen(conn: Connection, at: Submission) -> Version:
    assert at.last is not None, "only asked for lots that were submitted"
    version = read(conn, at.gtin, at.lot, at.last.evidence_version)
    assert version is not None, "a decision names a frozen version"
    return version


def _decide(conn: Connection, gtin: str, lot: str, made: Decision) -> Decision:
    frozen = read(conn, gtin, lot, made.evidence_version)
    assert frozen is not None, "a decision names a frozen version"
    payload = decision_bytes(gtin, lot, made, frozen.hash)
    leaf_index = append(conn, "decision", payload=payload, ref=f"{gtin}/{lot}/{made.kind}/{made.decided_ms}")
    row = {name: value for name, value in msgspec.structs.asdict(made).items() if name != "id"}
    row |= {"gtin": gtin, "lot": lot, "leaf_index": leaf_index}
    key = conn.execute(insert(decision).values(row)).inserted_primary_key
    assert key is not None, "an inserted row has a key"
    return msgspec.structs.replace(made, id=key[0], leaf_index=leaf_index)
