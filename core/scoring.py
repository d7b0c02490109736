"""A scoring run: a folder of finished chunks, so that a killed run goes on where it was."""

import hashlib
import json
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from core.embedding import MIN_ROWS, umap_embed
from core.encoding import EncodedRow, encode_rows
from core.errors import UserError
from core.exact_loop import ExactLoop
from core.files import replacing
from core.gradients import GradientEngine
from core.i18n import N_
from core.models import LoadedModel
from core.progress import OnProgress, Progress, ignore_progress
from core.rows import RejectedRow, Row
from core.runs import ScoreSettings
from core.scores import with_length_unit

STAGE_SCORE = N_("Computing gradients")
STAGE_UMAP = N_("Laying out the map")
NO_UMAP = N_("The map needs at least 5 scored rows.")

CALIBRATION_BUDGET = 512

SCORE_COLUMNS = (
    "row_id",
    "self_inf",
    "self_inf_n",
    "loss",
    "answer_tokens",
    "answer_words",
    "supervised_tokens",
    "truncated",
    "tokens",
)


class ScoringRun:
    """Scores of one dataset by one model, computed chunk by chunk.

    A chunk is one batch: rows of similar length under the token budget. Which rows share a chunk depends on the rows
    and settings alone, so a resumed run makes the same batches, and the same figures, as one that ran through.

    Parameters
    ----------
    folder : Path
        The run's folder, made when missing.
    loaded : LoadedModel
        The model to score with.
    encoded : list of EncodedRow, n
        Rows in input order.
    settings : ScoreSettings
        What was asked.
    """

    def __init__(self, folder: Path, loaded: LoadedModel, encoded: list[EncodedRow], settings: ScoreSettings) -> None:
        if not encoded:
            raise UserError(N_("There is no row that this model can score."))
        self.folder = folder
        self.loaded = loaded
        self.settings = settings
        self.rows = {row.row_id: row for row in encoded}
        self.chunks = batches(encoded, settings.token_budget)
        self._engine: ExactLoop | GradientEngine | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def tokens_total(self) -> int:
        """Input tokens of all rows."""
        return sum(len(row.input_ids) for row in self.rows.values())

    def tokens_in(self, chunk: int) -> int:
        """Input tokens of one chunk."""
        return sum(len(self.rows[row_id].input_ids) for row_id in self.chunks[chunk])

    def todo(self) -> list[int]:
        """Return the numbers of the chunks that are not on disk yet."""
        return [i for i in range(len(self.chunks)) if not self._chunk_path(i).exists()]

    def run(self, on_progress: OnProgress = ignore_progress) -> None:
        """Compute every missing chunk, reporting rows and tokens after each."""
        todo = self.todo()
        done = sorted(set(range(len(self.chunks))) - set(todo))
        rows = sum(len(self.chunks[i]) for i in done)
        tokens = sum(self.tokens_in(i) for i in done)
        on_progress(Progress(STAGE_SCORE, rows, len(self.rows), tokens, self.tokens_total))
        for i in todo:
            self.run_chunk(i)
            rows += len(self.chunks[i])
            tokens += self.tokens_in(i)
            on_progress(Progress(STAGE_SCORE, rows, len(self.rows), tokens, self.tokens_total))

    def run_chunk(self, chunk: int) -> None:
        """Score one chunk and write it; a chunk on disk is left alone."""
        path = self._chunk_path(chunk)
        if path.exists():
            return
        result = self._scorer().score([self.rows[row_id] for row_id in self.chunks[chunk]])
        with replacing(path) as partial, partial.open("wb") as stream:
            np.savez(
                stream,
                row_id=np.array(self.chunks[chunk], dtype=np.int64),
                self_inf=result.self_inf.cpu().numpy(),
                loss=result.loss.cpu().numpy(),
                features=result.features.cpu().numpy().astype(np.float16),
            )

    def merge(self) -> pd.DataFrame:
        """Put the chunks together: ``scores.parquet`` and ``features.npy`` (float16 [n, f]), in input order."""
        parts = []
        features = []
        for i in range(len(self.chunks)):
            with np.load(self._chunk_path(i)) as chunk:
                parts.append(pd.DataFrame({name: chunk[name] for name in ("row_id", "self_inf", "loss")}))
                features.append(chunk["features"])
        computed = pd.concat(parts, ignore_index=True)
        position = {row_id: i for i, row_id in enumerate(computed["row_id"])}
        order = [position[row_id] for row_id in self.rows]
        table = computed.iloc[order].reset_index(drop=True)
        broken = table[~np.isfinite(table["self_inf"])]
        if len(broken):
            raise UserError(
                N_("Row {row} got no finite score from {model}; its weights may be damaged."),
                row=int(broken["row_id"].iloc[0]),
                model=self.loaded.name,
            )
        rows = list(self.rows.values())
        for name in ("answer_tokens", "answer_words", "supervised_tokens", "truncated"):
            table[name] = [getattr(row, name) for row in rows]
        table["tokens"] = [len(row.input_ids) for row in rows]
        table = with_length_unit(table, self.settings.length_unit)[list(SCORE_COLUMNS)]
        with replacing(self.folder / "scores.parquet") as partial:
            table.to_parquet(partial, index=False)
        with replacing(self.folder / "features.npy") as partial, partial.open("wb") as stream:
            np.save(stream, np.concatenate(features)[order])
        return table

    def embed(self, on_progress: OnProgress = ignore_progress) -> str | None:
        """Write ``umap.parquet`` (row_id, x, y); returns the reason when there can be no map."""
        if len(self.rows) < MIN_ROWS:
            return NO_UMAP
        on_progress(Progress(STAGE_UMAP, 0, 1))
        points = umap_embed(np.load(self.folder / "features.npy"))
        table = pd.DataFrame({"row_id": list(self.rows), "x": points[:, 0], "y": points[:, 1]})
        with replacing(self.folder / "umap.parquet") as partial:
            table.to_parquet(partial, index=False)
        on_progress(Progress(STAGE_UMAP, 1, 1))
        return None

    def _scorer(self) -> ExactLoop | GradientEngine:
        if self._engine is None:
            self._engine = _engine(self.loaded, self.settings)
        return self._engine

    def _chunk_path(self, chunk: int) -> Path:
        # Another token budget makes other chunks of the same rows.
        return self.folder / f"chunk-{self.settings.token_budget}-{chunk:05d}.npz"


