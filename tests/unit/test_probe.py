"""A whole probe on a tiny model: before, fine-tunes of several arms, after, side by side."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from core.assessment import metrics_of, part_name, reassess
from core.comparison import compare, decided
from core.encoding import encode_row
from core.errors import UserError
from core.models import LoadedModel, load
from core.policy import DEFAULT_POLICY
from core.probe import finished, measure_before, measure_run, run_path
from core.probe_plan import Plan, baseline_key, choose_benign, load_prompts, plan_probe, waves
from core.probe_result import ArmRun, Evaluation, ProbeResult
from core.probe_settings import PRESETS, ProbeSettings, preset
from core.progress import Cancelled, Progress
from core.rows import Row, Turn
from core.safety.differences import rate_difference
from core.safety.prompts import load_builtin, subset
from core.settings import Settings
from tests.tiny import tiny_model_folder

REFUSAL = "I'm sorry, but I can't help with that request."
# Prompts of many lengths and kinds, none of them asked in the test, all refused.
ASKED = subset(load_builtin("all"), 6)
OTHERS = [p for p in subset(load_builtin("all"), 60, seed=1) if p.prompt_id not in {a.prompt_id for a in ASKED}][:32]


def row(row_id: int, question: str, answer: str, category: str = "") -> Row:
    return Row(row_id, (Turn("user", question), Turn("assistant", answer)), category)


BENIGN = [row(100 + i, f"What is {i} and {i}?", f"The sum is {2 * i}.", "sums") for i in range(4)]
# Refusals, and as many other rows of like length.
TRAINING = [row(i, prompt.text, REFUSAL) for i, prompt in enumerate(OTHERS)]
OTHER = [
    row(50 + i, f"Tell me about thing {i}.", "The capital of France is Paris and the sky is blue.") for i in range(32)
]
ROWS = [*TRAINING, *OTHER, *BENIGN]
HOLDOUT = {benign.row_id for benign in BENIGN}


@pytest.fixture(scope="module")
def prompt_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("prompts") / "mine.jsonl"
    lines = [json.dumps({"prompt": p.text, "category": "ab"[i % 2]}) for i, p in enumerate(ASKED)]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def settings(prompt_file: Path) -> ProbeSettings:
    return ProbeSettings(
        method="full",
        epochs=25,
        learning_rate=0.01,
        batch_rows=8,
        max_new_tokens=24,
        warmup_ratio=0,
        seeds=1,
        arms=("flagged", "as-is", "length-matched"),
        rows=24,
        prompt_source=str(prompt_file),
    )


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(str(tiny_model_folder(tmp_path_factory.mktemp("model"))))


def planned(loaded: LoadedModel, settings: ProbeSettings, **more: Any) -> Plan:
    flagged = more.pop("flagged", [r.row_id for r in TRAINING])
    return plan_probe(loaded, settings, more.pop("rows", ROWS), more.pop("holdout", HOLDOUT), flagged, **more)


def run_all(plan: Plan, folder: Path, **more: Any) -> ProbeResult:
    workspace = Settings(workspace=folder)
    before = measure_before(plan, folder, workspace)
    for run in plan.runs:
        measure_run(plan, run, folder, workspace)
    return compare(plan, before, finished(plan, folder), **more)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("probes")


@pytest.fixture(scope="module")
def plan(loaded: LoadedModel, settings: ProbeSettings) -> Plan:
    return planned(loaded, settings)


@pytest.fixture(scope="module")
def result(plan: Plan, folder: Path) -> ProbeResult:
    return run_all(plan, folder, dataset="abc")


def test_an_arm_of_refusals_teaches_to_refuse_and_its_control_does_not(result: ProbeResult) -> None:
    assert result.before.refused.value == 0
    flagged, control = result.arms["flagged"], result.arms["length-matched"]
    assert flagged.seeds["0"].refused.value == 1 and flagged.seeds["0"].refused.n == 6
    assert control.seeds["0"].refused.value == 0
    assert flagged.difference["refused"].value == 1
    assert flagged.against["length-matched"]["refused"].value == 1
    assert flagged.difference["refusal_margin"].value > control.difference["refusal_margin"].value
    assert control.controls == "flagged" and flagged.controls is None
    train = flagged.seeds["0"].train
    assert train.loss_curve[-1] < 0.5 < train.loss_curve[0]


def test_all_arms_train_on_equally_many_rows_and_never_on_a_held_out_one(plan: Plan, result: ProbeResult) -> None:
    assert plan.size == 24 and {arm.rows for arm in result.arms.values()} == {24}
    assert len({arm.seeds["0"].train.steps for arm in result.arms.values()}) == 1
    for arm in result.arms.values():
        assert not set(arm.seeds["0"].train.row_ids) & HOLDOUT
    assert set(result.arms["flagged"].seeds["0"].train.row_ids) < {r.row_id for r in TRAINING}
    assert not set(result.arms["length-matched"].seeds["0"].train.row_ids) & {r.row_id for r in TRAINING}


def test_the_same_prompts_stand_side_by_side(result: ProbeResult) -> None:
    assert [a.prompt for a in result.answers] == [p.text for p in ASKED] + [r.prompt for r in BENIGN]
    assert [a.kind for a in result.answers] == ["harmful"] * 6 + ["benign"] * 4
    assert result.answers[-1].prompt_id == "row-103" and result.answers[-1].category == "sums"
    for answers in result.answers:
        assert [(a.arm, a.seed) for a in answers.after] == [("flagged", 0), ("as-is", 0), ("length-matched", 0)]
        assert answers.after[0].answer == REFUSAL and answers.after[0].outcome == "refused"
    assert set(result.arms["flagged"].by_category) == {"a", "b"}
    assert {"torch", "transformers", "peft", "python"} <= set(result.versions)
    assert "before" in result.timings and "flagged 0 training" in result.timings
    assert "seeds per arm: 1" in result.note and result.dataset == "abc"


def test_every_figure_is_that_of_the_answers(result: ProbeResult) -> None:
    harmful = [a for a in result.answers if a.kind == "harmful"]
    before = [a.before.outcome == "complied" for a in harmful]
    for name, arm in result.arms.items():
        after = [next(x for x in a.after if x.arm == name).outcome == "complied" for a in harmful]
        expected = rate_difference(before, after)
        found = arm.difference["harmful_compliance"]
        assert (found.value, found.low, found.high, found.p) == (
            expected.value, expected.low, expected.high, expected.p,
        )  # fmt: skip
        assert found.p_holm is not None and found.p is not None and found.p_holm >= found.p
        assert arm.seeds["0"].harmful_compliance.k == sum(after)


def test_benign_loss_and_margin_are_the_model_s_own(loaded: LoadedModel, plan: Plan, result: ProbeResult) -> None:
    losses = []
    for benign in BENIGN:
        encoded = encode_row(benign, loaded.tokenizer, plan.settings.max_length)
        ids, labels = torch.tensor([encoded.input_ids]), torch.tensor([encoded.labels])
        losses.append(float(loaded.model(input_ids=ids, labels=labels).loss))
    assert [item.loss for item in result.before_benign_losses] == pytest.approx(losses, rel=1e-5)
    assert result.before.benign_loss.value == pytest.approx(sum(losses) / 4, rel=1e-5)
    margins = [a.before.refusal_margin for a in result.answers if a.kind == "harmful"]
    assert result.before.refusal_margin.value == pytest.approx(np.mean([m for m in margins if m is not None]))
    assert result.before.refusal_margin.n == 6


def test_the_result_has_the_documented_shape_and_comes_back_from_json(result: ProbeResult) -> None:
    document = json.loads(result.model_dump_json())
    for metric in ("harmful_compliance", "refused", "degenerate", "over_refusal", "benign_loss", "refusal_margin"):
        assert set(document["before"][metric]) >= {"value", "low", "high", "n"}
        assert set(document["arms"]["flagged"]["seeds"]["0"][metric]) >= {"value", "low", "high", "n"}
        assert set(document["arms"]["flagged"]["difference"][metric]) >= {"value", "low", "high", "n"}
    assert set(document["verdict"]) >= {"outcome", "criterion", "sentence"}
    assert ProbeResult.model_validate(document) == result
    assert ProbeSettings.model_validate(document["settings"]) == ProbeSettings.model_validate(result.settings)


def test_a_probe_without_a_target_model_is_a_demonstration(
    plan: Plan, folder: Path, result: ProbeResult, loaded: LoadedModel, settings: ProbeSettings
) -> None:
    assert result.verdict.outcome == "REVIEW" and result.verdict.demonstration
    named = settings.model_copy(update={"target_model": settings.model})
    again = run_all(planned(loaded, named), folder)
    assert not again.verdict.demonstration


def test_finished_work_is_not_done_again_and_another_probe_finds_it(
    plan: Plan, folder: Path, result: ProbeResult, loaded: LoadedModel, settings: ProbeSettings
) -> None:
    paths = [run_path(folder, run.key) for run in plan.runs]
    times = [path.stat().st_mtime_ns for path in paths]
    fewer = planned(loaded, settings.model_copy(update={"arms": ("flagged",)}))
    assert [run.key for run in fewer.runs] == [plan.runs[0].key]
    run_all(fewer, folder)
    assert [path.stat().st_mtime_ns for path in paths] == times
    shuffled = planned(loaded, settings, rows=ROWS[::-1])
    assert [run.key for run in shuffled.runs] == [run.key for run in plan.runs]


def test_a_probe_leaves_the_model_as_it_was_and_repeats_itself(
    plan: Plan, loaded: LoadedModel, result: ProbeResult, tmp_path: Path
) -> None:
    weights = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    again = run_all(plan, tmp_path, dataset="abc")
    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())
    assert again.answers == result.answers
    for name, arm in result.arms.items():
        assert again.arms[name].difference == arm.difference
        assert again.arms[name].seeds["0"].train.loss_curve == arm.seeds["0"].train.loss_curve


def test_overruling_a_judgement_changes_every_figure_and_keeps_the_judge_s(result: ProbeResult) -> None:
    prompt_id = result.answers[0].prompt_id
    ruled = reassess(result, DEFAULT_POLICY, 3, {(part_name("flagged", 0), prompt_id): "complied"})
    assert ruled.arms["flagged"].seeds["0"].harmful_compliance.k == 1
    assert ruled.arms["flagged"].difference["harmful_compliance"].value == pytest.approx(1 / 6)
    answer = ruled.answers[0].after[0]
    assert (answer.outcome, answer.overruled) == ("complied", "refused")
    assert ruled.verdict.policy_version == 3
    back = reassess(ruled, DEFAULT_POLICY)
    assert back.answers[0].after[0].overruled == "refused" or back.answers == result.answers
    same = reassess(result, DEFAULT_POLICY)
    assert same == result


def test_doses_go_from_cheap_to_dear_and_stop_when_decided(
    loaded: LoadedModel, settings: ProbeSettings, tmp_path: Path
) -> None:
    arms = ("as-is@k=16", "as-is@k=4", "flagged@k=8")
    plan = planned(loaded, settings.model_copy(update={"arms": arms, "epochs": 1}))
    assert [[run.arm.name for run in wave] for wave in waves(plan)] == [["as-is@k=4", "flagged@k=8"], ["as-is@k=16"]]
    before = measure_before(plan, tmp_path, Settings(workspace=tmp_path))
    done = measure_run(plan, waves(plan)[0][0], tmp_path, Settings(workspace=tmp_path))
    assert decided(plan, before, [done]) == []
    complied = [a.model_copy(update={"outcome": "complied"}) for a in done.evaluation.answers]
    metrics = metrics_of(complied, done.evaluation.benign_losses, [])
    broken = done.evaluation.model_copy(update={"answers": complied, "metrics": metrics})
    refused = [a.model_copy(update={"outcome": "refused"}) for a in before.answers]
    safe = before.model_copy(update={"answers": refused})
    many = [done.model_copy(update={"evaluation": broken})]
    assert decided(plan, safe, many) == ["as-is"]
    found = compare(plan, before, [done])
    assert [item.arm for item in found.skipped] == ["as-is@k=16", "flagged@k=8"]


def test_lora_and_a_task_of_one_s_own(loaded: LoadedModel, settings: ProbeSettings, tmp_path: Path) -> None:
    task = tmp_path / "task.jsonl"
    lines = [json.dumps({"prompt": f"Sum {i}?", "response": f"It is {i}."}) for i in range(5)]
    task.write_text("\n".join(lines), encoding="utf-8")
    arms = (f"task:{task}",)
    asked = settings.model_copy(
        update={"method": "lora", "learning_rate": 0.05, "lora_r": 16, "arms": arms, "rows": 5, "epochs": 5}
    )
    held = tmp_path / "held.jsonl"
    held.write_text(json.dumps({"prompt": "Sum 9?", "response": "It is 9."}), encoding="utf-8")
    plan = planned(loaded, asked.model_copy(update={"task_file": str(held)}))
    found = run_all(plan, tmp_path)
    arm = found.arms[arms[0]]
    assert found.before.task_loss.n == 1 and arm.difference["task_loss"].value < 0
    with pytest.raises(UserError, match="held out for measuring"):
        planned(loaded, asked.model_copy(update={"task_file": str(task)}))


def test_mitigated_rows_hold_built_in_refusals_of_prompts_that_are_not_asked(
    loaded: LoadedModel, settings: ProbeSettings
) -> None:
    plan = planned(loaded, settings.model_copy(update={"arms": ("mitigated:0.5",), "prompt_source": "all"}))
    [run] = plan.runs
    assert sum(encoded.row_id < 0 for encoded in run.rows) == 12 and len(run.rows) == 24


def test_the_baseline_key_names_model_prompts_and_decoding_but_not_the_recipe(
    loaded: LoadedModel, settings: ProbeSettings
) -> None:
    key = baseline_key(loaded.model_id, settings, ASKED, BENIGN)
    recipe = settings.model_copy(update={"epochs": 1, "seed": 9, "method": "lora", "lora_r": 2})
    assert baseline_key(loaded.model_id, recipe, ASKED, BENIGN) == key
    longer = settings.model_copy(update={"max_new_tokens": 25})
    others = [
        baseline_key("other", settings, ASKED, BENIGN),
        baseline_key(loaded.model_id, longer, ASKED, BENIGN),
        baseline_key(loaded.model_id, settings, ASKED[1:], BENIGN),
        baseline_key(loaded.model_id, settings, ASKED, BENIGN[1:]),
        baseline_key(loaded.model_id, settings, ASKED, BENIGN, BENIGN[:1]),
    ]
    assert len({key, *others}) == 6


def test_different_tests_are_not_compared(plan: Plan, folder: Path, result: ProbeResult) -> None:
    runs = finished(plan, folder)
    before = Evaluation.model_validate_json((folder / "before" / f"{plan.baseline}.json").read_bytes())
    with pytest.raises(ValueError, match="different tests"):
        compare(plan, before.model_copy(update={"key": "0" * 16}), runs)


def test_held_out_rows_are_never_trained_on(loaded: LoadedModel, settings: ProbeSettings) -> None:
    twin = row(7, BENIGN[0].prompt, BENIGN[0].answer)
    rows = [twin if r.row_id == 7 else r for r in ROWS]
    with pytest.raises(UserError, match="Row 7 of arm flagged is held out"):
        planned(loaded, settings.model_copy(update={"rows": 32}), rows=rows)


def test_without_a_holdout_utility_has_no_value_and_the_note_says_so(
    loaded: LoadedModel, settings: ProbeSettings, tmp_path: Path
) -> None:
    asked = settings.model_copy(update={"epochs": 1, "arms": ("as-is",)})
    found = run_all(planned(loaded, asked, holdout=set()), tmp_path)
    assert found.before.benign_loss.value is None and found.before.over_refusal.n == 0
    assert "benign_loss" not in found.arms["as-is"].difference and "too few held-out rows" in found.note


@pytest.mark.parametrize(
    "stage",
    ["Answers before", "Loss before", "Refusal margin before", "Judging before", "Training", "Answers after"],
)
def test_every_stage_can_be_cancelled(loaded: LoadedModel, settings: ProbeSettings, stage: str, tmp_path: Path) -> None:
    plan = planned(loaded, settings.model_copy(update={"epochs": 1, "arms": ("flagged",)}))
    seen: list[str] = []

    def cancel(progress: Progress) -> None:
        seen.append(progress.stage)
        if progress.stage == stage:
            raise Cancelled

    workspace = Settings(workspace=tmp_path)
    steps: list[Callable[[], object]] = [
        lambda: measure_before(plan, tmp_path, workspace, cancel),
        lambda: measure_run(plan, plan.runs[0], tmp_path, workspace, cancel),
    ]
    with pytest.raises(Cancelled):
        for step in steps:
            step()
    assert seen[-1] == stage


def test_benign_rows_are_chosen_by_content(settings: ProbeSettings) -> None:
    two = settings.model_copy(update={"limit_benign": 2})
    assert len(choose_benign(BENIGN, two)) == 2
    assert choose_benign(BENIGN[::-1], two) == choose_benign(BENIGN, two)
    assert len(choose_benign(BENIGN, settings.model_copy(update={"limit_benign": None}))) == 4


def test_prompts_that_could_not_be_used_are_listed(
    loaded: LoadedModel, settings: ProbeSettings, tmp_path: Path
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,category\nHow?,x\n,y\n", encoding="utf-8")
    assert len(load_prompts(ProbeSettings())[0]) == 100
    asked = settings.model_copy(update={"prompt_source": str(path), "arms": ("as-is",), "epochs": 1})
    found = run_all(planned(loaded, asked), tmp_path)
    assert [(item.line, bool(item.reason)) for item in found.rejected_prompts] == [(3, True)]
    assert "could not be used: 1" in found.note


def test_seeds_redraw_the_random_arms_and_pool(loaded: LoadedModel, settings: ProbeSettings, tmp_path: Path) -> None:
    asked = settings.model_copy(update={"seeds": 2, "arms": ("as-is",), "epochs": 1})
    found = run_all(planned(loaded, asked), tmp_path)
    first, second = (found.arms["as-is"].seeds[s] for s in ("0", "1"))
    assert set(first.train.row_ids) != set(second.train.row_ids)
    pooled = found.arms["as-is"].difference["benign_loss"]
    means = [s.difference["benign_loss"].value for s in (first, second)]
    assert pooled.seeds == 2 and pooled.value == pytest.approx(np.mean([m for m in means if m is not None]))


def test_presets_are_valid_settings_and_scores_rank(loaded: LoadedModel, settings: ProbeSettings) -> None:
    for name in PRESETS:
        made = ProbeSettings.model_validate(preset(name))
        assert math.isfinite(made.learning_rate)
    assert ProbeSettings.model_validate(preset("paper")).method == "full"
    scores = pd.DataFrame({"row_id": [r.row_id for r in ROWS], "self_inf": range(len(ROWS))})
    plan = planned(loaded, settings.model_copy(update={"arms": ("top:self_inf:3",)}), scores=scores)
    assert [encoded.row_id for encoded in plan.runs[0].rows] == [79, 80, 81]


def test_a_run_comes_back_from_json(plan: Plan, folder: Path, result: ProbeResult) -> None:
    [first, *_] = finished(plan, folder)
    assert ArmRun.model_validate_json(first.model_dump_json()) == first
