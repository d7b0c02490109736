import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from core import database
from core.errors import UserError
from core.rows import Row, Turn
from core.store import Store
from core.tables import Table
from tests.unit.workspaces import imported, tiny_dataset, workspace

FP = "00112233aabbccdd"


@pytest.fixture
def settings(tmp_path):
    return workspace(tmp_path)


@pytest.fixture
def store(settings):
    return Store(settings)


def test_migrations_build_exactly_the_tables(store):
    with database.engine(store.url).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Table.metadata) == []


def test_sqlite_runs_in_wal_mode_with_foreign_keys_and_a_busy_timeout(store):
    with database.engine(store.url).connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA foreign_keys")).scalar() == 1
        assert connection.execute(text("PRAGMA busy_timeout")).scalar() == 30_000


def test_processes_that_start_at_once_migrate_once(settings):
    code = (
        "from core.settings import Settings\nfrom core.store import Store\n"
        f"print(Store(Settings(**{settings.model_dump(mode='json')!r})).user('local').role)"
    )
    processes = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(4)
    ]
    for process in processes:
        out, err = process.communicate(timeout=120)
        assert (process.returncode, out.decode().strip()) == (0, "admin"), err.decode()


def test_first_start_makes_one_local_admin(store, settings):
    assert [(user.name, user.role) for user in Store(settings).users()] == [("local", "admin")]


def test_import_keeps_rows_source_and_rejected_rows(store, tmp_path):
    source = tmp_path / "data.jsonl"
    source.write_bytes(b'{"question": "caf\xc3\xa9?"}\r\n\xff\xfe')
    dataset = tiny_dataset(40)
    record, known = store.import_dataset(dataset, source, "local")
    assert not known
    assert (record.n_rows, record.n_rejected, record.format, record.imported_by) == (40, 1, "jsonl", "local")
    assert record.mapping == dataset.mapping.model_dump(mode="json")
    assert store.source_path(FP).read_bytes() == source.read_bytes()
    assert store.load_rows(FP) == dataset.rows
    assert store.rejected(FP).to_dict("records") == [
        {"row_id": 40, "line": 41, "reason": "Answer is empty", "detail": "", "raw": '{"question": "…"}'}
    ]
    table = store.rows(FP)
    assert list(table.columns) == [
        "row_id", "row_hash", "prompt", "answer", "category", "supplier", "holdout", "turns",
    ]  # fmt: skip
    assert table["row_hash"].tolist() == [row.row_hash for row in dataset.rows]
    assert json.loads(table["turns"][0])[1]["role"] == "assistant"


def test_the_holdout_is_frozen_at_import(store):
    record, _ = store.import_dataset(tiny_dataset(40), None, "local")
    assert 5 <= record.n_holdout < 20
    assert store.rows(FP)["holdout"].sum() == record.n_holdout


def test_the_same_content_is_recognised_under_another_name(store):
    first, _ = store.import_dataset(tiny_dataset(30, name="first"), None, "local")
    second, known = store.import_dataset(tiny_dataset(30, name="second"), None, "local")
    assert known and second == first
    assert len(store.datasets()) == 1


def test_difficult_text_survives_the_store(store):
    dataset = tiny_dataset(5)
    turns = (Turn("system", ""), Turn("user", "a\u2028b\x00c\r\n"), Turn("assistant", "日本語 🙂 \x85 \\u0041"))
    dataset.rows.append(Row(7, turns, category="=1+1", supplier="../../etc"))
    store.import_dataset(dataset, None, "local")
    assert store.load_rows(FP)[-1] == dataset.rows[-1]


def test_no_name_becomes_part_of_a_path(store, settings, tmp_path):
    source = tmp_path / "evil.jsonl;rm -rf"
    source.write_text("x")
    store.import_dataset(tiny_dataset(5, name="../../../outside"), source, "local")
    names = {path.name for path in settings.workspace.rglob("*")}
    assert not any("outside" in name or "evil" in name for name in names)
    assert "source.bin" in names


@pytest.mark.parametrize("fingerprint", ["../../etc", "", "00112233AABBCCDD", "ffffffffffffffff"])
def test_an_unknown_fingerprint_is_a_user_error(store, fingerprint):
    for read in (store.dataset, store.rows, store.rejected, store.load_rows):
        with pytest.raises(UserError):
            read(fingerprint)


def test_a_dataset_without_rows_is_refused(store):
    with pytest.raises(UserError, match="no usable row"):
        store.import_dataset(tiny_dataset(0), None, "local")
    assert store.datasets() == []