def prepare(
    rows: Sequence[Row], loaded: LoadedModel, settings: ScoreSettings, parent: Path
) -> tuple[ScoringRun, list[RejectedRow]]:
    """Encode rows and open their run in a folder of ``parent`` named by content.

    Returns
    -------
    run : ScoringRun
        Finished chunks of an earlier attempt are in it already.
    unscorable : list of RejectedRow
        Rows that this model cannot score, with the reason.
    """
    chosen = list(rows)[: settings.limit]
    encoded, unscorable = encode_rows(chosen, loaded.tokenizer, settings.max_length, settings.truncate)
    content = hashlib.sha256(json.dumps([[row.row_id, row.row_hash] for row in chosen]).encode()).hexdigest()[:16]
    folder = parent / f"{content}-{settings.key(loaded.model_id)}"
    return ScoringRun(folder, loaded, encoded, settings), unscorable


def write_unscorable(folder: Path, unscorable: Sequence[RejectedRow]) -> None:
    """Write ``unscorable.parquet`` (row_id, reason, detail) beside the scores."""
    left_out = [(row.row_id, row.reason, row.detail) for row in unscorable]
    table = pd.DataFrame(left_out, columns=["row_id", "reason", "detail"])
    with replacing(folder / "unscorable.parquet") as partial:
        table.astype({"row_id": "int64", "reason": "str", "detail": "str"}).to_parquet(partial, index=False)


def batches(encoded: Sequence[EncodedRow], token_budget: int) -> list[list[int]]:
    """Group row ids into batches of similar length, longest last, each padded to at most ``token_budget`` tokens.

    A row longer than the budget is a batch of its own.
    """
    result: list[list[int]] = []
    for row in sorted(encoded, key=lambda r: (len(r.input_ids), r.row_id)):
        if result and (len(result[-1]) + 1) * len(row.input_ids) <= token_budget:
            result[-1].append(row.row_id)
        else:
            result.append([row.row_id])
    return result


def calibrate(
    loaded: LoadedModel, encoded: Sequence[EncodedRow], settings: ScoreSettings, seconds: float = 10
) -> float:
    """Measure this machine's scoring speed in tokens per second, on batches spread over the lengths of these rows.

    Stops after ``seconds``, but never before one batch is done (and one more that is not counted, which warms up).
    """
    rows = {row.row_id: row for row in encoded}
    # Small batches in random order: ten seconds then see several lengths, which differ in speed.
    groups = batches(encoded, min(settings.token_budget, CALIBRATION_BUDGET))
    order = random.Random(0).sample(range(len(groups)), len(groups))
    engine = _engine(loaded, settings)
    engine.score([rows[groups[order[0]][0]]])
    tokens, start = 0, time.perf_counter()
    for i in order:
        batch = [rows[row_id] for row_id in groups[i]]
        engine.score(batch)
        tokens += sum(len(row.input_ids) for row in batch)
        if time.perf_counter() - start > seconds:
            break
    return tokens / (time.perf_counter() - start)


def _engine(loaded: LoadedModel, settings: ScoreSettings) -> ExactLoop | GradientEngine:
    return ExactLoop(loaded.model) if settings.exact_loop else GradientEngine(loaded.model)
