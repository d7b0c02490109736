"""The jobs `score` and `estimate`, step by step."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from dbos import DBOS

from core.attempts import Attempt
from core.errors import UserError
from core.i18n import N_
from core.progress import Progress
from core.runs import ScoreSettings, run_address

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
        return run_address(dataset, self.run.folder.name, self.settings.length_unit)

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
    from core.scoring import write_unscorable

    opened.run.merge()
    write_unscorable(opened.run.folder, opened.unscorable)


def _map(attempt: Attempt, folder: str) -> str | None:
    return _opened(attempt, folder).run.embed(attempt.report)


def _record(attempt: Attempt, folder: str, no_map: str | None) -> None:
    global _open
    opened = _opened(attempt, folder)
    attempt.worker.store.add_score_run(
        dataset=attempt.dataset,
        folder=opened.run.folder,
        model=opened.run.loaded.model_id,
        model_name=opened.run.loaded.name,
        settings=opened.settings.model_dump(mode="json"),
        n_rows=len(opened.run.rows),
        n_unscorable=len(opened.unscorable),
        template=opened.run.loaded.template,
        umap_skipped=no_map,
        job_id=attempt.job_id,
        actor=attempt.actor,
    )
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
