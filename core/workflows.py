"""What the worker does: each job is a durable DBOS workflow made of steps that are finished once.

A step's result that matters is a file under a content address; DBOS remembers which steps are behind it.
A worker that is killed loses the chunk it was in, no more: whoever takes the job over replays the finished
steps from DBOS's records and finds every finished chunk on disk.
"""

import logging
import threading
from typing import Any

from dbos import DBOS, DBOSConfig
from sqlalchemy import select, update

from core import database, heartbeats, jobs
from core.attempts import Worker, claim, join, json_params, still_mine, technical_error
from core.errors import UserError
from core.i18n import N_
from core.probe_job import estimate_probe, part_of_probe, probe
from core.progress import Cancelled
from core.score_job import estimate, score
from core.settings import Settings
from core.store import Store
from core.tables import JobRow, WorkerRow, utc_now

log = logging.getLogger(__name__)

_BODIES = {"score": score, "estimate": estimate, "probe": probe, "probe_estimate": estimate_probe}
# Jobs whose parts several workers share.
_PARTS = {"probe": part_of_probe}

_worker: Worker | None = None


def launch(settings: Settings, worker_id: str, stopping: threading.Event) -> Worker:
    """Start taking jobs from the queue in background threads.

    Parameters
    ----------
    settings : Settings
        Workspace and databases.
    worker_id : str
        This worker's id, also for DBOS: under its default, workers would restart each other's live jobs.
    stopping : threading.Event
        Once set, running jobs stop where they are and wait for the process to end.
    """
    global _worker
    _worker = Worker(settings, Store(settings), worker_id, stopping)
    jobs.migrate_engine(settings)
    config: DBOSConfig = {
        "name": jobs.APPLICATION,
        "system_database_url": settings.jobs_url,
        "application_version": jobs.APPLICATION_VERSION,
        "executor_id": worker_id,
        "log_level": "WARNING",
        "run_migrations": False,
    }
    DBOS(config=config)
    DBOS.workflow(name=jobs.WORKFLOW)(run_job)
    DBOS.workflow(name=jobs.PART_WORKFLOW)(run_part)
    DBOS.launch()
    # One model at a time: two would share the cores and the memory.
    DBOS.register_queue(jobs.QUEUE, worker_concurrency=1, polling_interval_sec=0.5)
    # A job in parts only waits for them: it must not take the place that they need.
    DBOS.register_queue(jobs.WAITING_QUEUE, worker_concurrency=1, polling_interval_sec=0.5)
    return _worker


def shut_down() -> None:
    """Stop taking jobs."""
    DBOS.destroy()


def reclaim(worker: Worker) -> None:
    """Queue again what dead workers left, and mend jobs that DBOS and our tables disagree about."""
    settings = worker.settings
    heartbeats.bury_dead(settings.database_url, worker.worker_id)
    pending = DBOS.list_workflows(status="PENDING", load_input=False, load_output=False)
    owners = {state.executor_id for state in pending if state.executor_id}
    with database.reading(settings.database_url) as session:
        # A live worker entered its row before it took a job; no row is as dead as an ended one.
        query = select(WorkerRow).where(WorkerRow.worker_id.in_(owners))
        known = {worker.worker_id: worker for worker in session.scalars(query)}
        dead = [o for o in owners if o not in known or known[o].ended_at is not None]
        # Young jobs may be on their way from our table to DBOS.
        active = select(JobRow).where(JobRow.status.in_(jobs.ACTIVE))
        rows = [r for r in session.scalars(active) if (utc_now() - r.updated_at).total_seconds() > 5]
    if dead:
        log.info("taking over the jobs of dead workers %s", dead)
        DBOS._recover_pending_workflows(dead)
        with database.writing(settings.database_url) as session:
            left = update(JobRow).where(JobRow.status == "running", JobRow.worker_id.in_(dead))
            session.execute(left.values(status="queued", worker_id=None))
    states = jobs.workflow_states(settings, [row.workflow_id for row in rows]) if rows else {}
    for row in rows:
        state = states.get(row.workflow_id)
        if state is None:
            log.warning("job %s never reached the queue; queueing it", row.job_id)
            jobs.enqueue(settings, row)
        elif state not in ("PENDING", "ENQUEUED", "DELAYED"):
            with database.writing(settings.database_url) as session:
                session.execute(
                    still_mine(row.job_id, row.workflow_id).values(
                        status="failed",
                        ended_at=utc_now(),
                        error_template=N_("The job engine gave this job up ({state}); resume it."),
                        error_params={"state": state},
                    )
                )


def work_left(settings: Settings) -> bool:
    """Tell whether any job is queued or running."""
    with database.reading(settings.database_url) as session:
        return session.scalar(select(JobRow.job_id).where(JobRow.status.in_(jobs.ACTIVE)).limit(1)) is not None


def run_job(job_id: str) -> None:
    """Run one job from its first unfinished step to its end, and write down how it ended."""
    worker = _this_worker()
    attempt = claim(worker, job_id, str(DBOS.workflow_id))
    if attempt is None:
        return
    worker.running += 1
    try:
        result = _BODIES[attempt.kind](attempt)
    except Cancelled:
        attempt.finish("cancelled")
    except UserError as error:
        attempt.finish("failed", error=error)
    except Exception as error:
        attempt.finish("failed", error=technical_error(worker, job_id, error))
    else:
        attempt.finish("done", result=result)
    finally:
        worker.running -= 1


def run_part(job_id: str, workflow_id: str, part: str) -> dict[str, Any]:
    """Run one part of a job, whichever worker is in charge of it; return how it ended.

    Returns
    -------
    dict
        ``status`` done (with ``result``), cancelled, or failed (with ``template`` and ``params`` of the error).
    """
    worker = _this_worker()
    attempt = join(worker, job_id, workflow_id)
    if attempt is None:
        return {"status": "cancelled"}
    log.info("job %s: part=%s worker=%s", job_id, part, worker.worker_id)
    worker.running += 1
    try:
        return {"status": "done", "result": DBOS.run_step({"name": part}, _PARTS[attempt.kind], attempt, part)}
    except Cancelled:
        return {"status": "cancelled"}
    except UserError as error:
        return {"status": "failed", "template": error.template, "params": json_params(error.params)}
    except Exception as error:
        shown = technical_error(worker, job_id, error)
        return {"status": "failed", "template": shown.template, "params": json_params(shown.params)}
    finally:
        worker.running -= 1


def _this_worker() -> Worker:
    if _worker is None:
        raise RuntimeError("core.workflows.launch has not been called in this process")
    return _worker
