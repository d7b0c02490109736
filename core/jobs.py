"""Background jobs as the rest of Assay sees them: start, follow, cancel, resume.

The work itself is in core.workflows and runs in the worker; this module imports neither it nor torch.
DBOS, which makes the jobs durable, is hidden here and there.
"""

import hashlib
import json
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from filelock import FileLock
from sqlalchemy import Select, delete, make_url, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from core import audit, database
from core.arms import BOTTOM, CLEANED, FLAGGED, MITIGATED, TOP, parse_arms
from core.errors import UserError
from core.heartbeats import shown_status
from core.i18n import N_
from core.job_records import JobRecord, job_record
from core.selection import selection_of
from core.server_files import allowed_path
from core.settings import Settings
from core.store import Store
from core.tables import DatasetRow, JobRow, OverruleRow, ProbeRow, utc_now
from core.users import PROBE, SCORE, require

if TYPE_CHECKING:
    from dbos import DBOSClient
    from pydantic import BaseModel

    from core.probe_settings import ProbeSettings

QUEUE = "model"
WAITING_QUEUE = "waiting"
WORKFLOW = "run_job"
PART_WORKFLOW = "run_part"
# Client and worker must agree on these two, or the worker leaves the client's jobs alone. Change the version
# when a workflow's order of steps changes: new code must not replay jobs that were begun under the old order.
APPLICATION = "assay"
APPLICATION_VERSION = "2"
ACTIVE = ("queued", "running")
ESTIMATES = ("estimate", "probe_estimate")
# Done in parts, each of them queued by itself.
IN_PARTS = ("probe",)
# An estimate takes seconds and somebody is waiting for it (DBOS runs the lowest number first).
# Settings that may name a file or folder, whose content then counts.
_FILES = ("model", "prompt_source", "task_file", "safety_file")
_CAPABILITY = {"estimate": SCORE, "score": SCORE, "probe": PROBE, "probe_estimate": PROBE}
_PRIORITY = {"estimate": 1, "probe_estimate": 1, "score": 10, "probe": 10}

JobList = list[JobRecord]


