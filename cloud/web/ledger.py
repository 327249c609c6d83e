"""The ledger for anybody: checkpoints and tiles as files (c2sp.org/tlog-tiles), proofs as lines for `ledger check`.

Public: all of it is hashes, and names of the log. What is served was signed: nothing beyond the newest checkpoint.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import msgspec
from fastapi import APIRouter, Depends, Path, Query, Request, Response
from sqlalchemy import Connection

from cloud.db.engine import reading
from cloud.ledger import checkpoint, keys, proof, stamp, tile
from cloud.ledger.checkpoint import Signed
from cloud.ledger.log import read_data
from cloud.web.form import Refused
from cloud.web.page import Site
from standards.tlog import proof_file
from standards.tlog.proof import ProofError
from standards.tlog.tile import TileError, parse_path, tile_at
from standards.tlog.tree import SIZE_MAX, leaf_hash

FOR_EVER = "public, max-age=31536000, immutable"
NOT_KEPT = "no-cache"
TEXT, BYTES = "text/plain; charset=utf-8", "application/octet-stream"


def _site(request: Request) -> Site:
    site: Site = request.app.state.site
    return site


OfSite = Annotated[Site, Depends(_site)]
Size = Annotated[int, Query(ge=1, le=SIZE_MAX)]
Leaf = Annotated[int, Query(ge=0, lt=SIZE_MAX)]
router = APIRouter(default_response_class=Response)


@router.get("/ledger/checkpoint", include_in_schema=False)
def newest(site: OfSite) -> Response:
    """The newest checkpoint: a note signed by the log, and by witnesses as they answer."""
    with reading(site.engine) as conn:
        return _text(checkpoint.signed_note(conn, _signed(conn)))


@router.get("/ledger/checkpoint/{size}", include_in_schema=False)
def of_size(site: OfSite, size: Annotated[int, Path(ge=1, le=SIZE_MAX)]) -> Response:
    """An older checkpoint, by its size."""
    with reading(site.engine) as conn:
        found = checkpoint.at_size(conn, size)
        if found is None:
            raise Refused(404, "not_found")
        return _text(checkpoint.signed_note(conn, found))


@router.get("/ledger/timestamp/{size}", include_in_schema=False)
def time_stamp(site: OfSite, size: Annotated[int, Path(ge=1, le=SIZE_MAX)]) -> Response:
    """The time stamp of a checkpoint (RFC 3161), as the authority answered."""
    with reading(site.engine) as conn:
        found = stamp.response_of(conn, size)
    if found is None:
        raise Refused(404, "not_found")
    return Response(found, media_type=stamp.REPLY_TYPE, headers={"Cache-Control": FOR_EVER})


@router.get("/ledger/keys", include_in_schema=False)
def verifier_keys(site: OfSite) -> Response:
    """Every verifier key the log has had, one per line. Compare them with what you were given another way."""
    with reading(site.engine) as conn:
        return _text("".join(f"{one}\n" for one in keys.verifiers(conn)))


@router.get("/ledger/proof/{index}", include_in_schema=False)
def kept_proof(site: OfSite, index: Annotated[int, Path(ge=0, lt=SIZE_MAX)]) -> Response:
    """The proof of a leaf to keep beside what it proves (c2sp.org/tlog-proof), up to the newest checkpoint."""
    with reading(site.engine) as conn:
        signed = _signed(conn)
        path = _proven(lambda: proof.inclusion(conn, index, signed.size))
        made = proof_file.ProofFile(index, tuple(path), checkpoint.signed_note(conn, signed))
    return _text(str(made))


@router.get("/ledger/tile/{path:path}", include_in_schema=False)
def tile_file(site: OfSite, path: str) -> Response:
    """A tile of hashes or a bundle of leaf data: of the tree of the newest checkpoint, or of any before it."""
    try:
        wanted = parse_path(f"tile/{path}")
    except TileError as error:
        raise Refused(404, "not_found") from error
    with reading(site.engine) as conn:
        try:
            there = tile_at(wanted.level, wanted.index, size=_signed(conn).size)
        except TileError as error:
            raise Refused(404, "not_found") from error
        if wanted.width > there.width:
            raise Refused(404, "not_found")
        data = tile.read(conn, wanted)
    return Response(data, media_type=BYTES, headers={"Cache-Control": FOR_EVER})


@router.get("/api/v1/ledger/inclusion")
def inclusion(site: OfSite, leaf: Leaf, size: Size | None = None) -> Response:
    """The proof that a leaf is in the tree of `size` leaves, the newest checkpoint's if none is named."""
    with reading(site.engine) as conn:
        size = _size(conn, size)
        path = _proven(lambda: proof.inclusion(conn, leaf, size))
        data = read_data(conn, leaf, leaf + 1)[0]
        line = {
            "type": "inclusion",
            "leaf_hash": leaf_hash(data).hex(),
            "index": leaf,
            "size": size,
            "proof": [one.hex() for one in path],
            "root": proof.root_at(conn, size).hex(),
        }
    return _line(line)


@router.get("/api/v1/ledger/consistency")
def consistency(site: OfSite, size1: Size, size2: Size | None = None) -> Response:
    """The proof that the tree of `size2` leaves, the newest checkpoint's if none is named, begins with `size1`'s."""
    with reading(site.engine) as conn:
        size2 = _size(conn, size2)
        path = _proven(lambda: proof.consistency(conn, size1, size2))
        line = {
            "type": "consistency",
            "size1": size1,
            "size2": size2,
            "root1": proof.root_at(conn, size1).hex(),
            "root2": proof.root_at(conn, size2).hex(),
            "proof": [one.hex() for one in path],
        }
    return _line(line)


def _signed(conn: Connection) -> Signed:
    found = checkpoint.latest(conn)
    if found is None:
        raise Refused(404, "not_found")
    return found


def _size(conn: Connection, wanted: int | None) -> int:
    """The size that was asked for, of what was signed."""
    newest = _signed(conn).size
    if wanted is not None and wanted > newest:
        raise Refused(404, "not_found")
    return newest if wanted is None else wanted


def _proven(make: Callable[[], list[bytes]]) -> list[bytes]:
    try:
        return make()
    except ProofError as error:
        raise Refused(404, "not_found") from error


def _text(text: str) -> Response:
    return Response(text, media_type=TEXT, headers={"Cache-Control": NOT_KEPT})


def _line(line: dict[str, object]) -> Response:
    return Response(msgspec.json.encode(line) + b"\n", media_type="application/json")
