"""`audit`, `export`, `delete` and `user` as somebody types them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import text

from core import audit, database
from core.datasets import read_dataset
from core.settings import Settings
from core.store import Store

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("desk")
    store = Store(Settings(workspace=folder, database_url="", jobs_url=""))
    lines = [json.dumps({"question": f"What is {i}?", "answer": f"It is {i}."}) for i in range(12)]
    source = folder / "mine.jsonl"
    source.write_text("\n".join(lines))
    record, _ = store.import_dataset(read_dataset(source), source, "local")
    store.set_flags(record.fingerprint, [2, 3], True, "local")
    return store


def run(store, *arguments, user=None):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASSAY_")}
    environment |= {"ASSAY_WORKSPACE": str(store.settings.workspace), "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    if user:
        environment["ASSAY_USER"] = user
    return subprocess.run(
        [sys.executable, "-m", "core", *arguments],
        cwd=store.settings.workspace,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_export_writes_the_file_without_the_flagged_rows(store):
    done = run(store, "export", "mine", "--what", "cleaned", "--out", "clean.jsonl")
    assert done.returncode == 0, done.stderr
    source = (store.settings.workspace / "mine.jsonl").read_text().splitlines(keepends=True)
    assert (store.settings.workspace / "clean.jsonl").read_text() == "".join(source[:2] + source[4:])
    assert "10 rows" in done.stderr and "2 excluded" in done.stderr
    assert audit.read_log(store.url)[0].action == "export"


def test_what_cannot_be_exported_is_one_line_and_exit_code_2(store):
    for arguments in (("nothing", "--what", "cleaned"), ("mine", "--what", "outliers")):
        done = run(store, "export", *arguments, "--out", "x.csv")
        assert done.returncode == 2 and done.stderr.startswith("Error: ") and done.stderr.count("\n") == 1
    assert not (store.settings.workspace / "x.csv").exists()


def test_audit_prints_verifies_and_exports(store):
    head = audit.head(store.url)
    assert run(store, "audit").stdout.strip() == head
    for anchor in ((), ("--anchor", head)):
        done = run(store, "audit", "--verify", *anchor)
        assert done.returncode == 0 and done.stdout.startswith("OK: "), done
    done = run(store, "audit", "--verify", "--anchor", "ab" * 32)
    assert done.returncode == 1 and "anchor is not in the log" in done.stdout
    assert run(store, "audit", "--verify", "--anchor", "abc").returncode == 2
    assert run(store, "audit", "--anchor", head).returncode == 2
    assert run(store, "audit", "--export", "log.jsonl").returncode == 0
    lines = (store.settings.workspace / "log.jsonl").read_text().splitlines()
    assert json.loads(lines[-1])["hash"] == head and len(lines) == audit.count_log(store.url)


def test_verify_names_the_first_bad_entry(store, tmp_path):
    other = Store(Settings(workspace=tmp_path, database_url="", jobs_url=""))
    for role in ("steward", "viewer", "steward", "viewer"):
        other.set_user("ann", role, "local")
    with database.writing(other.url) as session:
        session.execute(text("DROP TRIGGER audit_log_no_update"))
        session.execute(text("UPDATE audit_log SET actor = 'eve' WHERE seq IN (2, 3)"))
    done = run(other, "audit", "--verify", user="local")
    assert done.returncode == 1
    assert done.stdout.startswith("BAD: entry 2: ")


def test_people_roles_and_the_name_of_the_command_line(store):
    assert run(store, "user").stdout == "local\tadmin\n"
    assert run(store, "user", "Sam@Example.org", "steward").stdout == "sam@example.org\tsteward\n"
    # Shared from now on: the user of the operating system is nobody here.
    done = run(store, "user")
    assert done.returncode == 2 and "Set ASSAY_USER" in done.stderr
    done = run(store, "delete", "mine", "--yes", user="sam@example.org")
    assert done.returncode == 2 and "it takes the role admin" in done.stderr
    assert run(store, "user", "sam@example.org", "viewer", user="local").returncode == 0
    done = run(store, "export", "mine", "--what", "cleaned", "--out", "y.jsonl", user="sam@example.org")
    assert done.returncode == 2 and "may not do this" in done.stderr
    done = run(store, "score", "mine.jsonl", "--out", "z.parquet", user="sam@example.org")
    assert done.returncode == 2 and "may not do this" in done.stderr


def test_delete_asks_first(store):
    done = run(store, "delete", "mine", user="local")
    assert done.returncode == 1 and len(store.datasets()) == 1
    assert run(store, "delete", "mine", "--yes", user="local").returncode == 0
    assert store.datasets() == []
    assert audit.verify(store.url).ok
