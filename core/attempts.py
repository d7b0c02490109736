"""One worker's go at one job: taking it, saying how far it is, writing down how it ended."""

import hashlib
import logging
import threading
import time
import traceback
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import update
from sqlalchemy.orm import Session

from core import audit, database
from core.errors import UserError
from core.i18n import N_
from core.jobs import ACTIVE, enqueue_parts, part_result, part_workflow, path_state, workflow_states
from core.progress import Cancelled, Progress
from core.settings import Settings
from core.store import Store
from core.tables import JobRow, utc_now

if TYPE_CHECKING:
    from core.models import LoadedModel

log = logging.getLogger(__name__)

# How often progress is written and a cancel request looked up.
REPORT_SECONDS = 0.5
PART_POLL_SECONDS = 0.5
# A job that ends its worker this often without finishing one more step would do so for ever.
FRUITLESS_ATTEMPTS = 5


@dataclass
class Worker:
    """This process's identity and what it has in hand."""

    settings: Settings
    store: Store
    worker_id: str
    stopping: threading.Event
    running: int = 0
    parked: int = 0
    # The last model used, under its name and state: loading one takes longer than many a job.
    model: "tuple[tuple[str, str], LoadedModel] | None" = None


@dataclass
class Attempt:
    """One worker's go at one job."""

    worker: Worker
    job_id: str
    workflow_id: str
    kind: str
    dataset: str
    actor: str
    spec: dict[str, Any]
    stage: str = ""
    reported_at: float = 0.0
    fruitful: bool = False
    # Whether this is a part of a job that another worker may be in charge of.
    shared: bool = False

    def report(self, progress: Progress, part: int = 0, parts: int = 0) -> None:
        """Write progress down, at most twice a second; raise Cancelled when somebody asked for it.

        Parameters
        ----------
        progress : Progress
        part, parts : int
            Which fine-tune of how many this is, where a job has several.
        """
        if self.worker.stopping.is_set():
            _park(self.worker)
        new_stage = progress.stage != self.stage
        finished = progress.done >= progress.total
        if not (new_stage or finished) and time.monotonic() - self.reported_at < REPORT_SECONDS:
            return
        values: dict[str, Any] = {
            "stage": progress.stage,
            "done": progress.done,
            "total": progress.total,
            "tokens_done": progress.tokens_done,
            "tokens_total": progress.tokens_total,
            "part": part,
            "parts": parts,
        }
        if new_stage:
            values["stage_started_at"] = utc_now()
            values["stage_first_done"] = progress.done
            values["stage_first_tokens"] = progress.tokens_done
        self._write(values)
        self.stage = progress.stage
        self.reported_at = time.monotonic()

    def load_model(self, model: str) -> "LoadedModel":
        """Return a model, the one in memory if it is the same."""
        from core.models import load

        key = (model, path_state(model))
        if self.worker.model is None or self.worker.model[0] != key:
            self.worker.model = None  # two may not fit into memory
            self.worker.model = (key, load(model, self.worker.settings))
        return self.worker.model[1]

    def stage_begins(self, stage: str) -> None:
        """Name a stage that cannot say how far it is."""
        self.report(Progress(stage, 0, 0))

    def step_finished(self) -> None:
        """Note that this attempt got somewhere."""
        if not self.fruitful:
            self._write({"fruitless_attempts": 0})
            self.fruitful = True

    def in_parts(self, parts: list[str]) -> list[Any]:
        """Queue parts of this job for whichever workers are free, and wait for their results, in order.

        Raises
        ------
        Cancelled
            When the job was cancelled.
        UserError
            When a part failed; the others are waited for first.
        """
        enqueue_parts(self.worker.settings, self.workflow_id, self.job_id, self.kind, parts)
        waiting = {part: part_workflow(self.workflow_id, part) for part in parts}
        while states := workflow_states(self.worker.settings, list(waiting.values())):
            if all(state not in ("PENDING", "ENQUEUED", "DELAYED") for state in states.values()):
                break
            if self.worker.stopping.wait(PART_POLL_SECONDS):
                _park(self.worker)
        ended = [part_result(self.worker.settings, waiting[part]) for part in parts]
        for end in ended:
            if end["status"] == "failed":
                raise UserError(end["template"], **end["params"])
        if any(end["status"] == "cancelled" for end in ended):
            raise Cancelled
        return [end["result"] for end in ended]

    def finish(self, status: str, result: dict[str, Any] | None = None, error: UserError | None = None) -> None:
        """Write the end down, unless the job was given to somebody else meanwhile."""
        values: dict[str, Any] = {"status": status, "ended_at": utc_now(), "updated_at": utc_now()}
        values |= {"result": result, "cancel_requested": False}
        if error is not None:
            values |= {"error_template": error.template, "error_params": json_params(error.params)}
        with database.writing(self.worker.store.url) as session:
            mine = still_mine(self.job_id, self.workflow_id, self.worker.worker_id).values(**values)
            if session.scalar(mine.returning(JobRow.job_id)) and self.kind == "probe":
                self._log_probe(session, status)
        log.info("job %s (%s) %s", self.job_id, self.kind, status)

    def _log_probe(self, session: Session, status: str) -> None:
        path = self.worker.store.probe_path(self.job_id)
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if status == "done" else None
        audit.append(
            session,
            actor=self.actor,
            action=audit.PROBE,
            subject=audit.part_subject(self.dataset, "probe", self.job_id),
            before={"status": "running"},
            after={"status": status, "result_sha256": digest},
        )

    def _write(self, values: dict[str, Any]) -> None:
        owner = None if self.shared else self.worker.worker_id
        statement = still_mine(self.job_id, self.workflow_id, owner)
        with database.writing(self.worker.store.url) as session:
            cancel = session.scalar(statement.values(updated_at=utc_now(), **values).returning(JobRow.cancel_requested))
        # None: the job was cancelled or given to another worker while this one was out of touch.
        if cancel is None or cancel:
            raise Cancelled


