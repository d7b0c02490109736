"""Deleting for good, retention, and what a deletion leaves behind: hashes."""

import json
import threading
from datetime import timedelta

import pytest
from sqlalchemy import select, text, update

from core import audit, database, deletion
from core.audit import LogFilter
from core.deletion import delete_dataset, deletion_time, set_retention, sweep
from core.errors import UserError
from core.jobs import Jobs, workflow_states
from core.probe_settings import ProbeSettings
from core.runs import ScoreSettings
from core.sample import install_sample
from core.store import Store
from core.tables import DatasetRow, JobRow, Table, utc_now
from tests.unit.workspaces import imported, postgres, tiny_dataset, workspace

FP, OTHER = "00112233aabbccdd", "ff" * 8
MARKER = "Wombat-4711"


@pytest.fixture
def store(tmp_path):
    return Store(workspace(tmp_path))


def marked(n=20, fingerprint=FP):
    """A dataset whose every text holds a word that is nowhere else."""
    from core.datasets import Dataset
    from core.rows import Row, Turn

    plain = tiny_dataset(n, name=f"{MARKER} file", fingerprint=fingerprint)
    rows = [
        Row(r.row_id, tuple(Turn(t.role, f"{MARKER} {t.content}") for t in r.turns), MARKER, MARKER) for r in plain.rows
    ]
    return Dataset(plain.name, rows, plain.rejected, plain.mapping, fingerprint, "jsonl")


def used(store, tmp_path, fingerprint=FP):
    """A dataset with everything that can be made of one; returns its probe and its prompt file."""
    source = tmp_path / "source.jsonl"
    source.write_text(f'{{"question": "{MARKER}"}}\n')
    store.import_dataset(marked(fingerprint=fingerprint), source, "local")
    store.set_flags(fingerprint, [1, 2, 3], True, "local", note=f"{MARKER} is odd")
    jobs = Jobs(store.settings)
    prompts = store.keep_prompts(b"prompt,category\nTell me,a\n", ".csv", "local")
    probe = jobs.start_probe(fingerprint, ProbeSettings(prompt_source=str(prompts)), [4, 5, 6], "local")
    score = jobs.start_score(fingerprint, ScoreSettings(), "local")
    for job in (probe, score):
        jobs.cancel(job, "local")
    store.save_probe_result(probe, {"answers": [MARKER]})
    before = store.probe_parts(fingerprint) / "before" / f"{'ab' * 8}.json"
    before.parent.mkdir(parents=True)
    before.write_text(MARKER)
    folder = store.dataset_folder(fingerprint) / "scores" / "x-y"
    folder.mkdir(parents=True)
    (folder / "scores.parquet").write_text(MARKER)
    about = {"model": "m", "model_name": "m", "settings": {"length_unit": "tokens"}, "n_rows": 20, "n_unscorable": 0}
    store.add_score_run(dataset=fingerprint, folder=folder, job_id=score, actor="local", **about)
    logs = store.settings.workspace / "logs"
    logs.mkdir(exist_ok=True)
    (logs / f"{probe}.log").write_text(MARKER)
    return probe, prompts


def holding(store, word=MARKER):
    """Every file of the workspace in which the word can be found, the database among them."""
    with database.engine(store.url).connect() as connection:
        connection.execute(text("PRAGMA wal_checkpoint(TRUNCATE)"))
    files = [path for path in store.settings.workspace.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if word.encode() in path.read_bytes())


