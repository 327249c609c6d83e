"""Where each scan stands in the order of a stream, also when it was carried over into another pack.

What is remembered of closed pallets counted ordinals; the follower finds it again by the events.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

from cloud.telemetry.place import places
from wire import pack as wire_pack
from wire.envelope import open_envelope

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

KEPT = (
    "pack_id, ordinal, gateway, stream, seq, channel, code, symbology, observed_ms, believed_ms, boot_id, "
    "monotonic_ms, clock, quality"
)


def upgrade() -> None:
    conn = op.get_bind()
    for name in ("ix_scan_channel_time", "ix_scan_boot"):
        op.drop_index(name, "scan")
    op.rename_table("scan", "old_scan")
    if conn.dialect.name == "postgresql":  # where the index of a key has a name of its own, which is needed again
        op.drop_constraint("pk_scan", "old_scan")
    _create()
    conn.execute(
        sa.text(
            f"INSERT INTO scan ({KEPT}, place_stream, place_seq, place_position) "  # noqa: S608 - our own names
            f"SELECT {KEPT}, stream, seq, "
            "ordinal - (SELECT MIN(f.ordinal) FROM old_scan f WHERE f.pack_id = s.pack_id) FROM old_scan s"
        )
    )
    op.drop_table("old_scan")
    _place_carried(conn)
    conn.execute(sa.text("DELETE FROM cursor WHERE follower = 'pallets'"))


def _create() -> None:
    op.create_table(
        "scan",
        sa.Column("pack_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.BigInteger(), nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("code", sa.Text(), nullable=False),
        sa.Column("symbology", sa.Text(), nullable=False),
        sa.Column("observed_ms", sa.BigInteger(), nullable=False),
        sa.Column("believed_ms", sa.BigInteger(), nullable=False),
        sa.Column("boot_id", sa.LargeBinary(), nullable=False),
        sa.Column("monotonic_ms", sa.BigInteger(), nullable=False),
        sa.Column("clock", sa.Integer(), nullable=False),
        sa.Column("quality", sa.Integer(), nullable=False),
        sa.Column("place_stream", sa.LargeBinary(), nullable=False),
        sa.Column("place_seq", sa.BigInteger(), nullable=False),
        sa.Column("place_position", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(["pack_id"], ["pack.id"], name=op.f("fk_scan_pack_id_pack")),
        sa.PrimaryKeyConstraint("pack_id", "ordinal", name=op.f("pk_scan")),
    )
    place = ["gateway", "place_stream", "place_seq", "place_position"]
    op.create_index("ix_scan_place", "scan", place, unique=False)
    op.create_index("ix_scan_channel_time", "scan", ["gateway", "channel", "observed_ms"], unique=False)
    op.create_index("ix_scan_boot", "scan", ["gateway", "boot_id", "monotonic_ms"], unique=False)


def _place_carried(conn: sa.Connection) -> None:
    carrying = "SELECT DISTINCT c.pack_id FROM carried c JOIN scan s ON s.pack_id = c.pack_id ORDER BY c.pack_id"
    ids = list(conn.scalars(sa.text(carrying)))
    change = sa.text(
        "UPDATE scan SET place_stream = :stream, place_seq = :seq, place_position = :position "
        "WHERE pack_id = :pack_id AND ordinal = :ordinal"
    )
    envelope = sa.text("SELECT envelope FROM pack WHERE id = :id")
    for pack_id in ids:
        pack = wire_pack.read_payload(open_envelope(conn.execute(envelope, {"id": pack_id}).scalar_one()))
        first = pack.count - len(pack.scans)
        rows: list[dict[str, Any]] = [
            {"pack_id": pack_id, "ordinal": ordinal, "stream": at.stream, "seq": at.seq, "position": at.position}
            for ordinal, at in enumerate(places(pack), start=first)
        ]
        conn.execute(change, rows)
