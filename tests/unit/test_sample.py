"""The shipped sample: what it is, and that its scores come from the engine in this checkout."""

import json
import statistics
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core import models
from core.datasets import read_dataset
from core.encoding import encode_rows
from core.gradients import GradientEngine
from core.sample import SAMPLE_PATH, SAMPLE_RUN, install_sample
from core.settings import Settings, get_settings
from core.store import Store

CATEGORIES = {
    "brainstorming",
    "classification",
    "closed_qa",
    "creative_writing",
    "general_qa",
    "information_extraction",
    "open_qa",
    "summarization",
}


def test_the_sample_has_the_shape_of_real_instruction_data() -> None:
    dataset = read_dataset(SAMPLE_PATH)
    words = [len(row.answer.split()) for row in dataset.rows]
    assert len(dataset.rows) >= 400 and dataset.rejected == []
    assert dataset.mapping.format == "dolly"
    assert {row.category for row in dataset.rows} == CATEGORIES
    assert len({row.supplier for row in dataset.rows}) == 3
    assert 0.15 <= sum(n < 4 for n in words) / len(words) <= 0.25
    assert 20 <= statistics.median(words) <= 40 and max(words) > 400


def test_the_shipped_scores_belong_to_the_shipped_rows() -> None:
    dataset = read_dataset(SAMPLE_PATH)
    about = json.loads((SAMPLE_RUN / "run.json").read_text())
    scores = pd.read_parquet(SAMPLE_RUN / "scores.parquet")
    assert about["dataset"] == dataset.fingerprint
    assert scores["row_id"].tolist() == [row.row_id for row in dataset.rows]
    assert len(np.load(SAMPLE_RUN / "features.npy")) == len(pd.read_parquet(SAMPLE_RUN / "umap.parquet")) == len(scores)
    assert np.allclose(scores["self_inf_n"], np.log1p(scores["self_inf"]) + np.log1p(scores["answer_tokens"]))


def test_installing_the_sample_twice_changes_nothing(tmp_path: Path) -> None:
    store = Store(Settings(workspace=tmp_path))
    fingerprint = install_sample(store)
    assert install_sample(store) == fingerprint
    assert [record.fingerprint for record in store.datasets()] == [fingerprint]
    [run] = store.score_runs(fingerprint)
    assert len(store.scores(run.run_id)) == len(store.rows(fingerprint))
    umap = store.umap(run.run_id)
    assert umap is not None and len(umap) == run.n_rows


@pytest.mark.slow
def test_the_shipped_scores_are_what_the_bundled_model_gives_today() -> None:
    loaded = models.load("bundled", get_settings())
    about = json.loads((SAMPLE_RUN / "run.json").read_text())
    assert loaded.model_id == about["model"]
    rows = read_dataset(SAMPLE_PATH).rows[::40]
    encoded, _ = encode_rows(rows, loaded.tokenizer)
    engine = GradientEngine(loaded.model)
    shipped = pd.read_parquet(SAMPLE_RUN / "scores.parquet").set_index("row_id").loc[[r.row_id for r in encoded]]
    result = [engine.score([row]) for row in encoded]
    assert np.allclose([float(r.self_inf) for r in result], shipped["self_inf"], rtol=1e-3)
    assert np.allclose([float(r.loss) for r in result], shipped["loss"], rtol=1e-3)
    features = np.load(SAMPLE_RUN / "features.npy")[[r.row_id for r in encoded]].astype(np.float32)
    cosine = (features * np.concatenate([r.features.numpy() for r in result])).sum(1)
    assert (cosine > 0.999).all()
