"""Signing in with a real identity provider, in a real browser."""

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core import audit
from core.audit import LogFilter
from core.settings import Settings
from core.store import Store
from tests.e2e.conftest import ROOT, _wait_until_up
from tests.e2e.identity import CLIENT_ID, CLIENT_SECRET, Provider

pytestmark = pytest.mark.e2e

PEOPLE = {
    "Ann": {"email": "Ann@Example.org", "email_verified": True},
    "Eve": {"email": "eve@example.org"},
    "Mallory": {"email": "ann@example.org", "email_verified": False},
}


@dataclass(frozen=True)
class Shared:
    """A server with sign-in."""

    url: str
    store: Store


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Start a server whose people sign in; Ann is its steward."""
    folder = tmp_path_factory.mktemp("sign-in")
    store = Store(Settings(workspace=folder / "workspace", database_url="", jobs_url=""))
    store.set_user("ann@example.org", "steward", "local")
    provider = Provider(PEOPLE)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    (folder / "secrets.toml").write_text(
        "[auth]\n"
        f'redirect_uri = "http://localhost:{port}/oauth2callback"\n'
        'cookie_secret = "only for this test run, and long enough for it"\n'
        f'client_id = "{CLIENT_ID}"\n'
        f'client_secret = "{CLIENT_SECRET}"\n'
        f'server_metadata_url = "{provider.url}/.well-known/openid-configuration"\n'
    )
    command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.port", str(port)]
    command += ["--server.address", "0.0.0.0", "--secrets.files", str(folder / "secrets.toml")]
    environment = os.environ | {"ASSAY_WORKSPACE": str(store.settings.workspace), "OMP_NUM_THREADS": "1"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=log, stderr=log)
    try:
        _wait_until_up(f"http://localhost:{port}", server, folder / "server.log")
        yield Shared(f"http://localhost:{port}", store)
    finally:
        server.terminate()
        server.wait(30)
        provider.stop()


def sign_in(page: Page, url: str, who: str) -> None:
    page.goto(url)
    page.get_by_role("button", name="Sign in").click()
    page.get_by_role("link", name=who, exact=True).click()


def test_a_steward_signs_in_works_under_her_name_and_signs_out(page: Page, shared: Shared) -> None:
    page.goto(f"{shared.url}/audit")
    expect(page.get_by_text("Sign in to Assay")).to_be_visible()
    expect(page.get_by_text("Datasets")).to_have_count(0)
    sign_in(page, shared.url, "Ann")
    expect(page.get_by_role("heading", name="Datasets")).to_be_visible()
    expect(page.get_by_text("ann@example.org")).to_be_visible()
    # A steward reads the log and does not manage people.
    expect(page.get_by_role("link", name="Audit log")).to_be_visible()
    expect(page.get_by_role("link", name="People")).to_have_count(0)
    page.get_by_role("button", name="Prepare the file").click()
    expect(page.get_by_role("button", name="Download sample.cleaned.jsonl")).to_be_visible()
    (entry,) = audit.read_log(shared.store.url, LogFilter(actions=(audit.EXPORT,)))
    assert entry.actor == "ann@example.org"
    with page.expect_download() as download:
        page.get_by_role("button", name="Download sample.cleaned.jsonl").click()
    assert Path(download.value.path()).read_bytes() == (ROOT / "core" / "assets" / "sample.jsonl").read_bytes()
    page.get_by_role("button", name="Sign out").click()
    expect(page.get_by_text("Sign in to Assay")).to_be_visible()


@pytest.mark.parametrize("who", ["Eve", "Mallory"])
def test_strangers_and_unconfirmed_addresses_stay_outside(page: Page, shared: Shared, who: str) -> None:
    sign_in(page, shared.url, who)
    expect(page.get_by_text("You have no access yet")).to_be_visible()
    expect(page.get_by_text("Datasets")).to_have_count(0)
    assert [user.name for user in shared.store.users()] == ["ann@example.org", "local"]
