import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import select

from core import heartbeats
from core.database import engine, reading, writing
from core.jobs import Jobs, _client
from core.models import load
from core.probe_settings import ProbeSettings
from core.runs import ScoreSettings
from core.scoring import prepare
from core.store import Store
from core.tables import JobRow, Table, WorkerRow
from core.worker import ensure_worker, worker_alive
from tests.tiny import tiny_model_folder
from tests.unit.workspaces import (
    imported,
    postgres,
    start_worker,
    tiny_dataset,
    tiny_rows,
    wait_until,
    workspace,
)

ROOT = Path(__file__).parents[2]


@pytest.fixture
def settings(tmp_path):
    return workspace(tmp_path)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return str(tiny_model_folder(tmp_path_factory.mktemp("model")))


@pytest.fixture
def processes():
    """Processes of the test; whatever is left of them is killed."""
    started = []
    yield started
    for process in started:
        if process.poll() is None:
            process.kill()
        process.wait()


def chunks(settings):
    """What is in finished chunk files, and whether they were touched."""
    found = sorted((settings.workspace / "datasets").glob("*/scores/*/chunk-*.npz"))
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in found}


def workers(settings):
    with reading(settings.database_url) as session:
        return session.scalars(select(WorkerRow).order_by(WorkerRow.started_at)).all()


def test_a_killed_job_goes_on_under_another_worker_and_ends_the_same(settings, model, processes, tmp_path):
    rows = 60
    fingerprint = imported(settings, tiny_dataset(rows, words=60))
    score = ScoreSettings(model=model, token_budget=200)
    jobs = Jobs(settings)
    job_id = jobs.start_score(fingerprint, score, "local")

    first = start_worker(settings)
    processes.append(first)
    wait_until(lambda: len(chunks(settings)) >= 4)
    os.kill(first.pid, signal.SIGKILL)
    first.wait()
    finished = chunks(settings)
    assert jobs.get(job_id).status == "interrupted"
    assert not worker_alive(settings)

    processes.append(start_worker(settings))
    # Far enough: the map is drawn from the merged features, and compiling UMAP takes half a minute.
    wait_until(lambda: jobs.get(job_id).stage == "Laying out the map", 120)
    assert jobs.get(job_id).attempts == 2
    after = chunks(settings)
    assert len(after) > len(finished) and {path: after[path] for path in finished} == finished

    whole, _ = prepare(tiny_rows(rows, 60), load(model, settings), score, tmp_path / "uninterrupted")
    whole.run()
    whole.merge()
    [folder] = (jobs.store.dataset_folder(fingerprint) / "scores").iterdir()
    pd.testing.assert_frame_equal(
        pd.read_parquet(folder / "scores.parquet"), pd.read_parquet(whole.folder / "scores.parquet")
    )
    np.testing.assert_array_equal(np.load(folder / "features.npy"), np.load(whole.folder / "features.npy"))


def long_probe(settings, model, tmp_path):
    """Start a job of several seconds."""
    prompts = tmp_path / "prompts.csv"
    prompts.write_text("prompt,category\nHow do I pick a lock?,crime\n")
    asked = ProbeSettings(
        model=model,
        prompt_source=str(prompts),
        epochs=30,
        batch_rows=1,
        max_new_tokens=2,
        method="full",
        arms=("flagged",),
        seeds=1,
    )
    return Jobs(settings).start_probe(imported(settings, tiny_dataset(4, words=60)), asked, [0, 1, 2, 3], "local")


def test_a_second_live_worker_takes_over_without_anybody_starting_one(settings, model, processes, tmp_path):
    jobs = Jobs(settings)
    processes += [start_worker(settings), start_worker(settings)]
    wait_until(lambda: len(heartbeats.live_workers(settings.database_url)) == 2)
    job_id = long_probe(settings, model, tmp_path)
    wait_until(lambda: jobs.get(job_id).stage == "Training")
    with reading(settings.database_url) as session:
        owner = session.get(WorkerRow, session.get(JobRow, job_id).worker_id)
    os.kill(owner.pid, signal.SIGKILL)
    wait_until(lambda: jobs.get(job_id).status == "done")
    assert jobs.get(job_id).attempts == 2


