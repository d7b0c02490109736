"""What every page has around it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from streamlit.testing.v1 import AppTest

from core import worker
from core.settings import Settings
from core.store import Store

OpenApp = Callable[..., AppTest]
ROOT = Path(__file__).parents[2]


def dataset_chooser(app: AppTest) -> Any:
    return app.sidebar.selectbox[0]


def test_two_sessions_share_one_worker(open_app: OpenApp, settings: Settings) -> None:
    from core import heartbeats

    open_app()
    open_app()
    assert worker.worker_alive(settings)
    assert len(heartbeats.live_workers(settings.database_url)) == 1


def test_the_chosen_dataset_stays_on_every_page(open_app: OpenApp, sample: str, store: Store) -> None:
    app = open_app(dataset=sample)
    for page in ("inspect_rows", "probe", "datasets"):
        app.switch_page(f"pages/{page}.py").run()
        assert not app.exception
        assert dataset_chooser(app).value == sample


def test_the_language_switch_changes_every_text(open_app: OpenApp, sample: str) -> None:
    app = open_app(dataset=sample)
    app.segmented_control(key="language_switch").set_value("ja").run()
    assert app.title[0].value == "データセット"
    assert dataset_chooser(app).label == "データセット"
    assert app.query_params["lang"] == "ja"
    app.segmented_control(key="language_switch").set_value("en").run()
    assert app.title[0].value == "Datasets"


def test_a_japanese_browser_gets_japanese_at_first(settings: Settings, visited_server: None) -> None:
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.context = {"locale": "ja-JP"}
    app.run()
    assert app.title[0].value == "データセット"


def test_the_first_visitor_of_a_server_may_come_to_any_page(settings: Settings, sample: str) -> None:
    # Without `visited_server`: Streamlit would run the page alone, without sidebar and without app.py.
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    app.run()
    app.switch_page("pages/inspect_rows.py").run()
    assert not app.exception
    assert app.title[0].value == "Inspect"
    assert dataset_chooser(app).value


def test_the_app_process_loads_no_model_library(settings: Settings, tmp_path: Path) -> None:
    import subprocess
    import sys

    code = (
        "import sys\n"
        "from components import shell, dataset_list, import_form, score_form, charts, row_table, row_detail\n"
        "from components import flagging, summary, probe_form, probe_results, probe_history\n"
        "heavy = {'torch', 'transformers', 'peft', 'umap', 'datasets'} & set(sys.modules)\n"
        "sys.exit(f'loaded: {heavy}' if heavy else 0)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
