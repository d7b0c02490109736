"""The job `probe`: measure, fine-tune a copy, measure again."""

from typing import TYPE_CHECKING, Any, NamedTuple

from dbos import DBOS

from core.attempts import Attempt
from core.files import write_json
from core.probe_settings import ProbeSettings
from core.score_job import STAGE_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from core.models import LoadedModel
    from core.rows import RejectedRow, Row
    from core.safety.prompts import Prompt


def probe(attempt: Attempt) -> dict[str, Any]:
    """Probe a model with rows of a dataset; the measurement before is kept for later probes."""
    DBOS.run_step({"name": "before"}, _before, attempt)
    DBOS.run_step({"name": "after"}, _after, attempt)
    return {"probe_id": attempt.job_id}


class _Prepared(NamedTuple):
    settings: ProbeSettings
    loaded: "LoadedModel"
    prompts: "list[Prompt]"
    rejected: "list[RejectedRow]"
    benign: "list[Row]"
    before: "Path"


def _before(attempt: Attempt) -> None:
    _measure_before(attempt, _prepared(attempt))
    attempt.step_finished()


def _after(attempt: Attempt) -> None:
    ready = _prepared(attempt)
    from core.probe import compare, run_after
    from core.probe_result import Evaluation

    # There already, unless the worker that ran the step before had another release of torch.
    _measure_before(attempt, ready)
    before = Evaluation.model_validate_json(ready.before.read_bytes())
    chosen = set(attempt.spec["row_ids"])
    rows = [row for row in attempt.worker.store.load_rows(attempt.dataset) if row.row_id in chosen]
    run = run_after(
        ready.loaded, ready.settings, rows, ready.prompts, ready.benign, attempt.report, attempt.spec["arm"]
    )
    held_out = attempt.spec["held_out"]
    result = compare(ready.loaded, ready.settings, before, run, attempt.dataset, held_out, ready.rejected).model_dump(
        mode="json"
    )
    attempt.worker.store.save_probe_result(attempt.job_id, result)
    attempt.step_finished()


def _measure_before(attempt: Attempt, ready: _Prepared) -> None:
    from core.probe import run_before

    if not ready.before.exists():
        before = run_before(ready.loaded, ready.settings, ready.prompts, ready.benign, attempt.report)
        write_json(ready.before, before.model_dump(mode="json"))


def _prepared(attempt: Attempt) -> _Prepared:
    attempt.stage_begins(STAGE_MODEL)
    from core.probe import baseline_key, choose_benign, load_prompts

    settings = ProbeSettings(**attempt.spec["settings"])
    loaded = attempt.load_model(settings.model)
    store = attempt.worker.store
    table = store.rows(attempt.dataset)
    held_out = set(table.loc[table["holdout"], "row_id"].tolist())
    benign = choose_benign([r for r in store.load_rows(attempt.dataset) if r.row_id in held_out], settings)
    prompts, rejected = load_prompts(settings)
    key = baseline_key(loaded.model_id, settings, prompts, benign)
    return _Prepared(settings, loaded, prompts, rejected, benign, store.before_path(attempt.dataset, key))