def still_mine(job_id: str, workflow_id: str, worker_id: str | None = None) -> Any:
    """Return an UPDATE of a job that does nothing once the job has ended or was given to somebody else."""
    statement = update(JobRow).where(JobRow.job_id == job_id, JobRow.workflow_id == workflow_id)
    statement = statement.where(JobRow.status.in_(ACTIVE))
    return statement.where(JobRow.worker_id == worker_id) if worker_id else statement


def claim(worker: Worker, job_id: str, workflow_id: str) -> Attempt | None:
    """Take a job, or return None if it was cancelled in the queue or goes on under another workflow."""
    with database.writing(worker.store.url) as session:
        row = session.get(JobRow, job_id, with_for_update=True)
        if row is None or row.workflow_id != workflow_id or row.status not in ACTIVE:
            return None
        now = utc_now()
        row.updated_at = now
        if row.cancel_requested:
            row.status, row.ended_at, row.cancel_requested = "cancelled", now, False
            return None
        if row.fruitless_attempts >= FRUITLESS_ATTEMPTS:
            row.status, row.ended_at = "failed", now
            row.error_template = N_(
                "The worker ended {count} times in a row at the same place of this job. "
                "The machine may be short of memory; details are in worker.log."
            )
            row.error_params = {"count": row.fruitless_attempts}
            return None
        row.status, row.worker_id = "running", worker.worker_id
        row.attempts += 1
        row.fruitless_attempts += 1
        row.started_at = row.started_at or now
        row.stage_started_at = now
        attempt = Attempt(worker, job_id, workflow_id, row.kind, row.dataset, row.actor, dict(row.spec))
    log.info("job %s (%s) starts, attempt %d", job_id, attempt.kind, row.attempts)
    return attempt


def join(worker: Worker, job_id: str, workflow_id: str) -> Attempt | None:
    """Take part in a job that is under way under this workflow; None if it has ended or is to be cancelled."""
    with database.reading(worker.store.url) as session:
        row = session.get(JobRow, job_id)
        if row is None or row.workflow_id != workflow_id or row.status not in ACTIVE or row.cancel_requested:
            return None
        return Attempt(worker, job_id, workflow_id, row.kind, row.dataset, row.actor, dict(row.spec), shared=True)


def _park(worker: Worker) -> None:
    # The process is about to end. Unwinding would record this step as failed; standing still leaves it
    # unfinished, which is the truth, and the next worker does it again.
    worker.parked += 1
    threading.Event().wait()


def technical_error(worker: Worker, job_id: str, error: Exception) -> UserError:
    """Write the traceback to the job's log file and return one line that points there."""
    path = worker.settings.workspace / "logs" / f"{job_id}.log"
    path.parent.mkdir(exist_ok=True)
    with path.open("a", encoding="utf-8") as file:
        file.write(f"{utc_now().isoformat()}\n{''.join(traceback.format_exception(error))}\n")
    log.error("job %s failed: %r, see %s", job_id, error, path)
    lines = str(error).strip().splitlines()
    return UserError(
        N_("The job stopped with a technical error: {error}. The full report is in {log}."),
        error=f"{type(error).__name__}: {lines[0][:300] if lines else ''}",
        log=str(path),
    )


def json_params(params: dict[str, Any]) -> dict[str, Any]:
    """Return an error's values as JSON has them."""
    plain = (str, int, float, bool, type(None))
    return {name: value if isinstance(value, plain) else str(value) for name, value in params.items()}
