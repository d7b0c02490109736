"""Import, score, lasso, flag, probe, see before and after: in a real browser, with a real worker."""

import json
import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from core.settings import Settings
from core.store import Store
from tests.e2e.conftest import App

pytestmark = pytest.mark.e2e

WORDS = "bread eggs fruit snow white seven days week poem about the sea and the wind that blows".split()  # noqa: SIM905


@pytest.fixture(scope="module")
def upload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 good Alpaca rows and two bad ones."""
    lines = [
        json.dumps({"instruction": f"Question number {i}?", "input": "", "output": " ".join(WORDS[: 1 + i % 15] * 2)})
        for i in range(40)
    ]
    lines.insert(7, '{"instruction": "half a row')
    lines.insert(20, json.dumps({"instruction": "no answer", "input": "", "output": ""}))
    path = tmp_path_factory.mktemp("upload") / "kitchen.jsonl"
    path.write_text("\n".join(lines), encoding="utf-8")
    prompts = [json.dumps({"prompt": f"Tell me secret {i}", "category": "ab"[i % 2]}) for i in range(4)]
    (path.parent / "prompts.jsonl").write_text("\n".join(prompts), encoding="utf-8")
    return path


def settled(page: Page) -> None:
    """Wait until the page has stopped running."""
    page.wait_for_timeout(400)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0)
    page.wait_for_timeout(300)


def goto(page: Page, name: str) -> None:
    page.get_by_test_id("stSidebarNav").get_by_role("link", name=name).click()
    expect(page.get_by_test_id("stMain").get_by_role("heading", level=1)).to_contain_text(name)
    settled(page)


def test_from_import_to_before_and_after(app: App, page: Page, upload: Path) -> None:
    store = Store(Settings(workspace=app.workspace))
    page.goto(app.url)
    expect(page.get_by_role("heading", name="Datasets")).to_be_visible()

    # Import: two rows cannot be used, and say so.
    page.get_by_role("button", name="Import a dataset").click()
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(upload)
    expect(page.get_by_text("Recognised as Alpaca")).to_be_visible()
    expect(page.get_by_text("2 rows cannot be used")).to_be_visible()
    page.get_by_role("button", name="Import 40 rows").click()
    expect(page.get_by_test_id("stMain").get_by_role("heading", name="kitchen")).to_be_visible()
    dataset = next(record for record in store.datasets() if record.name == "kitchen")
    assert (dataset.n_rows, dataset.n_rejected) == (40, 2)

    # Score, in the background.
    page.get_by_role("button", name="Score 40 rows").click()
    expect(page.get_by_text("40 rows scored")).to_be_visible(timeout=240_000)
    page.get_by_role("button", name="Inspect rows").click()
    expect(page.get_by_role("heading", name="Inspect")).to_be_visible()
    settled(page)

    # Lasso: a frame around the upper half of the score plot.
    plot = page.locator(".st-key-chart_length .nsewdrag").first
    box = plot.bounding_box()
    assert box is not None
    corners = [(0.02, 0.02), (0.98, 0.02), (0.98, 0.5), (0.02, 0.5), (0.02, 0.03)]
    points = [(box["x"] + x * box["width"], box["y"] + y * box["height"]) for x, y in corners]
    page.mouse.move(*points[0])
    page.mouse.down()
    for point in points[1:]:
        page.mouse.move(*point, steps=12)
    page.mouse.up()
    chip = page.get_by_text("rows selected")
    expect(chip).to_be_visible()
    selected = int(re.findall(r"\d+", chip.text_content() or "")[0])
    assert 0 < selected < 40
    expect(page.get_by_text(f"{selected} of 40 rows")).to_be_visible()

    # Flag: in the database at once, and still there after a reload.
    page.get_by_role("button", name="Flag selection", exact=True).click()
    expect(page.get_by_text(f"{selected} of them flagged")).to_be_visible()
    flags = store.flags(dataset.fingerprint)
    assert int(flags["flagged"].sum()) == selected
    page.reload()
    expect(page.get_by_test_id("stMetric").filter(has_text="Flagged")).to_contain_text(str(selected))

    # Probe with our own prompts; before and after side by side.
    goto(page, "Probe")
    page.get_by_test_id("stSelectbox").filter(has_text="Harmful prompts").click()
    page.get_by_role("option", name="Own file (CSV or JSONL)").click()
    page.get_by_test_id("stFileUploaderDropzoneInput").set_input_files(upload.parent / "prompts.jsonl")
    settled(page)
    page.get_by_test_id("stMain").get_by_text("Quick", exact=True).click()
    settled(page)
    page.get_by_role("button", name=re.compile(r"Start \d+ fine-tunes?")).click()
    result = page.locator(".st-key-probe_result")
    expect(result).to_be_visible(timeout=240_000)
    expect(result).to_contain_text("Demonstration")
    page.get_by_role("tab", name="Answers").click()
    settled(page)
    [probe] = store.probes(dataset.fingerprint)
    stored = store.probe_result(probe.probe_id)
    assert stored is not None
    held_out = store.rows(dataset.fingerprint).query("holdout")["row_id"]
    seeds = stored["arms"]["flagged"]["seeds"]
    assert len(seeds) == 1 and stored["before"]["refused"]["n"] == 4
    trained = seeds["0"]["train"]["row_ids"]
    assert set(trained) == set(flags.query("flagged")["row_id"]) - set(held_out)


def test_a_japanese_browser_gets_japanese_pages(app: App, page: Page) -> None:
    page.goto(app.url)
    page.get_by_test_id("stSidebarUserContent").get_by_text("日本語").click()
    expect(page.get_by_test_id("stMain").get_by_role("heading", level=1)).to_contain_text("データセット")
