"""SQL tables: who may do what, what was imported and scored, what is flagged, what runs where, what was done."""

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, DateTime, Dialect, ForeignKey, Index, MetaData, String, Text, text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from sqlalchemy.types import TypeDecorator


def utc_now() -> datetime:
    """Return the present moment."""
    return datetime.now(UTC)


class UtcDateTime(TypeDecorator[datetime]):
    """Aware UTC datetimes on every database (SQLite forgets the zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Store as UTC."""
        return value.astimezone(UTC) if value else None

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Read as UTC."""
        if value is None or value.tzinfo:
            return value
        return value.replace(tzinfo=UTC)


class Table(DeclarativeBase):
    """Base of all tables; constraint names are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(table_name)s_%(column_0_N_name)s",
            "uq": "uq_%(table_name)s_%(column_0_N_name)s",
            "fk": "fk_%(table_name)s_%(column_0_N_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {  # noqa: RUF012
        datetime: UtcDateTime,
        dict[str, Any]: JSON(none_as_null=True),
        str: String(200),
    }


class UserRow(Table):
    """A person and the one role that every write checks."""

    __tablename__ = "users"
    name: Mapped[str] = mapped_column(primary_key=True)
    role: Mapped[str]
    created_at: Mapped[datetime]


class DatasetRow(Table):
    """An imported dataset; its rows are files under its fingerprint."""

    __tablename__ = "datasets"
    fingerprint: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(Text)
    n_rows: Mapped[int]
    n_rejected: Mapped[int]
    n_holdout: Mapped[int]
    format: Mapped[str]
    mapping: Mapped[dict[str, Any]]
    source_file: Mapped[str | None]
    imported_at: Mapped[datetime]
    imported_by: Mapped[str] = mapped_column(ForeignKey("users.name"))
    # The model that is to be fine-tuned on it for real; a probe of another one decides nothing about it.
    target_model: Mapped[str | None] = mapped_column(Text)
    # Deleted this many days after the import; None: kept until somebody deletes it.
    retention_days: Mapped[int | None]


