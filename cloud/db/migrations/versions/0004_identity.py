"""Identity: one-time codes, link certificates, where keys end, and what was revoked."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "key_end",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("kid", sa.LargeBinary(), nullable=False),
        sa.Column("cause", sa.Text(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("first_seq", sa.BigInteger(), nullable=False),
        sa.Column("successor", sa.LargeBinary(), nullable=True),
        sa.Column("ended_ms", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("cause IN ('changed', 'revoked')", name=op.f("ck_key_end_known_cause")),
        sa.ForeignKeyConstraint(["gateway"], ["gateway.name"], name=op.f("fk_key_end_gateway_gateway")),
        sa.PrimaryKeyConstraint("gateway", "kid", name=op.f("pk_key_end")),
    )
    op.create_table(
        "key_older_stream",
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("kid", sa.LargeBinary(), nullable=False),
        sa.Column("stream", sa.LargeBinary(), nullable=False),
        sa.Column("last_seq", sa.BigInteger(), nullable=False),
        sa.Column("linked", sa.Boolean(), nullable=False),
        sa.PrimaryKeyConstraint("gateway", "kid", "stream", name=op.f("pk_key_older_stream")),
    )
    op.create_table(
        "revocation",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("from_seq", sa.BigInteger(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=False),
        sa.CheckConstraint("kind IN ('key', 'link')", name=op.f("ck_revocation_known_kind")),
        sa.ForeignKeyConstraint(["gateway"], ["gateway.name"], name=op.f("fk_revocation_gateway_gateway")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_revocation")),
        sa.UniqueConstraint("leaf_index", name=op.f("uq_revocation_leaf_index")),
    )
    op.create_table(
        "link_certificate",
        sa.Column("serial", sa.Text(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("link_key", sa.LargeBinary(), nullable=False),
        sa.Column("certificate", sa.LargeBinary(), nullable=False),
        sa.Column("issued_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("revoked_ms", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("serial", name=op.f("pk_link_certificate")),
    )
    op.create_index("ix_link_certificate_key", "link_certificate", ["gateway", "link_key"], unique=False)
    op.create_table(
        "invitation",
        sa.Column("code_id", sa.LargeBinary(), nullable=False),
        sa.Column("code_key", sa.LargeBinary(), nullable=False),
        sa.Column("gateway", sa.Text(), nullable=False),
        sa.Column("invited_ms", sa.BigInteger(), nullable=False),
        sa.Column("expires_ms", sa.BigInteger(), nullable=False),
        sa.Column("used_ms", sa.BigInteger(), nullable=True),
        sa.Column("used_by", sa.LargeBinary(), nullable=True),
        sa.PrimaryKeyConstraint("code_id", name=op.f("pk_invitation")),
    )