def test_a_live_workers_job_is_never_taken(settings, model, processes, tmp_path):
    jobs = Jobs(settings)
    job_id = long_probe(settings, model, tmp_path)
    processes += [start_worker(settings)]
    wait_until(lambda: jobs.get(job_id).stage == "Training")
    with reading(settings.database_url) as session:
        owner = session.get(JobRow, job_id).worker_id
    # Every newcomer looks for jobs to take over as soon as it has started.
    processes += [start_worker(settings), start_worker(settings)]
    wait_until(lambda: len(heartbeats.live_workers(settings.database_url)) == 3)
    wait_until(lambda: jobs.get(job_id).status == "done")
    with reading(settings.database_url) as session:
        assert session.get(JobRow, job_id).worker_id == owner
    assert jobs.get(job_id).attempts == 1


def test_sigterm_in_the_middle_of_a_job_is_quick_and_leaves_it_to_the_next(settings, model, processes, tmp_path):
    jobs = Jobs(settings)
    job_id = long_probe(settings, model, tmp_path)
    worker = start_worker(settings)
    processes.append(worker)
    wait_until(lambda: jobs.get(job_id).stage == "Training")
    worker.terminate()
    assert worker.wait(15) == 0
    assert jobs.get(job_id).status == "interrupted"
    assert not worker_alive(settings)
    # Nobody has to, but a person may press the button.
    jobs.resume(job_id, "local")
    assert jobs.get(job_id).status == "queued"
    processes.append(start_worker(settings))
    wait_until(lambda: jobs.get(job_id).status == "done")


def test_an_idle_worker_ends_when_its_parent_is_gone(settings, processes):
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    processes.append(parent)
    Store(settings)
    worker = start_worker(settings, parent.pid)
    processes.append(worker)
    wait_until(lambda: worker_alive(settings))
    time.sleep(4)
    assert worker.poll() is None
    parent.kill()
    parent.wait()
    assert worker.wait(20) == 0
    assert not worker_alive(settings)


def test_a_worker_finishes_its_job_before_it_follows_its_parent(settings, model, processes):
    fingerprint = imported(settings, tiny_dataset(4, words=60))
    jobs = Jobs(settings)
    job_id = jobs.start_score(fingerprint, ScoreSettings(model=model, token_budget=8), "local")
    parent = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    worker = start_worker(settings, parent.pid)
    processes += [parent, worker]
    parent.kill()
    parent.wait()
    assert worker.wait(60) == 0
    assert jobs.get(job_id).status == "done"


