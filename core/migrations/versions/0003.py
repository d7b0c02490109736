"""Overruled judgements."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "overrules",
        sa.Column("overrule_id", sa.Integer(), nullable=False),
        sa.Column("probe_id", sa.String(length=200), nullable=False),
        sa.Column("part", sa.String(length=200), nullable=False),
        sa.Column("prompt_id", sa.String(length=200), nullable=False),
        sa.Column("outcome", sa.String(length=200), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["actor"], ["users.name"], name="fk_overrules_actor_users"),
        sa.ForeignKeyConstraint(["probe_id"], ["probes.probe_id"], name="fk_overrules_probe_id_probes"),
        sa.PrimaryKeyConstraint("overrule_id", name="pk_overrules"),
    )
    op.create_index("ix_overrules_probe_id", "overrules", ["probe_id"], unique=False)


def downgrade() -> None:
    op.drop_table("overrules")