def test_nothing_of_a_deleted_dataset_is_left_but_hashes_and_counts(store, tmp_path):
    probe, prompts = used(store, tmp_path)
    imported(store.settings, tiny_dataset(10, fingerprint=OTHER))
    store.set_flags(OTHER, [1], True, "local")
    assert "assay.db" in holding(store) and prompts.exists()
    assert workflow_states(store.settings, [probe]) != {}

    delete_dataset(store, FP, "local")

    assert holding(store) == []
    assert not store.dataset_folder(FP).exists() and not prompts.exists()
    assert not list(store.settings.workspace.rglob(f"{probe}*"))
    assert workflow_states(store.settings, [probe]) == {}
    with database.reading(store.url) as session:
        for table in Table.metadata.sorted_tables:
            if table.name != "audit_log":
                for row in session.execute(select(table)):
                    assert FP not in [str(value) for value in row], table.name
    entry = audit.read_log(store.url)[0]
    assert (entry.action, entry.actor, entry.subject) == ("delete", "local", FP)
    assert entry.before == {
        "rows": 20, "rejected": 1, "deleted": {"datasets": 1, "flags": 3, "jobs": 2, "probes": 1, "score_runs": 1},
    }  # fmt: skip
    assert audit.verify(store.url).ok
    # The other one is whole.
    assert store.flags(OTHER)["row_id"].tolist() == [1]
    assert len(store.rows(OTHER)) == 10


def test_a_prompt_file_that_another_dataset_uses_stays(store, tmp_path):
    _, prompts = used(store, tmp_path)
    imported(store.settings, tiny_dataset(10, fingerprint=OTHER))
    other = Jobs(store.settings).start_probe(OTHER, ProbeSettings(prompt_source=str(prompts)), [1, 2], "local")
    delete_dataset(store, FP, "local")
    assert prompts.exists()
    Jobs(store.settings).cancel(other, "local")
    delete_dataset(store, OTHER, "local")
    assert not prompts.exists()


def test_a_persons_own_prompt_file_elsewhere_stays(store, tmp_path):
    own = tmp_path / "own.csv"
    own.write_text("prompt,category\nTell me,a\n")
    imported(store.settings, tiny_dataset(10))
    jobs = Jobs(store.settings)
    jobs.cancel(jobs.start_probe(FP, ProbeSettings(prompt_source=str(own)), [1, 2], "local"), "local")
    delete_dataset(store, FP, "local")
    assert own.exists()


def test_prompts_are_read_from_allowed_folders_only(store, tmp_path):
    imported(store.settings, tiny_dataset(10))
    with pytest.raises(UserError, match="may not be read"):
        Jobs(store.settings).start_probe(FP, ProbeSettings(prompt_source="/etc/passwd.csv"), [1, 2], "local")


def test_a_deleted_dataset_can_be_imported_again_and_starts_afresh(store, tmp_path):
    used(store, tmp_path)
    delete_dataset(store, FP, "local")
    record, known = store.import_dataset(marked(), None, "local")
    assert not known and record.n_rows == 20
    assert store.flags(FP).empty and store.score_runs(FP) == [] and store.probes(FP) == []


def test_a_dataset_with_a_job_at_work_is_not_deleted(store):
    imported(store.settings, tiny_dataset(10))
    jobs = Jobs(store.settings)
    job = jobs.start_score(FP, ScoreSettings(), "local")
    with pytest.raises(UserError, match="still at work"):
        delete_dataset(store, FP, "local")
    assert len(store.rows(FP)) == 10
    jobs.cancel(job, "local")
    delete_dataset(store, FP, "local")
    assert store.datasets() == []


def test_only_admins_delete_and_set_a_retention_period(store):
    imported(store.settings, tiny_dataset(10))
    store.set_user("sam", "steward", "local")
    with pytest.raises(UserError, match="it takes the role admin"):
        delete_dataset(store, FP, "sam")
    with pytest.raises(UserError, match="it takes the role admin"):
        set_retention(store, FP, 3, "sam")
    with pytest.raises(UserError, match="no dataset"):
        delete_dataset(store, OTHER, "local")
    assert len(store.datasets()) == 1


def aged(store, days):
    with database.writing(store.url) as session:
        session.execute(update(DatasetRow).values(imported_at=utc_now() - timedelta(days=days)))


