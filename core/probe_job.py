"""The job `probe`, in parts that workers share: the plan, the measurement before, each fine-tune, the result."""

from typing import TYPE_CHECKING, Any

from core.attempts import Attempt
from core.progress import Progress
from core.score_job import STAGE_MODEL, STAGE_ROWS, STAGE_SPEED

if TYPE_CHECKING:
    from core.probe_plan import Plan

PLAN, BEFORE, DECIDE, COMPARE = "plan", "before", "decide", "compare"
RUN = "run:"

# The plan in this process's memory: rows are encoded and drawn once, not for each fine-tune.
_open: "tuple[str, Plan] | None" = None


def probe(attempt: Attempt) -> dict[str, Any]:
    """Have all parts done; of several doses the cheap ones first, and no dearer one once an arm is decided."""
    [plan] = attempt.in_parts([PLAN])
    attempt.in_parts([BEFORE])
    decided: list[str] = []
    for i, wave in enumerate(plan["waves"]):
        attempt.in_parts([RUN + run["key"] for run in wave if run["arm"] not in decided])
        if i + 1 < len(plan["waves"]):
            [decided] = attempt.in_parts([f"{DECIDE}:{i}"])
    attempt.in_parts([COMPARE])
    return {"probe_id": attempt.job_id}


def part_of_probe(attempt: Attempt, part: str) -> Any:
    """Do one part; each leaves a file under a content address and does nothing where the file is there."""
    from core import comparison, probe_plan
    from core import probe as probes

    plan = _opened(attempt)
    folder, settings = attempt.worker.store.probe_parts(attempt.dataset), attempt.worker.settings
    before = probes.measure_before(plan, folder, settings, attempt.report)
    result: Any = None
    if part == PLAN:
        result = {"waves": [[{"key": run.key, "arm": run.arm.base} for run in wave] for wave in probe_plan.waves(plan)]}
    elif part.startswith(RUN):
        run = plan.run(part.removeprefix(RUN))
        place = plan.runs.index(run)
        probes.measure_run(plan, run, folder, settings, _with_place(attempt, place, len(plan.runs)))
    elif part.startswith(DECIDE):
        result = comparison.decided(plan, before, probes.finished(plan, folder))
    elif part == COMPARE:
        found = comparison.compare(plan, before, probes.finished(plan, folder), attempt.dataset)
        attempt.worker.store.save_probe_result(attempt.job_id, found.model_dump(mode="json"))
    attempt.step_finished()
    return result


def estimate_probe(attempt: Attempt) -> dict[str, Any]:
    """Measure how long a probe would take on this machine."""
    plan = _opened(attempt)
    from core.probe_time import expected, measure_speed

    attempt.stage_begins(STAGE_SPEED)
    found = expected(plan, measure_speed(plan), attempt.worker.store.probe_parts(attempt.dataset))
    return found.model_dump(mode="json")


def _with_place(attempt: Attempt, place: int, total: int) -> Any:
    def report(progress: Progress) -> None:
        attempt.report(progress, place + 1, total)

    return report


def _opened(attempt: Attempt) -> "Plan":
    global _open
    if _open is None or _open[0] != attempt.workflow_id:
        _open = None  # two plans may not fit into memory
        _open = (attempt.workflow_id, _planned(attempt))
    return _open[1]


def _planned(attempt: Attempt) -> "Plan":
    attempt.stage_begins(STAGE_MODEL)
    from core.probe_plan import plan_probe
    from core.probe_settings import ProbeSettings

    settings = ProbeSettings.model_validate(attempt.spec["settings"])
    loaded = attempt.load_model(settings.model)
    attempt.stage_begins(STAGE_ROWS)
    store = attempt.worker.store
    table = store.rows(attempt.dataset)
    held_out = set(table.loc[table["holdout"], "row_id"].tolist())
    scores = store.scores(attempt.spec["run_id"]) if attempt.spec["run_id"] else None
    return plan_probe(loaded, settings, store.load_rows(attempt.dataset), held_out, attempt.spec["flagged"], scores)