class Jobs:
    """Client of the background jobs; cheap to make.

    Parameters
    ----------
    settings : Settings
        Workspace and databases.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.url = settings.database_url
        self.store = Store(settings)

    def start_score(self, fingerprint: str, settings: "BaseModel", actor: str) -> str:
        """Score a dataset (core.runs.ScoreSettings).

        Returns
        -------
        str
            The job's id; that of the job that is doing or has done the same work, if there is one.
        """
        return self._start("score", fingerprint, {"settings": settings.model_dump(mode="json")}, actor)

    def start_estimate(self, fingerprint: str, settings: "BaseModel", actor: str) -> str:
        """Measure how long `start_score` would take.

        The job's result has rows, unscorable, tokens, tokens_left, tokens_per_second and seconds.
        """
        return self._start("estimate", fingerprint, {"settings": settings.model_dump(mode="json")}, actor)

    def start_probe(
        self, fingerprint: str, settings: "ProbeSettings", flagged: list[int], actor: str, run_id: str | None = None
    ) -> str:
        """Fine-tune on arms of a dataset and compare them with before and with each other.

        Parameters
        ----------
        fingerprint : str
        settings : ProbeSettings
        flagged : list of int
            Rows marked for exclusion. Those of the frozen benign holdout are left out: nothing is ever trained on them.
        actor : str
            Needs the role steward.
        run_id : str, optional
            Scoring run whose scores rank rows, for arms by score.
        """
        return self._start("probe", fingerprint, self._probe_spec(fingerprint, settings, flagged, run_id), actor)

    def start_probe_estimate(
        self, fingerprint: str, settings: "ProbeSettings", flagged: list[int], actor: str, run_id: str | None = None
    ) -> str:
        """Measure how long `start_probe` would take (result: `core.probe_time.Expected`)."""
        spec = self._probe_spec(fingerprint, settings, flagged, run_id)
        return self._start("probe_estimate", fingerprint, spec, actor)

    def _probe_spec(
        self, fingerprint: str, settings: "ProbeSettings", flagged: list[int], run_id: str | None
    ) -> dict[str, Any]:
        arms = parse_arms(settings.arms)
        for name in ("prompt_source", "task_file", "safety_file"):
            path = Path(str(getattr(settings, name) or ""))
            if path.suffix and path.parent != self.settings.workspace / "prompts":
                allowed_path(str(path), self.settings)
        table = self.store.rows(fingerprint)
        held_out = set(table.loc[table["holdout"], "row_id"].tolist())
        needed = any(arm.kind in (FLAGGED, MITIGATED, CLEANED) for arm in arms)
        if flagged or needed:
            selection_of(FLAGGED, flagged, table["row_id"].tolist(), held_out)
        if run_id is not None:
            self.store.score_run(run_id)
        elif any(arm.kind in (TOP, BOTTOM) for arm in arms):
            raise UserError(N_("Score the dataset first: an arm asks for the highest or lowest scores."))
        return {
            "settings": settings.model_dump(mode="json"),
            "flagged": sorted(set(flagged)),
            "run_id": run_id,
        }

    def delete_probe(self, probe_id: str, actor: str) -> None:
        """Delete a probe that is not under way: its record, result, answers and overrulings; needs the role steward.

        What other probes may share (`probes/before`, `probes/runs`) stays.
        """
        with database.writing(self.url) as session:
            require(session, actor, PROBE)
            row = session.get(ProbeRow, probe_id)
            if row is None:
                raise UserError(N_("There is no probe {probe_id}."), probe_id=probe_id[:80])
            if shown_status(session, _job(session, row.job_id)) in (*ACTIVE, "interrupted"):
                raise UserError(N_("This probe is under way; cancel it first."))
            subject = audit.part_subject(row.dataset, "probe", probe_id)
            audit.append(session, actor=actor, action=audit.DELETE, subject=subject)
            session.execute(delete(OverruleRow).where(OverruleRow.probe_id == probe_id))
            session.delete(row)
        self.store.probe_path(probe_id).unlink(missing_ok=True)

    def get(self, job_id: str) -> JobRecord:
        """Return a job as it stands; an unknown id is a UserError."""
        with database.reading(self.url) as session:
            return job_record(session, _job(session, job_id))

    def cancel(self, job_id: str, actor: str) -> None:
        """Ask a job to stop; what is finished stays, and `resume` goes on from there.

        Does nothing to a job that has ended.
        """
        with database.writing(self.url) as session:
            row = _job(session, job_id)
            require(session, actor, _CAPABILITY[row.kind])
            stop_job(session, row, actor)

    def resume(self, job_id: str, actor: str) -> None:
        """Queue a cancelled, failed or interrupted job again; finished chunks are not done twice."""
        with database.writing(self.url) as session:
            row = _job(session, job_id)
            require(session, actor, _CAPABILITY[row.kind])
            status = shown_status(session, row)
            if status == "running":
                # Cancelled a moment ago and not stopped yet: let it go on.
                row.cancel_requested = False
            if status not in ("cancelled", "failed", "interrupted"):
                return
            twin = session.scalar(_same_work(row.work_key).where(JobRow.job_id != job_id, JobRow.status.in_(ACTIVE)))
            if twin is not None:
                raise UserError(N_("The same work is already under way in another job."))
            row.status, row.worker_id, row.workflow_id = "queued", None, f"{job_id}-{uuid4().hex[:8]}"
            row.cancel_requested, row.fruitless_attempts = False, 0
            row.error_template = row.error_params = row.ended_at = None
            row.updated_at = utc_now()
            _log(session, row, actor, audit.JOB, {"status": status}, {"status": "queued"})
        self._enqueue(row)

    def list(self, fingerprint: str | None = None, kind: str | None = None, active_only: bool = False) -> JobList:
        """Return jobs, newest first; interrupted ones are active."""
        query = select(JobRow).order_by(JobRow.created_at.desc(), JobRow.job_id)
        if fingerprint is not None:
            query = query.where(JobRow.dataset == fingerprint)
        if kind is not None:
            query = query.where(JobRow.kind == kind)
        if active_only:
            query = query.where(JobRow.status.in_(ACTIVE))
        with database.reading(self.url) as session:
            return [job_record(session, row) for row in session.scalars(query).all()]

    def _start(self, kind: str, fingerprint: str, spec: dict[str, Any], actor: str) -> str:
        files = [path_state(str(spec["settings"].get(name) or "")) for name in _FILES]
        work = json.dumps([kind, fingerprint, spec, files], sort_keys=True)
        work_key = hashlib.sha256(work.encode()).hexdigest()[:32]
        try:
            row = self._find_or_add(kind, fingerprint, spec, work_key, actor)
        except IntegrityError:
            # Somebody added the same work between our look and our insert (PostgreSQL); find theirs.
            row = self._find_or_add(kind, fingerprint, spec, work_key, actor)
        if row.status == "queued":
            self._enqueue(row)
        return row.job_id

    def _find_or_add(self, kind: str, fingerprint: str, spec: dict[str, Any], work_key: str, actor: str) -> JobRow:
        with database.writing(self.url) as session:
            require(session, actor, _CAPABILITY[kind])
            if session.get(DatasetRow, fingerprint) is None:
                raise UserError(N_("There is no dataset {fingerprint}."), fingerprint=fingerprint[:80])
            same = _same_work(work_key).order_by(JobRow.created_at.desc())
            active = session.scalar(same.where(JobRow.status.in_(ACTIVE)))
            if active is not None:
                return active
            if kind not in ESTIMATES:  # how fast the machine is changes from hour to hour
                for finished in session.scalars(same.where(JobRow.status == "done")):
                    if self._result_is_there(finished):
                        return finished
            job_id = uuid4().hex
            row = JobRow(
                job_id=job_id,
                kind=kind,
                dataset=fingerprint,
                actor=actor,
                spec=spec,
                work_key=work_key,
                status="queued",
                workflow_id=job_id,
                created_at=utc_now(),
                updated_at=utc_now(),
            )
            session.add(row)
            session.flush()
            if kind == "probe":
                session.add(
                    ProbeRow(
                        probe_id=job_id,
                        dataset=fingerprint,
                        job_id=job_id,
                        settings=spec["settings"],
                        n_rows=len(spec["flagged"]),
                        created_at=utc_now(),
                        created_by=actor,
                    )
                )
                session.flush()
                about = {"status": "queued", "rows": len(spec["flagged"]), "arms": spec["settings"]["arms"]}
                _log(session, row, actor, audit.PROBE, None, {**about, "settings": spec["settings"]})
            return row

    def _result_is_there(self, row: JobRow) -> bool:
        if row.kind == "probe":
            return self.store.probe_path(row.job_id).exists()
        run_id = (row.result or {}).get("run_id")
        return any(run.run_id == run_id and run.folder.exists() for run in self.store.score_runs(row.dataset))

    def _enqueue(self, row: JobRow) -> None:
        enqueue(self.settings, row)


def stop_job(session: Session, row: JobRow, actor: str) -> None:
    """Cancel a job that nobody works on, and ask a running one to stop; nothing happens to one that has ended."""
    status = shown_status(session, row)
    if status in ("queued", "interrupted"):
        row.status, row.ended_at, row.updated_at = "cancelled", utc_now(), utc_now()
        _log(session, row, actor, audit.JOB, {"status": status}, {"status": "cancelled"})
    elif status == "running" and not row.cancel_requested:
        row.cancel_requested = True
        _log(session, row, actor, audit.JOB, {"status": status}, {"status": "stopping"})


def _log(session: Session, row: JobRow, actor: str, action: str, before: Any, after: dict[str, Any]) -> None:
    session.flush()
    subject = audit.part_subject(row.dataset, row.kind, row.job_id)
    audit.append(session, actor=actor, action=action, subject=subject, before=before, after=after)


def enqueue(settings: Settings, row: JobRow) -> None:
    """Hand a job to DBOS; doing it twice does nothing."""
    _client(settings.jobs_url, str(settings.workspace)).enqueue(
        {
            "workflow_name": WORKFLOW,
            "queue_name": WAITING_QUEUE if row.kind in IN_PARTS else QUEUE,
            "workflow_id": row.workflow_id,
            "app_version": APPLICATION_VERSION,
            "priority": _PRIORITY[row.kind],
        },
        row.job_id,
    )


def enqueue_parts(settings: Settings, workflow_id: str, job_id: str, kind: str, parts: list[str]) -> None:
    """Hand parts of a job to DBOS; doing it twice does nothing."""
    client = _client(settings.jobs_url, str(settings.workspace))
    for part in parts:
        client.enqueue(
            {
                "workflow_name": PART_WORKFLOW,
                "queue_name": QUEUE,
                "workflow_id": part_workflow(workflow_id, part),
                "app_version": APPLICATION_VERSION,
                "priority": _PRIORITY[kind],
            },
            job_id,
            workflow_id,
            part,
        )


def part_workflow(workflow_id: str, part: str) -> str:
    """Return the id of the workflow that does a part of a job."""
    return f"{workflow_id}/{part}"


def part_result(settings: Settings, workflow_id: str) -> dict[str, Any]:
    """Return what a part that has ended gave back (`core.workflows.run_part`)."""
    result: dict[str, Any] = (
        _client(settings.jobs_url, str(settings.workspace)).retrieve_workflow(workflow_id).get_result()
    )
    return result


def workflow_states(settings: Settings, workflow_ids: list[str]) -> dict[str, str]:
    """Return DBOS's status of each workflow that it knows."""
    client = _client(settings.jobs_url, str(settings.workspace))
    found = client.list_workflows(workflow_ids=workflow_ids, load_input=False, load_output=False)
    return {state.workflow_id: state.status for state in found}


