"""Before and after side by side: every arm against before, against its control, and against the other arms."""

import platform
from collections.abc import Sequence

from core import arms as arms_
from core.arms import ArmSpec
from core.assessment import assess, difference_to, seconds_of
from core.i18n import N_
from core.policy import DEFAULT_POLICY, Policy, stop_level
from core.probe_plan import Plan, version
from core.probe_result import ArmRun, Evaluation, LeftOut, ProbeResult, Skipped
from core.releases import decisions_hash
from core.safety.differences import SEEDS_FOR_INTERVAL
from core.safety.metrics import mean
from core.wording import Note

PACKAGES = ("torch", "transformers", "peft", "tokenizers", "garak")
FEW_BENIGN = 5  # fewer held-out prompts than this say next to nothing


def compare(
    plan: Plan,
    before: Evaluation,
    runs: Sequence[ArmRun],
    dataset: str = "",
    data: str = "",
    policy: Policy = DEFAULT_POLICY,
    policy_version: int | None = None,
) -> ProbeResult:
    """Put all measurements of a probe together.

    Parameters
    ----------
    plan : Plan
    before : Evaluation
    runs : sequence of ArmRun
        The fine-tunes that are done; doses left out because a cheaper one decided are named in the result.
    dataset, data : str
        Its fingerprint; file or hub id where it came from the command line.
    policy, policy_version
        Stop criteria in force.

    Raises
    ------
    ValueError
        When before and after were not the same test of the same base model.
    """
    for run in runs:
        if run.evaluation.key != before.key:
            raise ValueError(f"before ({before.key}) and after ({run.evaluation.key}) are different tests")
    tokens = {
        arm.name: mean([float(row.supervised_tokens) for run in plan.runs if run.arm == arm for row in run.rows])
        for arm in plan.arms
    }
    settings = plan.settings
    found = assess(settings, before, runs, tokens, policy, policy_version)
    notes = _notes(plan)
    return ProbeResult(
        model_id=plan.loaded.model_id,
        model_name=plan.loaded.name,
        target_model=settings.target_model,
        template=plan.loaded.template,
        dataset=dataset,
        data=data,
        flagged=list(plan.flagged),
        decisions=decisions_hash(plan.flagged),
        settings=settings.model_dump(mode="json"),
        seeds=list(plan.seeds),
        size=plan.size,
        test=before.key,
        before_drift=before.drift,
        before_benign_losses=before.benign_losses,
        before_task_losses=before.task_losses,
        **found,
        skipped=[_skipped(arm) for arm in plan.arms if arm.name not in found["arms"]],
        timings={"before": before.seconds}
        | {f"{run.arm} {run.seed} {part}": seconds for run in runs for part, seconds in seconds_of(run).items()},
        versions={"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        rejected_prompts=[LeftOut(row_id=r.row_id, line=r.line, reason=r.reason) for r in plan.rejected_prompts],
        left_out=[LeftOut(row_id=r.row_id, line=r.line, reason=r.reason) for r in plan.left_out],
        held_out=plan.held_out,
        notes=notes,
        note=" ".join(note.text for note in notes),
    )


def decided(plan: Plan, before: Evaluation, runs: Sequence[ArmRun], policy: Policy = DEFAULT_POLICY) -> list[str]:
    """Return the arms (without their doses) of which a dose already goes beyond the limit of harmful compliance."""
    limit = next((c.change for c in policy.criteria if c.metric == "harmful_compliance"), None)
    found = set()
    for arm in plan.arms:
        done = [run for run in runs if run.arm == arm.name]
        if limit is None or not arm.overrides or len(done) < len(plan.seeds):
            continue
        change = difference_to("harmful_compliance", before, done, stop_level(policy, "harmful_compliance"))
        if change.low is not None and change.low > limit:
            found.add(arm.base)
    return sorted(found)


def _skipped(arm: ArmSpec) -> Skipped:
    return Skipped(
        arm=arm.name,
        note=Note(
            template=N_("Not run: a smaller dose of {arm} already goes beyond the limit."), params={"arm": arm.base}
        ),
    )


def _notes(plan: Plan) -> list[Note]:
    """Say in plain words what this probe can and cannot show."""
    asked, seeds = plan.settings, len(plan.seeds)
    notes = [
        Note(
            template=N_(
                "{n} harmful and {benign} benign prompts; answers of at most {tokens} tokens; {rows} rows per arm, cut "
                "at {length} tokens; seeds per arm: {seeds}."
            ),
            params={
                "n": len(plan.prompts),
                "benign": len(plan.benign),
                "tokens": asked.max_new_tokens,
                "rows": plan.size,
                "length": asked.max_length,
                "seeds": seeds,
            },
        )
    ]
    if seeds < SEEDS_FOR_INTERVAL:
        notes.append(
            Note(
                template=N_(
                    "Intervals cover the choice of prompts, for these {seeds} seeds; another seed may give another "
                    "result. From {enough} seeds on the intervals cover seeds too."
                ),
                params={"seeds": seeds, "enough": SEEDS_FOR_INTERVAL},
            )
        )
    if not any(arm.kind == arms_.MATCHED for arm in plan.arms):
        template = N_(
            "Without a length-matched arm nothing says whether these rows or fine-tuning itself is the cause."
        )
        notes.append(Note(template=template))
    if asked.judge.name == "phrases":
        template = N_("Refusals are recognised by their wording; read the answers before you rely on a figure.")
        notes.append(Note(template=template))
    if len(plan.benign) < FEW_BENIGN:
        template = N_("There are too few held-out rows: utility and over-refusal are not measured well.")
        notes.append(Note(template=template))
    counts = {
        N_("Chosen rows that are held out for measuring and were not trained on: {count}."): plan.held_out,
        N_("Rows that could not be encoded for this model and were not trained on: {count}."): len(plan.left_out),
        N_("Records of the prompt file that could not be used: {count}."): len(plan.rejected_prompts),
    }
    notes += [Note(template=template, params={"count": count}) for template, count in counts.items() if count]
    return notes
