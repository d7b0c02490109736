"""Deleting a dataset for good, with everything that was made of it; the audit log keeps hashes and counts.

A list of what to remove outside of the database is written before the database forgets the dataset, so that a
deletion that is cut short is finished by the next `sweep`.
"""

import json
import shutil
from collections.abc import Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from sqlalchemy import ColumnElement, FromClause, delete, func, or_, select
from sqlalchemy.orm import Session

from core import audit, database
from core.errors import UserError
from core.files import write_json
from core.i18n import N_
from core.importing import files_lock
from core.jobs import ACTIVE, forget_workflows, stop_job
from core.settings import Settings
from core.store import DatasetRecord, Store
from core.tables import DatasetRow, JobRow, ProbeRow, Table, utc_now
from core.users import DELETE, require

LONGEST_RETENTION_DAYS = 36_500


def delete_dataset(store: Store, fingerprint: str, actor: str) -> None:
    """Delete a dataset: rows, scores, features, probes, answers, decisions, and prompt files nobody else uses.

    Parameters
    ----------
    store : Store
    fingerprint : str
    actor : str
        Needs the capability `DELETE`.

    Raises
    ------
    UserError
        A job of the dataset is queued or running: cancel it first.
    """
    with files_lock(store.settings.workspace):
        _delete(store, fingerprint, actor, check=True)


def set_retention(store: Store, fingerprint: str, days: int | None, actor: str) -> None:
    """Have a dataset deleted so many days after its import; None keeps it. Needs the capability `DELETE`."""
    if days is not None and not 1 <= days <= LONGEST_RETENTION_DAYS:
        raise UserError(N_("Keep a dataset for 1 to {most} days."), most=LONGEST_RETENTION_DAYS)
    with database.writing(store.url) as session:
        require(session, actor, DELETE)
        row = _locked(session, fingerprint)
        before, row.retention_days = row.retention_days, days
        session.flush()
        if before != days:
            audit.append(
                session,
                actor=actor,
                action=audit.RETENTION,
                subject=fingerprint,
                before={"days": before},
                after={"days": days},
            )


def deletion_time(record: DatasetRecord) -> datetime | None:
    """Return from when on a dataset is deleted by itself, or None."""
    return record.imported_at + timedelta(days=record.retention_days) if record.retention_days else None


def sweep(store: Store) -> list[str]:
    """Delete the datasets whose time has come, and finish deletions that were cut short.

    A due dataset with a job at work has the job stopped, and goes with the next sweep.

    Returns
    -------
    list of str
        Fingerprints of the datasets deleted.
    """
    gone = []
    with files_lock(store.settings.workspace):
        known = {record.fingerprint for record in store.datasets()}
        for path in _lists(store.settings).glob("*.json"):
            # A list of a dataset that is there: its deletion never came to pass, or it was imported again.
            if path.stem not in known:
                _remove(store.settings, json.loads(path.read_text(encoding="utf-8")))
            path.unlink()
        for record in store.datasets():
            due = deletion_time(record)
            if due is not None and due <= utc_now() and _stopped(store, record.fingerprint):
                _delete(store, record.fingerprint, audit.RETENTION_ACTOR, check=False)
                gone.append(record.fingerprint)
    return gone


def _delete(store: Store, fingerprint: str, actor: str, check: bool) -> None:
    listed = _lists(store.settings) / f"{fingerprint}.json"
    with database.writing(store.url) as session:
        if check:
            require(session, actor, DELETE)
        row = _locked(session, fingerprint)
        if session.scalar(_jobs(fingerprint).where(JobRow.status.in_(ACTIVE)).limit(1)) is not None:
            raise UserError(
                N_("A job of this dataset is still at work. Cancel it, wait until it has stopped, then delete.")
            )
        before: dict[str, Any] = {"rows": row.n_rows, "rejected": row.n_rejected}
        doomed = {
            "files": _files(session, store, fingerprint),
            "jobs": [job.job_id for job in session.scalars(_jobs(fingerprint))],
        }
        write_json(listed, doomed)
        session.expunge_all()
        before["deleted"] = _delete_rows(session, fingerprint)
        audit.append(session, actor=actor, action=audit.DELETE, subject=fingerprint, before=before)
    _remove(store.settings, doomed)
    listed.unlink()


def _delete_rows(session: Session, fingerprint: str) -> dict[str, int]:
    """Delete a dataset's row and whatever refers to it, through any number of tables; return how many of each."""
    doomed: dict[FromClause, ColumnElement[bool]] = {}
    for table in Table.metadata.sorted_tables:
        references = [
            key.parent.in_(select(key.column).where(doomed[key.column.table]))
            for key in table.foreign_keys
            if key.column.table in doomed
        ]
        if table.name == DatasetRow.__tablename__:
            doomed[table] = table.c.fingerprint == fingerprint
        elif references:
            doomed[table] = or_(*references)
    counts = {}
    for table in reversed(Table.metadata.sorted_tables):
        if table in doomed:
            if found := session.scalar(select(func.count()).select_from(table).where(doomed[table])):
                counts[table.name] = int(found)
            session.execute(delete(table).where(doomed[table]))
    return counts


def _files(session: Session, store: Store, fingerprint: str) -> list[str]:
    """Return what to remove from the workspace, relative to it."""
    ours = session.scalars(_jobs(fingerprint)).all()
    probes = session.scalars(select(ProbeRow.probe_id).where(ProbeRow.dataset == fingerprint)).all()
    others = session.scalars(select(JobRow).where(JobRow.dataset != fingerprint)).all()
    prompts = _prompt_files(store.settings, ours) - _prompt_files(store.settings, others)
    # A probe's result and whatever else was kept under its id.
    folder = store.settings.workspace / "probes"
    results = [path for probe in probes for path in folder.glob(f"{probe}*")]
    logs = [store.settings.workspace / "logs" / f"{job.job_id}.log" for job in ours]
    paths = [store.dataset_folder(fingerprint), *results, *logs, *prompts]
    return [path.relative_to(store.settings.workspace).as_posix() for path in paths]


def _prompt_files(settings: Settings, jobs: Iterable[JobRow]) -> set[Path]:
    asked = [job.spec.get("settings", {}) for job in jobs]
    names = ("prompt_source", "task_file", "safety_file")
    found = {Path(str(settings.get(name) or "")) for settings in asked for name in names}
    # People's own files elsewhere are theirs.
    return {path for path in found if path.parent == settings.workspace / "prompts"}


def _remove(settings: Settings, doomed: dict[str, list[str]]) -> None:
    forget_workflows(settings, doomed["jobs"])
    for name in doomed["files"]:
        path = settings.workspace / name
        if path.is_dir():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _stopped(store: Store, fingerprint: str) -> bool:
    """Stop a dataset's jobs; tell whether none is at work any more."""
    with database.writing(store.url) as session:
        jobs = session.scalars(_jobs(fingerprint).where(JobRow.status.in_(ACTIVE))).all()
        for job in jobs:
            stop_job(session, job, audit.RETENTION_ACTOR)
        return all(job.status not in ACTIVE for job in jobs)


def _jobs(fingerprint: str) -> Any:
    return select(JobRow).where(JobRow.dataset == fingerprint)


def _locked(session: Session, fingerprint: str) -> DatasetRow:
    row = session.get(DatasetRow, fingerprint, with_for_update=True)
    if row is None:
        raise UserError(N_("There is no dataset {fingerprint}."), fingerprint=fingerprint[:80])
    return row


def _lists(settings: Settings) -> Path:
    return settings.workspace / "deleting"
