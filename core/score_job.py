"""The jobs `score` and `estimate`, step by step."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from dbos import DBOS

from core import database
from core.attempts import Attempt
from core.errors import UserError
from core.files import replacing
from core.i18n import N_
from core.progress import Progress
from core.runs import ScoreSettings
from core.store import insert_into
from core.tables import ScoreRunRow, utc_now

if TYPE_CHECKING:
    from core.rows import RejectedRow
    from core.scoring import ScoringRun

STAGE_MODEL = N_("Loading the model")
STAGE_ROWS = N_("Reading the rows")
STAGE_MERGE = N_("Putting the scores together")
STAGE_SPEED = N_("Measuring this machine's speed")


@dataclass
class OpenRun:
    """A scoring run in this process's memory."""

    key: tuple[str, str]
    settings: ScoreSettings
    run: "ScoringRun"
    unscorable: "list[RejectedRow]"
    todo: set[int]
    rows_done: int
    tokens_done: int
    tokens_total: int

    @property
    def run_id(self) -> str:
        """Address of the result: the run's folder holds gradients, which do not depend on the length unit."""
        dataset = self.run.folder.parent.parent.name
        text = f"{dataset}|{self.run.folder.name}|{self.settings.length_unit}"
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def progress(self) -> Progress:
        """Rows and tokens in finished chunks."""
        from core.scoring import STAGE_SCORE

        return Progress(STAGE_SCORE, self.rows_done, len(self.run.rows), self.tokens_done, self.tokens_total)


_open: OpenRun | None = None


def score(attempt: Attempt) -> dict[str, Any]:
    """Score a dataset: a durable step per chunk, then merge, map and record."""
    plan = DBOS.run_step({"name": "plan"}, _plan, attempt)
    if not plan["finished"]:
        for chunk in range(plan["chunks"]):
            DBOS.run_step({"name": "chunk"}, _chunk, attempt, plan["folder"], chunk)
        DBOS.run_step({"name": "merge"}, _merge, attempt, plan["folder"])
        no_map = DBOS.run_step({"name": "map"}, _map, attempt, plan["folder"])
        DBOS.run_step({"name": "record"}, _record, attempt, plan["folder"], no_map)
    return {"run_id": plan["run_id"]}


def estimate(attempt: Attempt) -> dict[str, Any]:
    """Measure for ten seconds how fast this machine scores these rows."""
    opened = _opened(attempt)
    from core.scoring import calibrate

    attempt.stage_begins(STAGE_SPEED)
    rows = list(opened.run.rows.values())
    speed = calibrate(attempt.load_model(opened.settings.model), rows, opened.settings)
    left = opened.tokens_total - opened.tokens_done
    return {
        "rows": len(rows),
        "unscorable": len(opened.unscorable),
        "tokens": opened.tokens_total,
        "tokens_left": left,
        "tokens_per_second": speed,
        "seconds": left / speed,
    }


def _plan(attempt: Attempt) -> dict[str, Any]:
    opened = _opened(attempt)
    finished = any(run.run_id == opened.run_id for run in attempt.worker.store.score_runs(attempt.dataset))
    return {
        "run_id": opened.run_id,
        "folder": opened.run.folder.name,
        "chunks": len(opened.run.chunks),
        "finished": finished and (opened.run.folder / "scores.parquet").exists(),
    }


def _chunk(attempt: Attempt, folder: str, chunk: int) -> None:
    opened = _opened(attempt, folder)
    attempt.report(opened.progress())
    if chunk in opened.todo:
        opened.run.run_chunk(chunk)
        opened.todo.discard(chunk)
        opened.rows_done += len(opened.run.chunks[chunk])
        opened.tokens_done += opened.run.tokens_in(chunk)
        attempt.step_finished()
        attempt.report(opened.progress())


def _merge(attempt: Attempt, folder: str) -> None:
    opened = _opened(attempt, folder)
    attempt.stage_begins(STAGE_MERGE)
    opened.run.merge()
    left_out = [(row.row_id, row.reason, row.detail) for row in opened.unscorable]
    table = pd.DataFrame(left_out, columns=["row_id", "reason", "detail"])
    with replacing(opened.run.folder / "unscorable.parquet") as temporary:
        table.astype({"row_id": "int64", "reason": "str", "detail": "str"}).to_parquet(temporary, index=False)


def _map(attempt: Attempt, folder: str) -> str | None:
    return _opened(attempt, folder).run.embed(attempt.report)


def _record(attempt: Attempt, folder: str, no_map: str | None) -> None:
    global _open
    opened = _opened(attempt, folder)
    store = attempt.worker.store
    values = {
        "dataset": attempt.dataset,
        "job_id": attempt.job_id,
        "model": opened.run.loaded.model_id,
        "model_name": opened.run.loaded.name,
        "settings": opened.settings.model_dump(mode="json"),
        "n_rows": len(opened.run.rows),
        "n_unscorable": len(opened.unscorable),
        "umap_skipped": no_map,
        "folder": str(opened.run.folder.relative_to(store.settings.workspace).as_posix()),
        "created_at": utc_now(),
        "created_by": attempt.actor,
    }
    with database.writing(store.url) as session:
        insert = insert_into(session, ScoreRunRow).values(run_id=opened.run_id, **values)
        session.execute(insert.on_conflict_do_update(index_elements=[ScoreRunRow.run_id], set_=values))
    _open = None


def _opened(attempt: Attempt, folder: str | None = None) -> OpenRun:
    """Return the attempt's run, opened once per process: loading and encoding is not done for each chunk."""
    global _open
    key = (attempt.workflow_id, attempt.job_id)
    if _open is None or _open.key != key:
        attempt.stage_begins(STAGE_MODEL)
        from core.scoring import prepare

        settings = ScoreSettings(**attempt.spec["settings"])
        loaded = attempt.load_model(settings.model)
        attempt.stage_begins(STAGE_ROWS)
        rows = attempt.worker.store.load_rows(attempt.dataset)
        parent = attempt.worker.store.dataset_folder(attempt.dataset) / "scores"
        run, unscorable = prepare(rows, loaded, settings, parent)
        todo, total = set(run.todo()), run.tokens_total
        rows_left = sum(len(run.chunks[i]) for i in todo)
        tokens_left = sum(run.tokens_in(i) for i in todo)
        done = (len(run.rows) - rows_left, total - tokens_left)
        _open = OpenRun(key, settings, run, unscorable, todo, *done, total)
    if folder is not None and _open.run.folder.name != folder:
        raise UserError(
            N_("The model {model} has changed since this job began; start a new one."),
            model=_open.settings.model,
        )
    return _open
