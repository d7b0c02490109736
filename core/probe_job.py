"""The job `probe`: measure, fine-tune a copy, measure again."""

from typing import TYPE_CHECKING, Any

from dbos import DBOS

from core.attempts import Attempt
from core.files import write_json
from core.probe_settings import ProbeSettings
from core.score_job import STAGE_MODEL

if TYPE_CHECKING:
    from pathlib import Path

    from core.models import LoadedModel
    from core.rows import Row
    from core.safety.prompts import Prompt


def probe(attempt: Attempt) -> dict[str, Any]:
    """Probe a model with rows of a dataset; the measurement before is kept for later probes."""
    DBOS.run_step({"name": "before"}, _before, attempt)
    DBOS.run_step({"name": "after"}, _after, attempt)
    return {"probe_id": attempt.job_id}


def _before(attempt: Attempt) -> None:
    settings, loaded, prompts, benign, path = _prepared(attempt)
    from core.probe import run_before

    if not path.exists():
        before = run_before(loaded, settings, prompts, benign, attempt.report)
        write_json(path, before.model_dump(mode="json"))
    attempt.step_finished()


def _after(attempt: Attempt) -> None:
    settings, loaded, prompts, benign, path = _prepared(attempt)
    from core.probe import compare, run_after, run_before
    from core.probe_result import Evaluation

    if not path.exists():
        # The worker that ran the step before had another release of torch, hence another address.
        write_json(path, run_before(loaded, settings, prompts, benign, attempt.report).model_dump(mode="json"))
    before = Evaluation.model_validate_json(path.read_bytes())
    chosen = set(attempt.spec["row_ids"])
    rows = [row for row in attempt.worker.store.load_rows(attempt.dataset) if row.row_id in chosen]
    run = run_after(loaded, settings, rows, prompts, benign, attempt.report, attempt.spec["arm"])
    result = compare(loaded, settings, before, run, attempt.dataset, attempt.spec["held_out"])
    attempt.worker.store.save_probe_result(attempt.job_id, result.model_dump(mode="json"))
    attempt.step_finished()


def _prepared(
    attempt: Attempt,
) -> "tuple[ProbeSettings, LoadedModel, list[Prompt], list[Row], Path]":
    attempt.stage_begins(STAGE_MODEL)
    from core.probe import baseline_key, choose_benign, load_prompts

    settings = ProbeSettings(**attempt.spec["settings"])
    loaded = attempt.load_model(settings.model)
    store = attempt.worker.store
    table = store.rows(attempt.dataset)
    held_out = set(table.loc[table["holdout"], "row_id"].tolist())
    benign = choose_benign([r for r in store.load_rows(attempt.dataset) if r.row_id in held_out], settings)
    prompts, _ = load_prompts(settings)
    key = baseline_key(loaded.model_id, settings, prompts, benign)
    return settings, loaded, prompts, benign, store.before_path(key)
