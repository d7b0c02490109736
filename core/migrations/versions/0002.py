"""Jobs in parts; the model that a dataset is meant for; stop criteria and release decisions."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("part", "parts"):
        op.add_column("jobs", sa.Column(name, sa.Integer(), nullable=False, server_default="0"))
    op.add_column("datasets", sa.Column("target_model", sa.Text(), nullable=True))
    op.create_table(
        "policies",
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("content", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["actor"], ["users.name"], name="fk_policies_actor_users"),
        sa.PrimaryKeyConstraint("version", name="pk_policies"),
    )
    op.create_table(
        "releases",
        sa.Column("release_id", sa.Integer(), nullable=False),
        sa.Column("dataset", sa.String(length=200), nullable=False),
        sa.Column("probe_id", sa.String(length=200), nullable=False),
        sa.Column("released", sa.Boolean(), nullable=False),
        sa.Column("signed_by", sa.String(length=200), nullable=False),
        sa.Column("signed_role", sa.String(length=200), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("accepted_risk", sa.Text(), nullable=False),
        sa.Column("verdict", sa.String(length=200), nullable=False),
        sa.Column("basis", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("actor", sa.String(length=200), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["actor"], ["users.name"], name="fk_releases_actor_users"),
        sa.ForeignKeyConstraint(["dataset"], ["datasets.fingerprint"], name="fk_releases_dataset_datasets"),
        sa.PrimaryKeyConstraint("release_id", name="pk_releases"),
    )
    op.create_index("ix_releases_dataset", "releases", ["dataset"])


def downgrade() -> None:
    op.drop_table("releases")
    op.drop_table("policies")
    with op.batch_alter_table("datasets") as table:
        table.drop_column("target_model")
    with op.batch_alter_table("jobs") as table:
        table.drop_column("part")
        table.drop_column("parts")
