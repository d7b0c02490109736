"""Which worker processes live: rows that they keep fresh, judged by everybody else."""

import json
import os
import socket
import uuid
from pathlib import Path

import psutil  # type: ignore[import-untyped]
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from core import database
from core.tables import JobRow, WorkerRow, utc_now

BEAT_SECONDS = 2.0
# A worker on another machine is dead when its heartbeat is this old.
DEAD_SECONDS = 10.0
# On this machine the process table knows better: a busy machine may delay the heartbeat of a live worker,
# and only one that has been silent for this long is taken for stuck.
STUCK_SECONDS = 60.0


def this_host() -> str:
    """Return a name for the set of processes whose pids we can look up (a container has its own)."""
    namespace = Path("/proc/self/ns/pid")
    return f"{socket.gethostname()} {os.readlink(namespace) if namespace.exists() else ''}".strip()


def process_started(pid: int) -> float | None:
    """Return when a process started, or None if it has ended (a zombie has)."""
    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else process.create_time()
    except psutil.NoSuchProcess:
        return None


def process_lives(pid: int, started: float) -> bool:
    """Tell whether this very process (not a later one with its number) is running."""
    now_started = process_started(pid)
    # Start times are counted from boot; setting the clock shifts them a little.
    return now_started is not None and abs(now_started - started) < 5.0


def is_alive(session: Session, worker: WorkerRow | None) -> bool:
    """Tell whether a worker may still be at work."""
    if worker is None or worker.ended_at is not None:
        return False
    silent = database.database_time(session) - worker.heartbeat
    if worker.host == this_host():
        return process_lives(worker.pid, worker.process_started) and silent < STUCK_SECONDS
    return silent < DEAD_SECONDS


def register(url: str, pid: int, parent_pid: int | None) -> str:
    """Enter a worker process and return its id; the process and whoever started it get the same one.

    Parameters
    ----------
    url : str
        Database URL.
    pid : int
        The worker process.
    parent_pid : int or None
        The process whose end ends it when idle.
    """
    host = this_host()
    started = process_started(pid)
    if started is None:
        raise ProcessLookupError(f"process {pid} has ended")
    worker_id = str(uuid.uuid5(uuid.NAMESPACE_OID, f"{host}|{pid}|{started}"))
    parents = _with_parent("[]", parent_pid)
    with database.writing(url) as session:
        row = session.get(WorkerRow, worker_id)
        if row is None:
            beat = database.database_time(session)
            session.add(
                WorkerRow(
                    worker_id=worker_id,
                    host=host,
                    pid=pid,
                    process_started=started,
                    parents=parents,
                    heartbeat=beat,
                    started_at=utc_now(),
                )
            )
    return worker_id


def beat(url: str, worker_id: str) -> bool:
    """Refresh a heartbeat; False means that others have declared this worker dead and taken its jobs."""
    with database.writing(url) as session:
        fresh = update(WorkerRow).where(WorkerRow.worker_id == worker_id, WorkerRow.ended_at.is_(None))
        result = session.connection().execute(fresh.values(heartbeat=database.database_time(session)))
        return result.rowcount == 1


def live_workers(url: str) -> list[WorkerRow]:
    """Return the workers that live."""
    with database.reading(url) as session:
        rows = session.scalars(select(WorkerRow).where(WorkerRow.ended_at.is_(None))).all()
        return [row for row in rows if is_alive(session, row)]


def bury_dead(url: str, own_id: str) -> list[str]:
    """Mark dead workers other than this one as ended and return their ids.

    A worker that finds this mark on itself stops at once, so whoever reads the mark may take its jobs.
    """
    with database.writing(url) as session:
        rows = session.scalars(select(WorkerRow).where(WorkerRow.ended_at.is_(None)).with_for_update()).all()
        dead = [row for row in rows if row.worker_id != own_id and not is_alive(session, row)]
        for row in dead:
            row.ended_at = utc_now()
        return [row.worker_id for row in dead]


def end(url: str, worker_id: str) -> None:
    """Mark a worker as ended by itself."""
    with database.writing(url) as session:
        session.execute(update(WorkerRow).where(WorkerRow.worker_id == worker_id).values(ended_at=utc_now()))


def adopt(url: str, worker_id: str, parent_pid: int) -> bool:
    """Add a process to those that keep a worker alive; False if the worker ended meanwhile."""
    with database.writing(url) as session:
        row = session.get(WorkerRow, worker_id, with_for_update=True)
        if row is None or row.ended_at is not None:
            return False
        # No parents means: it was started by hand and outlives every app.
        if row.parents != "[]" and row.host == this_host():
            row.parents = _with_parent(row.parents, parent_pid)
        return True


def end_if_orphaned(url: str, worker_id: str) -> bool:
    """Mark a worker as ended if it had parents and all are gone; tell whether it was."""
    with database.writing(url) as session:
        row = session.get(WorkerRow, worker_id, with_for_update=True)
        if row is None or row.ended_at is not None:
            return False
        parents = json.loads(row.parents)
        if not parents or any(process_lives(pid, started) for pid, started in parents):
            return False
        row.ended_at = utc_now()
        return True


def shown_status(session: Session, job: JobRow) -> str:
    """Return a job's status as people should see it: running without a live worker is interrupted."""
    if job.status != "running":
        return job.status
    worker = session.get(WorkerRow, job.worker_id) if job.worker_id else None
    return "running" if is_alive(session, worker) else "interrupted"


def _with_parent(parents: str, pid: int | None) -> str:
    known = json.loads(parents)
    started = process_started(pid) if pid is not None else None
    if pid is None or any(pid == other for other, _ in known):
        return parents
    # A parent that is gone already still counts as one: the worker must not outlive it for ever.
    return json.dumps([*known, [pid, started if started is not None else 0.0]])