def test_the_sweep_deletes_what_is_due_and_nothing_else(store):
    imported(store.settings, tiny_dataset(10))
    imported(store.settings, tiny_dataset(12, fingerprint=OTHER))
    set_retention(store, FP, 30, "local")
    record = store.dataset(FP)
    assert deletion_time(record) == record.imported_at + timedelta(days=30)
    assert deletion_time(store.dataset(OTHER)) is None
    assert sweep(store) == []
    aged(store, 29.9)
    assert sweep(store) == []
    aged(store, 30)
    assert sweep(store) == [FP]
    assert [record.fingerprint for record in store.datasets()] == [OTHER]
    entries = audit.read_log(store.url, LogFilter(subject=FP), limit=2)
    assert [(e.action, e.actor) for e in entries] == [("delete", "retention"), ("retention", "local")]
    assert (entries[1].before, entries[1].after) == ({"days": None}, {"days": 30})


@pytest.mark.parametrize("days", [0, -1, 40_000])
def test_periods_that_make_no_sense_are_refused(store, days):
    imported(store.settings, tiny_dataset(10))
    with pytest.raises(UserError, match="1 to 36500 days"):
        set_retention(store, FP, days, "local")


def test_a_due_dataset_at_work_is_stopped_and_goes_next_time(store):
    imported(store.settings, tiny_dataset(10))
    set_retention(store, FP, 1, "local")
    aged(store, 2)
    jobs = Jobs(store.settings)
    running = jobs.start_score(FP, ScoreSettings(), "local")
    # As a live worker of this process would have it.
    import os

    from core import heartbeats

    worker = heartbeats.register(store.url, os.getpid(), None)
    with database.writing(store.url) as session:
        session.execute(update(JobRow).values(status="running", worker_id=worker))
    assert sweep(store) == []
    assert jobs.get(running).cancel_requested
    with database.writing(store.url) as session:
        session.execute(update(JobRow).values(status="cancelled"))
    assert sweep(store) == [FP]


def test_a_deletion_cut_short_after_the_commit_is_finished_by_the_next_sweep(store, tmp_path, monkeypatch):
    used(store, tmp_path)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(deletion, "_remove", killed)
    with pytest.raises(KeyboardInterrupt):
        delete_dataset(store, FP, "local")
    assert store.datasets() == [] and holding(store) != []
    monkeypatch.undo()
    assert sweep(store) == []
    assert holding(store) == []


def test_a_deletion_that_never_came_to_pass_costs_no_file(store, tmp_path, monkeypatch):
    used(store, tmp_path)
    files = sorted(store.settings.workspace.rglob("*"))

    def failing(*_args, **_kwargs):
        raise RuntimeError

    monkeypatch.setattr(audit, "append", failing)
    with pytest.raises(RuntimeError):
        delete_dataset(store, FP, "local")
    monkeypatch.undo()
    assert (store.settings.workspace / "deleting" / f"{FP}.json").exists()
    sweep(store)
    assert [path for path in files if not path.exists()] == []
    assert store.flags(FP)["row_id"].tolist() == [1, 2, 3]


def test_deleting_and_importing_at_once_leaves_a_whole_dataset_or_none(store):
    dataset = tiny_dataset(30)
    failures = []

    def again(action):
        for _ in range(15):
            try:
                action()
            except UserError as error:
                if "no dataset" not in str(error):
                    failures.append(error)
            except Exception as error:
                failures.append(error)

    threads = [
        threading.Thread(target=again, args=(lambda: store.import_dataset(dataset, None, "local"),)),
        threading.Thread(target=again, args=(lambda: delete_dataset(store, FP, "local"),)),
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    if store.datasets():
        assert len(store.rows(FP)) == 30
    assert audit.verify(store.url).ok


def test_the_sample_can_be_deleted(store):
    fingerprint = install_sample(store)
    delete_dataset(store, fingerprint, "local")
    assert store.datasets() == []
    assert json.loads(json.dumps(audit.read_log(store.url)[0].before))["deleted"] == {"datasets": 1, "score_runs": 1}


def test_postgresql_deletes_as_well(tmp_path):
    with postgres() as template:
        settings = workspace(tmp_path).model_copy(update={"database_url": template.format("assay")})
        store = Store(settings)
        used(store, tmp_path)
        delete_dataset(store, FP, "local")
        assert store.datasets() == [] and audit.verify(store.url).ok
        assert audit.read_log(store.url)[0].before["deleted"]["flags"] == 3