def forget_workflows(settings: Settings, job_ids: list[str]) -> None:
    """Delete what DBOS knows of jobs that have ended: their steps' results and errors."""
    if not job_ids:
        return
    client = _client(settings.jobs_url, str(settings.workspace))
    # A resumed job has had several workflows, all named after it.
    found = client.list_workflows(workflow_id_prefix=job_ids, load_input=False, load_output=False)
    client.delete_workflows([state.workflow_id for state in found])


def migrate_engine(settings: Settings) -> None:
    """Create or update DBOS's own tables; a client must find them before it can enqueue."""
    from dbos import DBOS

    with FileLock(settings.workspace / "migrate.lock", timeout=120):
        if make_url(settings.jobs_url).get_backend_name() == "sqlite":
            database.use_wal(settings.jobs_url)
        DBOS.migrate(settings.jobs_url)


@lru_cache(maxsize=4)
def _client(jobs_url: str, workspace: str) -> "DBOSClient":
    from dbos import DBOSClient

    migrate_engine(Settings(jobs_url=jobs_url, workspace=Path(workspace)))
    return DBOSClient(system_database_url=jobs_url, application_name=APPLICATION)


def _same_work(work_key: str) -> Select[JobRow]:
    return select(JobRow).where(JobRow.work_key == work_key)


def _job(session: Session, job_id: str) -> JobRow:
    row = session.get(JobRow, job_id)
    if row is None:
        raise UserError(N_("There is no job {job_id}."), job_id=job_id[:80])
    return row


def path_state(path: str) -> str:
    """Return what tells a file, or a folder's files, from others of the same name; "" for what is neither.

    Reading everything to be sure is the worker's business; names, sizes and times say that it was touched.
    """
    root = Path(path).expanduser()
    if not path or not root.exists():
        return ""
    files = sorted(file for file in root.iterdir() if file.is_file()) if root.is_dir() else [root]
    stats = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    return hashlib.sha256(json.dumps(stats).encode()).hexdigest()
