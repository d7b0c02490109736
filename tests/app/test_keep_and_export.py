"""Taking data out and deleting it, on the datasets page."""

import json
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from core import audit
from core.audit import LogFilter
from core.datasets import read_dataset
from core.store import Store

OpenApp = Callable[..., AppTest]


def brought_in(store: Store, name: str, n: int = 12) -> str:
    path = store.settings.workspace.parent / "inside" / f"{name}.jsonl"
    lines = [json.dumps({"question": f"{name} {i}?", "answer": f"It is {i}."}) for i in range(n)]
    lines[3] = '{"broken'
    path.write_text("\r\n".join(lines))
    record, _ = store.import_dataset(read_dataset(path), path, "local")
    return record.fingerprint


def exported(app: AppTest) -> bytes:
    *_, path, _name, _made = app.session_state["export_ready"]
    return path.read_bytes()


def test_the_cleaned_file_comes_from_the_page_without_the_flagged_rows(open_app: OpenApp, store: Store) -> None:
    fingerprint = brought_in(store, "To export")
    store.set_flags(fingerprint, [0, 5], True, "local")
    app = open_app(dataset=fingerprint)
    app.button(key="export_prepare").click().run()
    assert not app.exception and not app.error
    lines = store.source_path(fingerprint).read_bytes().splitlines(keepends=True)  # type: ignore[union-attr]
    kept = [line for i, line in enumerate(lines) if i not in (0, 3, 5)]
    assert exported(app) == b"".join(kept)
    assert any("9 rows" in caption.value for caption in app.caption)

    app.checkbox(key=f"export_rejected_{fingerprint}").check().run()
    # What was prepared for another choice is not offered for this one.
    assert not [b for b in app.get("download_button") if "cleaned" in b.proto.label]
    app.button(key="export_prepare").click().run()
    assert exported(app) == b"".join(line for i, line in enumerate(lines) if i not in (0, 5))
    entries = audit.read_log(store.url, LogFilter(actions=(audit.EXPORT,), subject=fingerprint))
    assert [(entry.actor, entry.after["rows"]) for entry in entries] == [("local", 10), ("local", 9)]


def test_decisions_and_outliers_are_tables(open_app: OpenApp, store: Store, sample: str) -> None:
    store.set_flags(sample, [1, 2], True, "local")
    app = open_app(dataset=sample)
    app.segmented_control(key="export_what").set_value("decisions").run()
    app.button(key="export_prepare").click().run()
    assert exported(app).decode("utf-8-sig").splitlines()[0].startswith("row_id,row_hash,decision")
    app.segmented_control(key="export_what").set_value("outliers").run()
    app.button(key="export_prepare").click().run()
    assert len(exported(app).decode("utf-8-sig").split("\n1,")) == 2
    assert not app.exception


def test_deleting_takes_the_typed_name(open_app: OpenApp, store: Store) -> None:
    fingerprint = brought_in(store, "To delete")
    app = open_app(dataset=fingerprint)
    assert app.button(key="delete_dataset").disabled
    app.text_input(key=f"delete_name_{fingerprint}").set_value("to delete").run()
    assert app.button(key="delete_dataset").disabled
    app.text_input(key=f"delete_name_{fingerprint}").set_value("To delete").run()
    app.button(key="delete_dataset").click().run()
    assert not app.exception
    assert "is deleted" in app.toast[0].value
    assert fingerprint not in [record.fingerprint for record in store.datasets()]
    assert app.session_state["dataset"] != fingerprint
    assert not store.dataset_folder(fingerprint).exists()


def test_a_retention_period_is_set_and_shown(open_app: OpenApp, store: Store) -> None:
    fingerprint = brought_in(store, "To keep")
    app = open_app(dataset=fingerprint)
    app.number_input(key=f"retention_{fingerprint}").set_value(30).run()
    app.button(key="save_retention").click().run()
    assert not app.exception
    assert store.dataset(fingerprint).retention_days == 30
    assert any("Will be deleted after" in caption.value for caption in app.caption)
