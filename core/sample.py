"""The sample dataset that the app opens on, and its scores, which ship precomputed by the same engine."""

import json
import shutil
from pathlib import Path

from core.datasets import read_dataset
from core.files import replacing, write_json
from core.runs import ScoreSettings, run_address
from core.store import Store

ASSETS = Path(__file__).parent / "assets"
SAMPLE_PATH = ASSETS / "sample.jsonl"
SAMPLE_RUN = ASSETS / "sample_run"
RUN_FILES = ("scores.parquet", "features.npy", "umap.parquet", "unscorable.parquet")
OWNER = "local"


def install_sample(store: Store) -> str:
    """Import the sample with its shipped scores, unless it is there.

    Returns
    -------
    str
        The sample's fingerprint.
    """
    dataset = read_dataset(SAMPLE_PATH)
    known = {record.fingerprint for record in store.datasets()}
    if dataset.fingerprint not in known:
        store.import_dataset(dataset, SAMPLE_PATH, OWNER)
    about = json.loads((SAMPLE_RUN / "run.json").read_text(encoding="utf-8"))
    address = run_address(dataset.fingerprint, about["folder"], about["settings"]["length_unit"])
    if about["dataset"] != dataset.fingerprint or address in {
        run.run_id for run in store.score_runs(dataset.fingerprint)
    }:
        return dataset.fingerprint
    folder = store.dataset_folder(dataset.fingerprint) / "scores" / about["folder"]
    for name in RUN_FILES:
        with replacing(folder / name) as partial:
            shutil.copyfile(SAMPLE_RUN / name, partial)
    store.add_score_run(
        dataset=dataset.fingerprint,
        folder=folder,
        model=about["model"],
        model_name=about["model_name"],
        settings=about["settings"],
        n_rows=about["n_rows"],
        n_unscorable=about["n_unscorable"],
        template=about["template"],
        umap_skipped=None,
        job_id="",
        actor=OWNER,
    )
    return dataset.fingerprint


def ship_sample(model: str = "bundled") -> Path:
    """Score the sample and put the run into the assets: how the shipped scores are made.

    Returns
    -------
    Path
        The folder with the shipped run.
    """
    from core import models, scoring
    from core.console import terminal_progress
    from core.settings import get_settings

    settings = get_settings()
    dataset = read_dataset(SAMPLE_PATH)
    asked = ScoreSettings(model=model)
    loaded = models.load(model, settings)
    parent = settings.workspace / "datasets" / dataset.fingerprint / "scores"
    run, unscorable = scoring.prepare(dataset.rows, loaded, asked, parent)
    with terminal_progress() as progress:
        run.run(progress)
        run.merge()
        run.embed(progress)
    scoring.write_unscorable(run.folder, unscorable)
    SAMPLE_RUN.mkdir(parents=True, exist_ok=True)
    for name in RUN_FILES:
        shutil.copyfile(run.folder / name, SAMPLE_RUN / name)
    about = {
        "dataset": dataset.fingerprint,
        "folder": run.folder.name,
        "model": loaded.model_id,
        "model_name": loaded.name,
        "template": loaded.template,
        "settings": asked.model_dump(mode="json"),
        "n_rows": len(run.rows),
        "n_unscorable": len(unscorable),
    }
    write_json(SAMPLE_RUN / "run.json", about)
    return SAMPLE_RUN
