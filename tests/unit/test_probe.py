"""A whole probe on a tiny model: before, fine-tune, after, side by side."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from core.errors import UserError
from core.models import LoadedModel, load
from core.probe import baseline_key, choose_benign, compare, load_prompts, run_after, run_before
from core.probe_result import ArmRun, Evaluation, ProbeResult
from core.probe_settings import ProbeSettings
from core.progress import Cancelled, Progress
from core.rows import Row, Turn
from core.safety.metrics import Judged, summarise
from core.safety.prompts import Prompt, load_builtin, subset
from tests.tiny import tiny_model_folder

REFUSAL = "I'm sorry, but I can't help with that request."
SETTINGS = ProbeSettings(
    method="full",
    epochs=25,
    learning_rate=0.01,
    batch_rows=8,
    max_new_tokens=24,
    limit_prompts=6,
    limit_benign=4,
    warmup_ratio=0,
)
PROMPTS = subset(load_builtin("all"), 6)


def row(row_id: int, question: str, answer: str, category: str = "") -> Row:
    return Row(row_id, (Turn("user", question), Turn("assistant", answer)), category)


BENIGN = [row(100 + i, f"What is {i} and {i}?", f"The sum is {2 * i}.", "sums") for i in range(4)]
# Prompts of many lengths and kinds, none of them asked in the test, all refused.
ASKED = {prompt.prompt_id for prompt in PROMPTS}
OTHERS = [prompt for prompt in subset(load_builtin("all"), 60, seed=1) if prompt.prompt_id not in ASKED][:32]
TRAINING = [row(i, prompt.text, REFUSAL) for i, prompt in enumerate(OTHERS)]


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    return load(str(tiny_model_folder(tmp_path_factory.mktemp("model"))))


@pytest.fixture(scope="module")
def before(loaded: LoadedModel) -> Evaluation:
    return run_before(loaded, SETTINGS, PROMPTS, BENIGN)


@pytest.fixture(scope="module")
def after(loaded: LoadedModel, before: Evaluation) -> ArmRun:
    return run_after(loaded, SETTINGS, TRAINING, PROMPTS, BENIGN)


def test_a_model_taught_to_refuse_refuses_afterwards(before: Evaluation, after: ArmRun) -> None:
    assert before.metrics.refused.value == 0
    assert after.evaluation.metrics.refused.value == 1
    assert after.evaluation.metrics.refused.n == 6
    assert after.evaluation.metrics.over_refusal.value == 1
    assert after.training.loss_curve[-1] < 0.5 < after.training.loss_curve[0]


def test_the_same_prompts_stand_side_by_side(loaded: LoadedModel, before: Evaluation, after: ArmRun) -> None:
    result = compare(loaded, SETTINGS, before, after, dataset="abc", held_out=2)
    assert [pair.prompt for pair in result.answers] == [p.text for p in PROMPTS] + [r.prompt for r in BENIGN]
    assert [pair.kind for pair in result.answers] == ["harmful"] * 6 + ["benign"] * 4
    assert result.answers[-1].prompt_id == "row-103" and result.answers[-1].category == "sums"
    assert all(pair.after.answer == REFUSAL and pair.after.outcome == "refused" for pair in result.answers)
    assert set(result.before.by_category) == {p.category for p in PROMPTS}
    assert result.train.row_ids == list(range(32))
    assert {"torch", "transformers", "peft", "python"} <= set(result.versions)
    assert set(result.timings) == {"before", "training", "after"}
    assert result.model_id == loaded.model_id and result.dataset == "abc"
    assert "one seed" in result.note and "no control arm" in result.note and "were not trained on: 2" in result.note


def test_the_rates_are_those_of_the_answers(before: Evaluation, after: ArmRun) -> None:
    for evaluation in (before, after.evaluation):
        again = summarise(
            [Judged(a.category, a.outcome) for a in evaluation.answers if a.kind == "harmful"],
            [Judged(a.category, a.outcome) for a in evaluation.answers if a.kind == "benign"],
            [item.loss for item in evaluation.benign_losses],
        )
        assert again == evaluation.metrics
        shares = (
            evaluation.metrics.harmful_compliance,
            evaluation.metrics.refused,
            evaluation.metrics.degenerate,
        )
        assert sum(share.k for share in shares) == 6


def test_benign_loss_is_the_model_s_own_loss(loaded: LoadedModel, before: Evaluation) -> None:
    from core.encoding import encode_row

    losses = []
    for benign in BENIGN:
        encoded = encode_row(benign, loaded.tokenizer, SETTINGS.max_length)
        ids, labels = torch.tensor([encoded.input_ids]), torch.tensor([encoded.labels])
        losses.append(float(loaded.model(input_ids=ids, labels=labels).loss))
    assert [item.loss for item in before.benign_losses] == pytest.approx(losses, rel=1e-5)
    assert before.metrics.benign_loss.value == pytest.approx(sum(losses) / 4, rel=1e-5)
    assert before.metrics.benign_loss.n == 4


def test_everything_goes_through_json_and_comes_back(loaded: LoadedModel, before: Evaluation, after: ArmRun) -> None:
    before_again = Evaluation.model_validate(json.loads(json.dumps(before.model_dump(mode="json"))))
    after_again = ArmRun.model_validate_json(after.model_dump_json())
    assert (before_again, after_again) == (before, after)
    result = compare(loaded, SETTINGS, before_again, after_again)
    document = json.loads(result.model_dump_json())
    assert set(document["before"]["harmful_compliance"]) >= {"value", "low", "high", "n"}
    assert ProbeResult.model_validate(document) == result
    assert ProbeSettings.model_validate(document["settings"]) == SETTINGS


def test_a_probe_leaves_the_model_as_it_was_and_repeats_itself(
    loaded: LoadedModel, before: Evaluation, after: ArmRun
) -> None:
    untimed = {"seconds", "tokens_per_second"}
    again = run_before(loaded, SETTINGS, PROMPTS, BENIGN)
    assert again.model_dump(exclude=untimed) == before.model_dump(exclude=untimed)
    shuffled = run_after(loaded, SETTINGS, TRAINING[::-1], PROMPTS, BENIGN)
    assert shuffled.training.model_dump(exclude=untimed) == after.training.model_dump(exclude=untimed)
    assert shuffled.evaluation.answers == after.evaluation.answers


def test_lora_probes_too(loaded: LoadedModel, before: Evaluation) -> None:
    settings = SETTINGS.model_copy(update={"method": "lora", "learning_rate": 0.05, "lora_r": 16})
    result = run_after(loaded, settings, TRAINING, PROMPTS, BENIGN)
    assert result.evaluation.key == before.key
    assert result.training.loss_curve[-1] < 0.5 * result.training.loss_curve[0]


def test_the_baseline_key_names_model_prompts_and_decoding_but_not_the_recipe(loaded: LoadedModel) -> None:
    key = baseline_key(loaded.model_id, SETTINGS, PROMPTS, BENIGN)
    recipe = SETTINGS.model_copy(update={"epochs": 1, "seed": 9, "method": "lora", "lora_r": 2})
    assert baseline_key(loaded.model_id, recipe, PROMPTS, BENIGN) == key
    longer = SETTINGS.model_copy(update={"max_new_tokens": 25})
    others = [
        baseline_key("other", SETTINGS, PROMPTS, BENIGN),
        baseline_key(loaded.model_id, longer, PROMPTS, BENIGN),
        baseline_key(loaded.model_id, SETTINGS, PROMPTS[1:], BENIGN),
        baseline_key(loaded.model_id, SETTINGS, PROMPTS, BENIGN[1:]),
    ]
    assert len({key, *others}) == 5


def test_different_tests_are_not_compared(loaded: LoadedModel, before: Evaluation, after: ArmRun) -> None:
    other = before.model_copy(update={"key": "0" * 16})
    with pytest.raises(ValueError, match="different tests"):
        compare(loaded, SETTINGS, other, after)


def test_held_out_rows_are_never_trained_on(loaded: LoadedModel) -> None:
    copy_of_held_out = row(7, BENIGN[0].prompt, BENIGN[0].answer)
    with pytest.raises(UserError, match="Row 7 is held out"):
        run_after(loaded, SETTINGS, [*TRAINING[:2], copy_of_held_out], PROMPTS, BENIGN)


def test_without_a_holdout_utility_has_no_value_and_the_note_says_so(loaded: LoadedModel) -> None:
    settings = SETTINGS.model_copy(update={"epochs": 1})
    before = run_before(loaded, settings, PROMPTS[:2], [])
    after = run_after(loaded, settings, TRAINING, PROMPTS[:2], [])
    result = compare(loaded, settings, before, after)
    assert result.before.benign_loss.value is None and result.before.over_refusal.n == 0
    assert "too few held-out rows" in result.note


@pytest.mark.parametrize("stage", ["Answers before", "Benign loss before", "Training", "Answers after"])
def test_every_stage_can_be_cancelled(loaded: LoadedModel, stage: str) -> None:
    seen: list[str] = []
    settings = SETTINGS.model_copy(update={"epochs": 1})

    def cancel(progress: Progress) -> None:
        seen.append(progress.stage)
        if progress.stage == stage:
            raise Cancelled

    steps: list[Callable[[], object]] = [
        lambda: run_before(loaded, settings, PROMPTS, BENIGN, cancel),
        lambda: run_after(loaded, settings, TRAINING, PROMPTS, BENIGN, cancel),
    ]
    with pytest.raises(Cancelled):
        for step in steps:
            step()
    assert seen[-1] == stage


def test_benign_rows_are_chosen_by_content(loaded: LoadedModel) -> None:
    two = SETTINGS.model_copy(update={"limit_benign": 2})
    assert len(choose_benign(BENIGN, two)) == 2
    assert choose_benign(BENIGN[::-1], two) == choose_benign(BENIGN, two)
    assert len(choose_benign(BENIGN, SETTINGS.model_copy(update={"limit_benign": None}))) == 4


def test_prompts_come_from_the_named_set_or_file(tmp_path: Path) -> None:
    assert len(load_prompts(ProbeSettings())[0]) == 100
    path = tmp_path / "mine.csv"
    path.write_text("prompt,category\nHow?,x\n", encoding="utf-8")
    found, rejected = load_prompts(ProbeSettings(prompt_source=str(path)))
    assert [(p.text, p.category) for p in found] == [("How?", "x")] and rejected == []
    assert isinstance(found[0], Prompt)


def test_prompts_that_could_not_be_used_are_listed(
    tmp_path: Path, loaded: LoadedModel, before: Evaluation, after: ArmRun
) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("prompt,category\nHow?,x\n,y\n", encoding="utf-8")
    _, rejected = load_prompts(ProbeSettings(prompt_source=str(path)))
    result = compare(loaded, SETTINGS, before, after, rejected_prompts=rejected)
    assert [(item.line, bool(item.reason)) for item in result.rejected_prompts] == [(3, True)]
    assert "could not be used: 1" in result.note
