"""A workspace with a small real dataset, for the tests of storage and jobs."""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from core.datasets import Dataset, FieldMapping
from core.rows import RejectedRow, Row, Turn
from core.settings import Settings
from core.store import Store

TEXT = "the sea is blue and wind blows over green grass while snow falls on bread eggs fruit week day"
WORDS = TEXT.split()


def tiny_rows(n: int, words: int = 12) -> list[Row]:
    """Rows whose answers have 1 to `words` words."""
    rows = []
    for i in range(n):
        answer = " ".join(WORDS[(i * 7 + k * 3) % len(WORDS)] for k in range(1 + i % words))
        turns = (Turn("user", f"Question {i}: what is {WORDS[i % len(WORDS)]}?"), Turn("assistant", answer))
        rows.append(Row(i, turns, category=f"kind {i % 3}", supplier="ABC"[i % 3]))
    return rows


def tiny_dataset(n: int = 40, name: str = "tiny", fingerprint: str = "00112233aabbccdd", words: int = 12) -> Dataset:
    rejected = [RejectedRow(n, n + 1, "Answer is empty", "", '{"question": "…"}')]
    mapping = FieldMapping(format="qa", columns={"prompt": "question", "answer": "answer"})
    return Dataset(name, tiny_rows(n, words), rejected, mapping, fingerprint, "jsonl")


def workspace(tmp_path: Path) -> Settings:
    folder = tmp_path / "workspace"
    return Settings(
        workspace=folder,
        database_url=f"sqlite:///{folder}/assay.db",
        jobs_url=f"sqlite:///{folder}/jobs.db",
        # The folder of all tests of this run.
        import_roots=[tmp_path.parent],
    )


def imported(settings: Settings, dataset: Dataset) -> str:
    record, _ = Store(settings).import_dataset(dataset, None, "local")
    return record.fingerprint


def start_worker(settings: Settings, parent_pid: int | None = None) -> subprocess.Popen[bytes]:
    """Start a worker process of the test's own."""
    code = (
        "from core.settings import Settings\nfrom core.worker import run\n"
        f"run(Settings(**{settings.model_dump(mode='json')!r}), {parent_pid})"
    )
    log = (settings.workspace / "test-worker.log").open("ab")
    return subprocess.Popen([sys.executable, "-c", code], stdout=log, stderr=log)


@contextmanager
def postgres() -> Iterator[str]:
    """Run a PostgreSQL server of the test's own and yield its URL, with a place for the database: assay or jobs."""
    # Not below pytest's own folder, which only its owner may enter: the server refuses to run as root.
    folder = Path(tempfile.mkdtemp(prefix="assay-pg-"))
    folder.chmod(0o777)
    as_other = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []

    def run(*command: str) -> None:
        subprocess.run([*as_other, *command], cwd=folder, check=True, stdout=subprocess.DEVNULL, timeout=120)

    data, log = str(folder / "data"), str(folder / "log")
    try:
        run("initdb", "-D", data, "-U", "assay", "--auth=trust", "-E", "UTF8")
        options = f"-c listen_addresses='' -k {folder} -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", log, "-o", options, "start")
        try:
            run("createdb", "-h", str(folder), "-U", "assay", "assay")
            run("createdb", "-h", str(folder), "-U", "assay", "jobs")
            yield f"postgresql://assay@/{{}}?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_until(condition: Callable[[], bool], seconds: float = 60, every: float = 0.05) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(every)