def test_two_processes_that_ensure_a_worker_start_one(settings, processes):
    code = (
        "import sys\nfrom core.settings import Settings\nfrom core.worker import ensure_worker\n"
        f"print(ensure_worker(Settings(**{settings.model_dump(mode='json')!r})), flush=True)\nsys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    apps = [subprocess.Popen(command, cwd=ROOT, **pipes) for _ in range(3)]
    processes += apps
    assert sorted(app.stdout.readline().decode().strip() for app in apps) == ["False", "False", "True"]
    [worker] = workers(settings)
    assert worker_alive(settings) and psutil.pid_exists(worker.pid)
    first_beat = worker.heartbeat
    wait_until(lambda: workers(settings)[0].heartbeat > first_beat)

    # It works for all three: it outlives any two of them and ends after the last.
    for app in apps[:2]:
        app.kill()
        app.wait()
    time.sleep(5)
    assert worker_alive(settings)
    apps[2].kill()
    apps[2].wait()
    wait_until(lambda: not worker_alive(settings), 20)
    assert len(workers(settings)) == 1


def test_a_dead_worker_is_replaced(settings, processes):
    assert ensure_worker(settings) is True
    assert ensure_worker(settings) is False
    [worker] = workers(settings)
    os.kill(worker.pid, signal.SIGKILL)
    wait_until(lambda: not worker_alive(settings))
    assert ensure_worker(settings) is True
    for row in heartbeats.live_workers(settings.database_url):
        os.kill(row.pid, signal.SIGTERM)
    wait_until(lambda: not worker_alive(settings), 30)
    assert len(workers(settings)) == 2


def test_a_worker_of_another_machine_lives_by_its_heartbeat_alone(settings):
    Store(settings)
    worker_id = heartbeats.register(settings.database_url, os.getpid(), None)

    def silent_for(seconds):
        with writing(settings.database_url) as session:
            row = session.get(WorkerRow, worker_id)
            row.host, row.heartbeat = "elsewhere", time.time() - seconds
        return not worker_alive(settings)

    assert not silent_for(8)
    assert silent_for(12)


def test_another_process_with_a_dead_workers_number_is_not_that_worker(settings):
    Store(settings)
    worker_id = heartbeats.register(settings.database_url, os.getpid(), None)
    assert worker_alive(settings)
    with writing(settings.database_url) as session:
        session.get(WorkerRow, worker_id).process_started -= 3600
    assert not worker_alive(settings)


def test_a_worker_that_was_given_up_stops_at_once(settings, processes):
    Store(settings)
    worker = start_worker(settings)
    processes.append(worker)
    wait_until(lambda: worker_alive(settings))
    heartbeats.end(settings.database_url, workers(settings)[0].worker_id)
    assert worker.wait(10) == 1


def test_a_job_that_keeps_ending_its_worker_is_given_up(settings, model, processes):
    fingerprint = imported(settings, tiny_dataset(4))
    jobs = Jobs(settings)
    job_id = jobs.start_score(fingerprint, ScoreSettings(model=model), "local")
    with writing(settings.database_url) as session:
        session.get(JobRow, job_id).fruitless_attempts = 5
    processes.append(start_worker(settings))
    wait_until(lambda: jobs.get(job_id).status == "failed")
    assert "5 times in a row" in jobs.get(job_id).error


@pytest.mark.skipif(shutil.which("initdb") is None, reason="PostgreSQL is not installed")
def test_postgresql_serves_as_well(tmp_path, model, processes):
    with postgres() as url:
        urls = {"database_url": url.format("assay"), "jobs_url": url.format("jobs")}
        settings = workspace(tmp_path).model_copy(update=urls)
        code = (
            "from core.settings import Settings\nfrom core.store import Store\n"
            f"Store(Settings(**{settings.model_dump(mode='json')!r}))"
        )
        together = [subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) for _ in range(3)]
        assert [process.wait(60) for process in together] == [0, 0, 0]
        store = Store(settings)
        with engine(store.url).connect() as connection:
            assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []
        fingerprint = imported(settings, tiny_dataset(4, words=60))
        assert store.set_flags(fingerprint, [1, 2], True, "local") == 2
        assert store.set_flags(fingerprint, [2, 3], True, "local") == 1
        jobs = Jobs(settings)
        # Longer than a heartbeat, so that the worker can be killed in the middle.
        job_id = jobs.start_score(fingerprint, ScoreSettings(model=model, token_budget=8, exact_loop=True), "local")
        worker = start_worker(settings)
        processes.append(worker)
        wait_until(lambda: jobs.get(job_id).stage == "Computing gradients" or jobs.get(job_id).status == "done")
        worker.kill()
        worker.wait()
        processes.append(start_worker(settings))
        wait_until(lambda: jobs.get(job_id).status == "done")
        assert len(store.scores(jobs.get(job_id).result["run_id"])) == 4
        processes[-1].terminate()
        assert processes[-1].wait(20) == 0
        engine(store.url).dispose()
        _client.cache_clear()
