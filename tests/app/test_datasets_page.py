"""The datasets page: import with its checks, and scoring."""

import json
import time
from collections.abc import Callable

from streamlit.testing.v1 import AppTest

from core.settings import Settings
from core.store import Store

OpenApp = Callable[..., AppTest]


def qa_lines(n: int, question: str = "What is {i} and {i}?") -> list[str]:
    return [
        json.dumps({"question": question.format(i=i), "answer": f"It is {2 * i}.", "vendor": "Acme"}) for i in range(n)
    ]


def texts(app: AppTest) -> str:
    kinds = (app.title, app.subheader, app.markdown, app.caption, app.error, app.warning, app.info)
    return "\n".join(str(element.value) for elements in kinds for element in elements)


def start_import(app: AppTest, name: str, content: str) -> AppTest:
    app.button(key="open_import").click().run()
    app.file_uploader[0].upload(name, content.encode("utf-8")).run()
    assert not app.exception
    return app


def test_first_start_opens_on_the_scored_sample(open_app: OpenApp, sample: str, store: Store) -> None:
    app = open_app(dataset=sample)
    assert app.title[0].value == "Datasets"
    assert store.dataset(sample).name in [heading.value for heading in app.subheader]
    assert "rows scored" in texts(app)
    app.button(key="to_inspect").click().run()
    assert app.title[0].value == "Inspect"


def test_upload_shows_the_mapping_a_preview_and_what_cannot_be_used(open_app: OpenApp, store: Store) -> None:
    lines = qa_lines(30)
    lines[4] = '{"question": "broken'
    lines[9] = json.dumps({"question": "No answer?", "answer": ""})
    app = start_import(open_app(), "kitchen sums.jsonl", "\n".join(lines))
    assert "Question / answer" in texts(app)
    assert [metric.value for metric in app.metric[:2]] == ["28", "2"]
    rejected, preview = app.dataframe[0].value, app.dataframe[1].value
    assert rejected["line"].tolist() == [5, 10]
    assert rejected["reason"].tolist() == ["Not valid JSON", "Answer is empty"]
    assert preview["prompt"].tolist()[0] == "What is 0 and 0?"
    assert preview["supplier"].tolist() == ["Acme"] * 5

    app.button(key="import_rows").click().run()
    assert not app.exception
    record = next(record for record in store.datasets() if record.name == "kitchen sums")
    assert (record.n_rows, record.n_rejected) == (28, 2)
    assert app.session_state["dataset"] == record.fingerprint
    assert store.source_path(record.fingerprint).read_text() == "\n".join(lines)  # type: ignore[union-attr]
    assert f"`{record.fingerprint}`" in str(app.table[0].value)


def test_importing_twice_is_recognised_and_leads_to_the_dataset(open_app: OpenApp, store: Store) -> None:
    content = "\n".join(qa_lines(26, "Twice {i}?"))
    app = start_import(open_app(), "twice.jsonl", content)
    app.button(key="import_rows").click().run()
    n = len(store.datasets())
    # The same rows in another format under another name.
    again = json.dumps([json.loads(line) for line in content.splitlines()])
    app = start_import(open_app(), "other.json", again)
    assert "imported already" in app.info[0].value
    app.button(key="open_known").click().run()
    assert len(store.datasets()) == n
    assert store.dataset(app.session_state["dataset"]).name == "twice"


def test_the_mapping_can_be_corrected(open_app: OpenApp) -> None:
    lines = [json.dumps({"q1": f"Say {i}", "reply": f"{i}!", "kind": "x"}) for i in range(6)]
    app = start_import(open_app(), "own.jsonl", "\n".join(lines))
    assert app.warning
    assert "to go on" in texts(app)
    roles = {box.label: box for box in app.selectbox}
    roles["Prompt"].set_value("q1")
    roles["Answer"].set_value("reply")
    roles["Category"].set_value("kind").run()
    assert not app.exception
    preview = app.dataframe[0].value
    assert preview["prompt"].tolist() == [f"Say {i}" for i in range(5)]
    assert preview["category"].tolist() == ["x"] * 5


def test_paths_are_read_inside_the_allowed_folders_only(open_app: OpenApp, settings: Settings) -> None:
    root = settings.import_roots[0]
    (root / "inside.jsonl").write_text("\n".join(qa_lines(7, "Inside {i}?")))
    outside = root.parent / "outside.jsonl"
    outside.write_text("\n".join(qa_lines(7)))
    (root / "link.jsonl").unlink(missing_ok=True)
    (root / "link.jsonl").symlink_to(outside)
    app = open_app()
    app.button(key="open_import").click().run()
    app.segmented_control(key="import_kind").set_value("path").run()
    for path in (outside, root / ".." / "outside.jsonl", root / "link.jsonl"):
        app.text_input(key="import_path").set_value(str(path))
        app.button[[b.label for b in app.button].index("Read")].click().run()
        assert "may not be read" in app.error[0].value, path
    app.text_input(key="import_path").set_value(str(root / "inside.jsonl"))
    app.button[[b.label for b in app.button].index("Read")].click().run()
    assert not app.error
    assert app.metric[0].value == "7"


def test_unreadable_files_are_explained(open_app: OpenApp) -> None:
    app = start_import(open_app(), "empty.jsonl", "")
    assert "empty" in app.error[0].value


def test_user_text_is_shown_as_typed_not_as_markup(open_app: OpenApp, store: Store) -> None:
    app = start_import(open_app(), "**bold** :red[x].jsonl", "\n".join(qa_lines(5, "Markup {i}?")))
    app.button(key="import_rows").click().run()
    headings = [heading.value for heading in app.subheader]
    assert r"\*\*bold\*\* \:red\[x\]" in headings


def test_scoring_runs_in_the_background_to_the_end(open_app: OpenApp, store: Store) -> None:
    app = start_import(open_app(), "to score.jsonl", "\n".join(qa_lines(12, "To score {i}?")))
    app.button(key="import_rows").click().run()
    fingerprint = app.session_state["dataset"]
    app.button(key="start_score").click().run()
    assert not app.exception
    assert "Scoring job" in texts(app)
    deadline = time.monotonic() + 120
    while not store.score_runs(fingerprint):
        assert time.monotonic() < deadline, "the worker did not score"
        time.sleep(0.5)
    app.run()
    assert "12 rows scored" in texts(app)
