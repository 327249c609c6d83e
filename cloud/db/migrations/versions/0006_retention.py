"""What is held, what was removed and why; who may no longer sign in."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    op.create_table(
        "hold",
        sa.Column("id", ID, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=False),
        sa.Column("release", sa.Text(), nullable=True),
        sa.Column("release_leaf_index", sa.BigInteger(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_hold")),
        sa.UniqueConstraint("leaf_index", name=op.f("uq_hold_leaf_index")),
        sa.UniqueConstraint("release_leaf_index", name=op.f("uq_hold_release_leaf_index")),
    )
    op.create_table(
        "pruning",
        sa.Column("id", ID, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.Column("leaf_index", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pruning")),
        sa.UniqueConstraint("leaf_index", name=op.f("uq_pruning_leaf_index")),
    )
    op.create_table(
        "tombstone",
        sa.Column("leaf_index", sa.BigInteger(), nullable=False),
        sa.Column("hash", sa.LargeBinary(), nullable=False),
        sa.Column("pruning_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["leaf_index"], ["leaf.leaf_index"], name=op.f("fk_tombstone_leaf_index_leaf")),
        sa.ForeignKeyConstraint(["pruning_id"], ["pruning.id"], name=op.f("fk_tombstone_pruning_id_pruning")),
        sa.PrimaryKeyConstraint("leaf_index", name=op.f("pk_tombstone")),
    )
    op.create_table(
        "former_person",
        sa.Column("login", sa.Text(), nullable=False),
        sa.Column("removed_ms", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(["login"], ["person.login"], name=op.f("fk_former_person_login_person")),
        sa.PrimaryKeyConstraint("login", name=op.f("pk_former_person")),
    )
