"""Scoring runs: chunks on disk, resuming, merging, the map."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core import models
from core.encoding import encode_rows
from core.errors import UserError
from core.exact_loop import ExactLoop
from core.progress import Cancelled, Progress
from core.rows import Row, Turn
from core.runs import ScoreSettings
from core.scoring import NO_UMAP, SCORE_COLUMNS, batches, calibrate, prepare
from core.settings import Settings
from tests.tiny import tiny_model_folder

WORDS = "bread eggs fruit snow white seven days week poem about the sea and wind".split()  # noqa: SIM905


def rows(n: int = 20) -> list[Row]:
    return [
        Row(2 * i, (Turn("user", " ".join(WORDS[i % 5 :])), Turn("assistant", " ".join(WORDS[: 1 + (i * 7) % 13]))))
        for i in range(n)
    ]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> models.LoadedModel:
    folder = tmp_path_factory.mktemp("models")
    return models.load(str(tiny_model_folder(folder)), Settings(workspace=folder))


SETTINGS = ScoreSettings(model="tiny", token_budget=200)


def test_the_table_has_one_row_per_usable_row_in_input_order(loaded: models.LoadedModel, tmp_path: Path) -> None:
    run, unscorable = prepare(rows(), loaded, SETTINGS, tmp_path)
    run.run()
    table = run.merge()
    assert unscorable == []
    assert table.columns.tolist() == list(SCORE_COLUMNS)
    assert table["row_id"].tolist() == [row.row_id for row in rows()]
    assert len(run.chunks) > 3
    encoded, _ = encode_rows(rows(), loaded.tokenizer)
    exact = ExactLoop(loaded.model).score(encoded)
    assert np.allclose(table["self_inf"], exact.self_inf.numpy(), rtol=1e-4)
    assert np.allclose(np.load(run.folder / "features.npy"), exact.features.numpy(), atol=2e-3)


def test_a_cancelled_run_goes_on_where_it_was_with_the_same_figures(loaded: models.LoadedModel, tmp_path: Path) -> None:
    whole, _ = prepare(rows(), loaded, SETTINGS, tmp_path / "whole")
    whole.run()
    cut, _ = prepare(rows(), loaded, SETTINGS, tmp_path / "cut")

    def stop_half_way(point: Progress) -> None:
        if point.done > point.total / 2:
            raise Cancelled

    with pytest.raises(Cancelled):
        cut.run(stop_half_way)
    finished = {path.name: path.stat().st_mtime_ns for path in cut.folder.glob("chunk-*.npz")}
    assert 0 < len(finished) < len(cut.chunks)
    again, _ = prepare(rows(), loaded, SETTINGS, tmp_path / "cut")
    assert again.folder == cut.folder and len(again.todo()) == len(cut.chunks) - len(finished)
    again.run()
    assert {name: (again.folder / name).stat().st_mtime_ns for name in finished} == finished
    pd.testing.assert_frame_equal(again.merge(), whole.merge(), check_exact=True)


def test_progress_counts_rows_and_tokens_to_the_end(loaded: models.LoadedModel, tmp_path: Path) -> None:
    points: list[Progress] = []
    run, _ = prepare(rows(), loaded, SETTINGS, tmp_path)
    run.run(points.append)
    assert points[0].done == 0 and points[-1].done == points[-1].total == 20
    assert points[-1].tokens_done == points[-1].tokens_total == run.tokens_total
    assert [p.done for p in points] == sorted(p.done for p in points)


def test_the_exact_loop_gives_the_same_scores(loaded: models.LoadedModel, tmp_path: Path) -> None:
    fast, _ = prepare(rows(6), loaded, SETTINGS, tmp_path)
    slow, _ = prepare(rows(6), loaded, SETTINGS.model_copy(update={"exact_loop": True}), tmp_path)
    assert fast.folder != slow.folder
    fast.run()
    slow.run()
    assert np.allclose(fast.merge()["self_inf"], slow.merge()["self_inf"], rtol=1e-4)


def test_the_length_unit_does_not_score_again(loaded: models.LoadedModel, tmp_path: Path) -> None:
    tokens, _ = prepare(rows(6), loaded, SETTINGS, tmp_path)
    tokens.run()
    by_tokens = tokens.merge()
    words, _ = prepare(rows(6), loaded, SETTINGS.model_copy(update={"length_unit": "words"}), tmp_path)
    assert words.todo() == []
    by_words = words.merge()
    expected = np.log1p(by_words["self_inf"]) + np.log1p(by_words["answer_words"])
    assert np.allclose(by_words["self_inf_n"], expected)
    assert not np.allclose(by_words["self_inf_n"], by_tokens["self_inf_n"])


def test_batches_stay_within_the_token_budget_and_hold_every_row_once(loaded: models.LoadedModel) -> None:
    encoded, _ = encode_rows(rows(), loaded.tokenizer)
    length = {row.row_id: len(row.input_ids) for row in encoded}
    groups = batches(encoded, 120)
    assert sorted(row_id for group in groups for row_id in group) == sorted(length)
    assert all(len(group) == 1 or len(group) * max(length[i] for i in group) <= 120 for group in groups)


def test_the_map_needs_five_rows_and_is_the_same_every_time(loaded: models.LoadedModel, tmp_path: Path) -> None:
    few, _ = prepare(rows(4), loaded, SETTINGS, tmp_path)
    assert few.embed() == NO_UMAP and not (few.folder / "umap.parquet").exists()
    run, _ = prepare(rows(), loaded, SETTINGS, tmp_path)
    run.run()
    run.merge()
    assert run.embed() is None
    first = pd.read_parquet(run.folder / "umap.parquet")
    run.embed()
    pd.testing.assert_frame_equal(first, pd.read_parquet(run.folder / "umap.parquet"), check_exact=True)
    assert first["row_id"].tolist() == [row.row_id for row in rows()]
    assert np.isfinite(first[["x", "y"]]).all().all()


def test_five_rows_are_enough_for_a_map(loaded: models.LoadedModel, tmp_path: Path) -> None:
    run, _ = prepare(rows(5), loaded, SETTINGS, tmp_path)
    run.run()
    run.merge()
    assert run.embed() is None


def test_a_dataset_without_a_scorable_row_is_an_error(loaded: models.LoadedModel, tmp_path: Path) -> None:
    settings = SETTINGS.model_copy(update={"truncate": "tail", "max_length": 8})
    with pytest.raises(UserError, match="no row that this model can score"):
        prepare(rows(2), loaded, settings, tmp_path)


def test_calibration_measures_a_speed(loaded: models.LoadedModel) -> None:
    encoded, _ = encode_rows(rows(), loaded.tokenizer)
    assert calibrate(loaded, encoded, SETTINGS, seconds=0.1) > 0
