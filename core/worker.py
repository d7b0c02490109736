"""The worker process: takes jobs until it is told to stop."""

import faulthandler
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import FrameType

from filelock import FileLock

import core
from core import heartbeats
from core.deletion import sweep
from core.settings import Settings
from core.store import Store

log = logging.getLogger(__name__)

RECLAIM_SECONDS = 2.0
SWEEP_SECONDS = 900.0
# How long a stopping worker waits for its job to reach a place where it can be left.
STOP_SECONDS = 5.0
LOG_BYTES = 10_000_000

# Popen objects of workers started here: whoever drops one can no longer tell that its process has ended.
_started: list[subprocess.Popen[bytes]] = []


def run(settings: Settings, parent_pid: int | None = None) -> None:
    """Work until SIGTERM or, with a parent, until every parent is gone and nothing is left to do.

    A running job is left where it is on SIGTERM (another worker goes on from its last finished chunk) and
    finished first when the parent goes away.

    Parameters
    ----------
    settings : Settings
        Workspace and databases.
    parent_pid : int or None
        The app server that wants this worker.
    """
    faulthandler.enable()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s: %(message)s")
    # Alembic greets every start; nobody needs to read that.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    signals: list[int] = []

    def stop(number: int, frame: FrameType | None) -> None:
        # Nothing more: a handler that takes a lock, as Event.set does, may wait for the code it interrupted.
        signals.append(number)

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)

    store = Store(settings)
    worker_id = heartbeats.register(settings.database_url, os.getpid(), parent_pid)
    log.info("worker %s (pid %d) starts in %s", worker_id, os.getpid(), settings.workspace)
    heart = _Heart(settings, worker_id)
    heart.start()

    from core import workflows

    stopping = threading.Event()
    worker = workflows.launch(settings, worker_id, stopping)
    next_look = next_sweep = 0.0
    while not signals:
        time.sleep(0.2)
        if time.monotonic() < next_look:
            continue
        next_look = time.monotonic() + RECLAIM_SECONDS
        try:
            workflows.reclaim(worker)
            if time.monotonic() >= next_sweep:
                next_sweep = time.monotonic() + SWEEP_SECONDS
                for fingerprint in sweep(store):
                    log.info("dataset %s deleted: its retention period is over", fingerprint)
            if not workflows.work_left(settings) and heart.stop_if_orphaned():
                log.info("the app is gone and nothing is left to do")
                break
        except Exception:
            # A database that is away for a moment is no reason to drop a running job; the next round retries.
            log.exception("could not look after the queue")

    stopping.set()
    give_up = time.monotonic() + STOP_SECONDS
    while worker.running > worker.parked and time.monotonic() < give_up:
        time.sleep(0.1)
    heart.stop()
    log.info("worker %s ends", worker_id)
    if worker.running:
        # Threads of unfinished jobs would keep the process alive; they must not come to an end of their own.
        logging.shutdown()
        os._exit(0)
    workflows.shut_down()


def ensure_worker(settings: Settings) -> bool:
    """Start a worker process unless one lives; callers at the same time start one between them.

    Returns
    -------
    bool
        Whether this call started one. It ends by itself some time after this process has ended.
    """
    Store(settings)
    with FileLock(settings.workspace / "worker.lock", timeout=120):
        for worker in heartbeats.live_workers(settings.database_url):
            if heartbeats.adopt(settings.database_url, worker.worker_id, os.getpid()):
                return False
        log_path = settings.workspace / "worker.log"
        if log_path.exists() and log_path.stat().st_size > LOG_BYTES:
            log_path.replace(settings.workspace / "worker.old.log")
        with log_path.open("ab") as log_file:
            process = subprocess.Popen(
                [sys.executable, "-m", "core", "worker", "--parent-pid", str(os.getpid())],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                env=_environment(settings),
                # Ctrl-C in the app's terminal is for the app.
                start_new_session=True,
            )
        _started.append(process)
        try:
            # Entered before the lock is given back: the next caller must see it while it is still importing.
            heartbeats.register(settings.database_url, process.pid, os.getpid())
        except ProcessLookupError:
            log.warning("the worker ended at once, see %s", log_path)
    return True


def worker_alive(settings: Settings) -> bool:
    """Tell whether any worker lives."""
    return bool(heartbeats.live_workers(settings.database_url))


class _Heart(threading.Thread):
    """Keeps this worker's entry fresh; once another worker has taken it for dead, the process ends at once."""

    def __init__(self, settings: Settings, worker_id: str) -> None:
        super().__init__(name="heartbeat", daemon=True)
        self.url = settings.database_url
        self.worker_id = worker_id
        self.lock = threading.Lock()
        self.stopped = threading.Event()

    def run(self) -> None:
        while not self.stopped.wait(heartbeats.BEAT_SECONDS):
            with self.lock:
                if self.stopped.is_set():
                    return
                try:
                    alive = heartbeats.beat(self.url, self.worker_id)
                except Exception:
                    log.exception("the heartbeat could not be written")
                    continue
            if not alive:
                log.error("taken for dead by another worker, which has the jobs now; stopping")
                logging.shutdown()
                os._exit(1)

    def stop(self) -> None:
        with self.lock:
            self.stopped.set()
            heartbeats.end(self.url, self.worker_id)

    def stop_if_orphaned(self) -> bool:
        with self.lock:
            if heartbeats.end_if_orphaned(self.url, self.worker_id):
                self.stopped.set()
        return self.stopped.is_set()


def _environment(settings: Settings) -> dict[str, str]:
    values = settings.model_dump(mode="json")
    values["import_roots"] = os.pathsep.join(values["import_roots"])
    root = str(Path(core.__file__).parent.parent)
    path = os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)
    return os.environ | {f"ASSAY_{name.upper()}": str(value) for name, value in values.items()} | {"PYTHONPATH": path}