def test_flags_are_there_for_the_next_process(store, settings):
    imported(settings, tiny_dataset(10))
    assert store.set_flags(FP, [1, 2, 3], True, "local", note="odd") == 3
    code = (
        "from core.settings import Settings\nfrom core.store import Store\n"
        f"s = Store(Settings(**{settings.model_dump(mode='json')!r}))\n"
        f"print(s.flags({FP!r})['row_id'].tolist())"
    )
    assert subprocess.check_output([sys.executable, "-c", code]).decode().strip() == "[1, 2, 3]"


def test_only_real_changes_count_and_raise_the_version(store, settings):
    imported(settings, tiny_dataset(10))
    assert store.set_flags(FP, [1, 2], True, "local") == 2
    assert store.set_flags(FP, [1, 2, 3], True, "local") == 1
    assert store.set_flags(FP, [2, 5], False, "local") == 1  # row 5 never was flagged
    flags = store.flags(FP).set_index("row_id")
    assert flags["flagged"].to_dict() == {1: True, 2: False, 3: True}
    assert flags["version"].to_dict() == {1: 1, 2: 2, 3: 1}
    assert store.set_flags(FP, [1], True, "local", note="a reason") == 1
    assert store.flags(FP).set_index("row_id").loc[1, "note"] == "a reason"


def test_no_flag_at_all_is_an_empty_table(store, settings):
    imported(settings, tiny_dataset(10))
    assert list(store.flags(FP).columns) == ["row_id", "flagged", "actor", "note", "updated_at", "version"]
    assert store.set_flags(FP, [], True, "local") == 0


def test_flagging_a_row_that_does_not_exist_changes_nothing(store, settings):
    imported(settings, tiny_dataset(10))
    with pytest.raises(UserError, match="row 10"):
        store.set_flags(FP, [1, 10], True, "local")
    assert store.flags(FP).empty


def test_many_writers_lose_nothing(store, settings):
    imported(settings, tiny_dataset(40))
    failures = []

    def flag(start):
        try:
            for row_id in range(start, 40, 4):
                store.set_flags(FP, [row_id], True, "local")
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=flag, args=(start,)) for start in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert store.flags(FP)["row_id"].tolist() == list(range(40))


def test_roles_are_looked_up_on_every_write(store, settings):
    imported(settings, tiny_dataset(10))
    store.set_user("vera", "viewer", "local")
    store.set_user("rita", "steward", "local")
    with pytest.raises(UserError, match="vera may not do this"):
        store.set_flags(FP, [1], True, "vera")
    assert store.set_flags(FP, [1], True, "rita") == 1
    with pytest.raises(UserError, match="it takes the role trainer / steward / adjudicator / admin"):
        store.import_dataset(tiny_dataset(5, fingerprint="ff" * 8), None, "vera")
    store.set_user("rita", "viewer", "local")
    with pytest.raises(UserError):
        store.set_flags(FP, [2], True, "rita")


def test_strangers_and_non_admins_cannot_write_users(store):
    with pytest.raises(UserError, match="not a user"):
        store.set_user("me", "admin", "stranger")
    store.set_user("sam", "steward", "local")
    with pytest.raises(UserError):
        store.set_user("sam", "admin", "sam")
    with pytest.raises(UserError, match="not a role"):
        store.set_user("sam", "king", "local")
    with pytest.raises(UserError):
        store.set_user("local", "viewer", "local")


def test_a_half_written_file_is_never_seen(tmp_path):
    from core.files import replacing

    path = tmp_path / "folder" / "file"
    with replacing(path) as temporary:
        temporary.write_text("old")
    with pytest.raises(RuntimeError), replacing(path) as temporary:
        temporary.write_text("new, but")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_importing_the_client_side_loads_neither_torch_nor_umap_nor_streamlit():
    code = (
        "import sys, core.store, core.jobs, core.worker, core.runs, core.probe_settings\n"
        "print([m for m in ('torch', 'umap', 'transformers', 'streamlit', 'datasets') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    assert subprocess.check_output([sys.executable, "-c", code], cwd=root).decode().strip() == "[]"


def test_prompt_files_are_kept_by_content_and_only_for_those_who_may_probe(store):
    store.set_user("rita", "viewer", "local")
    with pytest.raises(UserError, match="rita"):
        store.keep_prompts(b"prompt,category", ".csv", "rita")
    path = store.keep_prompts(b"prompt,category\nTell me,a", ".CSV", "local")
    assert path == store.keep_prompts(b"prompt,category\nTell me,a", ".csv", "local")
    assert path.parent == store.settings.workspace / "prompts" and path.suffix == ".csv"
    # A suffix comes from a person's file name and must not lead anywhere.
    strange = store.keep_prompts(b"{}", ".csv/../../x", "local")
    assert strange.parent == path.parent and strange.suffix == ".jsonl"