class ScoreRunRow(Table):
    """A finished scoring of a dataset with one model and one set of settings."""

    __tablename__ = "score_runs"
    run_id: Mapped[str] = mapped_column(primary_key=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.fingerprint"), index=True)
    job_id: Mapped[str]
    model: Mapped[str] = mapped_column(Text)
    model_name: Mapped[str] = mapped_column(Text)
    settings: Mapped[dict[str, Any]]
    n_rows: Mapped[int]
    n_unscorable: Mapped[int]
    # Whether the tokenizer brought its own chat template, or the fallback was used.
    template: Mapped[str] = mapped_column(default="own")
    umap_skipped: Mapped[str | None] = mapped_column(Text)
    folder: Mapped[str] = mapped_column(Text)
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(ForeignKey("users.name"))


class FlagRow(Table):
    """The latest mark on one row; `version` counts its changes."""

    __tablename__ = "flags"
    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.fingerprint"), primary_key=True)
    row_id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    flagged: Mapped[bool]
    actor: Mapped[str] = mapped_column(ForeignKey("users.name"))
    note: Mapped[str] = mapped_column(Text)
    updated_at: Mapped[datetime]
    version: Mapped[int]


class JobRow(Table):
    """A background job as people see it; DBOS keeps its own books about how to run it."""

    __tablename__ = "jobs"
    job_id: Mapped[str] = mapped_column(primary_key=True)
    kind: Mapped[str]
    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.fingerprint"), index=True)
    actor: Mapped[str] = mapped_column(ForeignKey("users.name"))
    # What is to be done: settings, row ids. Equal work has an equal key.
    spec: Mapped[dict[str, Any]]
    work_key: Mapped[str] = mapped_column(index=True)
    status: Mapped[str] = mapped_column(index=True)
    # The DBOS workflow that may run this job now; each resume makes a new one.
    workflow_id: Mapped[str]
    worker_id: Mapped[str | None]
    attempts: Mapped[int] = mapped_column(default=0)
    # Attempts that ended without finishing one more step: a job that kills its worker must end some day.
    fruitless_attempts: Mapped[int] = mapped_column(default=0)
    cancel_requested: Mapped[bool] = mapped_column(default=False)
    stage: Mapped[str] = mapped_column(default="")
    done: Mapped[int] = mapped_column(default=0)
    total: Mapped[int] = mapped_column(default=0)
    tokens_done: Mapped[int] = mapped_column(default=0)
    tokens_total: Mapped[int] = mapped_column(default=0)
    # Which fine-tune of how many, where a job has several.
    part: Mapped[int] = mapped_column(default=0)
    parts: Mapped[int] = mapped_column(default=0)
    # Where this attempt found this stage, so that the ETA is measured on work done now.
    stage_started_at: Mapped[datetime | None]
    stage_first_done: Mapped[int] = mapped_column(default=0)
    stage_first_tokens: Mapped[int] = mapped_column(default=0)
    error_template: Mapped[str | None] = mapped_column(Text)
    error_params: Mapped[dict[str, Any] | None]
    result: Mapped[dict[str, Any] | None]
    created_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    updated_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


Index(
    "one_active_job_per_work",
    JobRow.work_key,
    unique=True,
    sqlite_where=text("status IN ('queued', 'running')"),
    postgresql_where=text("status IN ('queued', 'running')"),
)


class ProbeRow(Table):
    """A probe fine-tune; its result is a file in the workspace."""

    __tablename__ = "probes"
    probe_id: Mapped[str] = mapped_column(primary_key=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.fingerprint"), index=True)
    job_id: Mapped[str] = mapped_column(ForeignKey("jobs.job_id"), unique=True)
    settings: Mapped[dict[str, Any]]
    n_rows: Mapped[int]
    created_at: Mapped[datetime]
    created_by: Mapped[str] = mapped_column(ForeignKey("users.name"))


class PolicyRow(Table):
    """A version of the stop criteria; the newest is in force."""

    __tablename__ = "policies"
    version: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    content: Mapped[dict[str, Any]]
    reason: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(ForeignKey("users.name"))
    created_at: Mapped[datetime]


class ReleaseRow(Table):
    """A person's signed decision to fine-tune on a dataset or not."""

    __tablename__ = "releases"
    release_id: Mapped[int] = mapped_column(primary_key=True)
    dataset: Mapped[str] = mapped_column(ForeignKey("datasets.fingerprint"), index=True)
    probe_id: Mapped[str]
    released: Mapped[bool]
    signed_by: Mapped[str]
    signed_role: Mapped[str]
    reason: Mapped[str] = mapped_column(Text)
    accepted_risk: Mapped[str] = mapped_column(Text)
    verdict: Mapped[str]
    # What the verdict rested on then: hash of the decisions, version of the criteria, models.
    basis: Mapped[dict[str, Any]]
    actor: Mapped[str] = mapped_column(ForeignKey("users.name"))
    created_at: Mapped[datetime]


class OverruleRow(Table):
    """A person's own judgement of an answer; the newest counts, the judge's stays in the probe's result."""

    __tablename__ = "overrules"
    overrule_id: Mapped[int] = mapped_column(primary_key=True)
    probe_id: Mapped[str] = mapped_column(ForeignKey("probes.probe_id"), index=True)
    # "before", or an arm and its seed: "flagged 0".
    part: Mapped[str]
    prompt_id: Mapped[str]
    outcome: Mapped[str]
    note: Mapped[str] = mapped_column(Text)
    actor: Mapped[str] = mapped_column(ForeignKey("users.name"))
    created_at: Mapped[datetime]


class WorkerRow(Table):
    """A worker process and its heartbeat."""

    __tablename__ = "workers"
    worker_id: Mapped[str] = mapped_column(primary_key=True)
    host: Mapped[str]
    pid: Mapped[int]
    # With the pid: the same number may belong to another process after a restart.
    process_started: Mapped[float]
    # [[pid, process_started], ...] of the app servers it works for; empty: it runs until stopped.
    parents: Mapped[str] = mapped_column(Text, default="[]")
    heartbeat: Mapped[float]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]


class AuditRow(Table):
    """An entry of the audit log, see core.audit; the database itself refuses to change or remove one."""

    __tablename__ = "audit_log"
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    # Text and not a moment: the hash is over exactly this.
    time: Mapped[str] = mapped_column(String(32), index=True)
    actor: Mapped[str] = mapped_column(index=True)
    action: Mapped[str] = mapped_column(String(32), index=True)
    subject: Mapped[str] = mapped_column(Text, index=True)
    # Canonical JSON.
    before: Mapped[str] = mapped_column(Text)
    after: Mapped[str] = mapped_column(Text)
    note: Mapped[str] = mapped_column(Text)
    previous: Mapped[str] = mapped_column(String(64))
    hash: Mapped[str] = mapped_column(String(64))


class AuditHeadRow(Table):
    """The one row that says where the log ends; locked by whoever writes."""

    __tablename__ = "audit_head"
    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    seq: Mapped[int]
    hash: Mapped[str] = mapped_column(String(64))
