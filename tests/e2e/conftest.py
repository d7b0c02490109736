"""The running app: a real server, its own worker, a real browser, a tiny model."""

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, Playwright, expect, sync_playwright

from tests.tiny import tiny_model_folder

ROOT = Path(__file__).parents[2]
# Software WebGL, for the scatter plots; no look-ups of outside hosts.
BROWSER_OPTIONS = [
    "--no-sandbox",
    "--use-gl=angle",
    "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader",
    "--ignore-gpu-blocklist",
    "--disable-background-networking",
    "--disable-component-update",
]


# Five seconds, the default, are short on a busy machine.
expect.set_options(timeout=60_000)


@dataclass(frozen=True)
class App:
    """A server and where its files are."""

    url: str
    workspace: Path
    model: Path


@pytest.fixture(scope="session")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    """Start the app in an empty workspace; the tiny model is its default."""
    folder = tmp_path_factory.mktemp("e2e")
    model = tiny_model_folder(folder)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = os.environ | {
        "ASSAY_WORKSPACE": str(folder / "workspace"),
        "ASSAY_DEFAULT_MODEL": str(model),
        "OMP_NUM_THREADS": "1",
    }
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    command += ["--server.address", "127.0.0.1", "--server.headless", "true", "--server.fileWatcherType", "none"]
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_until_up(url, server, folder / "server.log")
        yield App(url, folder / "workspace", model)
    finally:
        # The embedded worker ends by itself once its parent is gone and it is idle.
        server.terminate()
        server.wait(30)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Launch the system's Chromium, or Playwright's own; without one skip, but fail on CI."""
    with sync_playwright() as playwright:
        path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
        if path is None and not _own_browser(playwright):
            if os.environ.get("CI"):
                pytest.fail("CI has no browser; .ci/run installs one")
            pytest.skip("no Chromium here: apt-get install chromium, or .venv/bin/playwright install chromium")
        launched = playwright.chromium.launch(executable_path=path, args=BROWSER_OPTIONS)
        yield launched
        launched.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """Open an English desktop window; a page error fails the test."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000}, locale="en-US")
    context.set_default_timeout(60_000)
    errors: list[str] = []
    opened = context.new_page()
    opened.on("pageerror", lambda error: errors.append(str(error)))
    yield opened
    context.close()
    assert not errors


def _own_browser(playwright: Playwright) -> bool:
    return Path(playwright.chromium.executable_path).exists()


def _wait_until_up(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(240):
        if server.poll() is not None:
            pytest.fail(f"the app did not start:\n{log.read_text(errors='replace')[-3000:]}")
        try:
            urllib.request.urlopen(f"{url}/_stcore/health", timeout=2)
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    pytest.fail("the app did not answer within two minutes")
