"""One workspace for all app tests of a run: a real store, a real worker, a tiny model."""

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import streamlit as st
from streamlit.runtime.pages_manager import PagesManager
from streamlit.testing.v1 import AppTest, app_test

from core import heartbeats
from core.sample import install_sample
from core.settings import Settings, get_settings
from core.store import Store
from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Point the app at a workspace of its own and stop its worker at the end."""
    folder = tmp_path_factory.mktemp("app")
    model = tiny_model_folder(folder)
    (folder / "inside").mkdir()
    changed = {
        "ASSAY_WORKSPACE": str(folder / "workspace"),
        "ASSAY_DEFAULT_MODEL": str(model),
        "ASSAY_IMPORT_ROOTS": str(folder / "inside"),
        "ASSAY_DATABASE_URL": "",
        "ASSAY_JOBS_URL": "",
        "OMP_NUM_THREADS": "1",
    }
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    _forget()
    found = get_settings()
    yield found
    for worker in heartbeats.live_workers(found.database_url):
        os.kill(worker.pid, signal.SIGTERM)
    for name, value in before.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    _forget()


def _forget() -> None:
    get_settings.cache_clear()
    st.cache_resource.clear()
    st.cache_data.clear()


@pytest.fixture
def store(settings: Settings) -> Store:
    """Return the workspace's store."""
    return Store(settings)


@pytest.fixture
def sample(store: Store) -> Iterator[str]:
    """Install the sample with its shipped scores, without a flag; return its fingerprint."""
    fingerprint = install_sample(store)
    yield fingerprint
    flags = store.flags(fingerprint)
    store.set_flags(fingerprint, flags.loc[flags["flagged"], "row_id"], False, "local")


@pytest.fixture
def visited_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Be a server on which app.py has run: it knows that app.py names the pages.

    AppTest makes every run the first of a server, and would take the folder ``pages`` for Streamlit's older kind of
    app each time. What it resets is then this stand-in's.
    """
    monkeypatch.setattr(app_test, "PagesManager", type("StandIn", (PagesManager,), {}))
    monkeypatch.setattr(PagesManager, "uses_pages_directory", False)


@pytest.fixture
def open_app(settings: Settings, visited_server: None) -> Callable[..., AppTest]:
    """Return a function that opens the app, on a page, with a dataset and a language."""

    def opened(page: str = "", dataset: str = "", lang: str = "en") -> AppTest:
        app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
        app.query_params["lang"] = lang
        if dataset:
            app.query_params["dataset"] = dataset
        app.run()
        if page:
            app.switch_page(f"pages/{page}.py").run()
        assert not app.exception
        return app

    return opened
