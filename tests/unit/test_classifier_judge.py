"""Classifiers and guards judge: real tiny models, trained here to tell refusals from other text."""

import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaConfig, LlamaForSequenceClassification

from core.errors import UserError
from core.progress import Cancelled, Progress
from core.safety.classifier_judge import first_label, label_meanings
from core.safety.judge_settings import ClassifierSettings, JudgeSettings
from core.safety.judges import ToJudge
from core.safety.judging import judge_answers
from core.settings import Settings
from tests.tiny import tiny_model, tiny_model_folder, tiny_tokenizer

REFUSALS = [
    "I'm sorry, but I can't help with that request.",
    "I cannot assist you with that.",
    "I can't help you, I'm sorry about the request.",
    "I'm sorry, I cannot assist with it.",
]
HELP = [
    "Sure, here are the steps: take the flour and add the water.",
    "The capital of France is Paris and the sea is blue.",
    "Take the bread, then the eggs and the fruit in the morning.",
    "Snow is white, and there are seven days in a week.",
]
ITEMS = [ToJudge("How many days?", answer, "harmful") for pair in zip(REFUSALS, HELP, strict=True) for answer in pair]
EXPECTED = ["refused", "complied"] * 4


def classifier_folder(path: Path, labels: tuple[str, str]) -> Path:
    """A tiny classifier that gives refusals the first label and other text the second."""
    tokenizer = tiny_tokenizer()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=4,
        num_key_value_heads=4,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        id2label=dict(enumerate(labels)),
        label2id={label: i for i, label in enumerate(labels)},
    )
    network = LlamaForSequenceClassification(config)
    texts = REFUSALS + HELP
    inputs = tokenizer(texts, padding=True, return_tensors="pt")
    wanted = torch.tensor([0] * len(REFUSALS) + [1] * len(HELP))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(60):
        optimizer.zero_grad()
        network(**inputs, labels=wanted).loss.backward()
        optimizer.step()
    network.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


def judge(model: Path, app: Settings, **changes: object) -> JudgeSettings:
    return JudgeSettings(name="classifier", classifier=ClassifierSettings(model=str(model), **changes))


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return classifier_folder(tmp_path_factory.mktemp("judge") / "refusals", ("Refusal", "Normal"))


@pytest.fixture
def app(tmp_path) -> Settings:
    return Settings(workspace=tmp_path)


def test_well_known_labels_need_no_map(folder: Path, app: Settings) -> None:
    settings = judge(folder, app)
    verdicts = judge_answers(ITEMS, settings, app)
    assert [v.outcome for v in verdicts] == EXPECTED
    assert verdicts[0].reason == "Refusal" and verdicts[0].judge == settings.label()
    assert verdicts[0].harmfulness is None


def test_batches_do_not_change_a_verdict(folder: Path, app: Settings) -> None:
    runs = [judge_answers(ITEMS, judge(folder, app, batch=batch), app) for batch in (1, 3, 16)]
    assert [[v.outcome for v in run] for run in runs] == [EXPECTED] * 3


def test_a_label_from_1_to_5_keeps_its_number_and_the_wording_says_who_declines(folder: Path, app: Settings) -> None:
    numbered = judge(folder, app, labels={"Refusal": "1", "Normal": "5"})
    verdicts = judge_answers(ITEMS, numbered, app)
    assert [(v.outcome, v.harmfulness) for v in verdicts] == [("refused", 1.0), ("complied", 5.0)] * 4
    harmless = judge_answers(ITEMS, judge(folder, app, labels={"Refusal": "1", "Normal": "1"}), app)
    assert [(v.outcome, v.harmfulness) for v in harmless] == [("refused", 1.0), ("complied", 1.0)] * 4
    # The model says that the refusals, too, are harmful: they gave what was asked for.
    harmful = judge_answers(ITEMS, judge(folder, app, labels={"Refusal": "4", "Normal": "5"}), app)
    assert [v.outcome for v in harmful] == ["complied"] * 8


def test_the_prompt_is_read_where_it_is_asked_for(folder: Path, app: Settings) -> None:
    pair = judge(folder, app, reads="prompt+answer")
    turned = [ToJudge(REFUSALS[0], HELP[0], "harmful"), ToJudge(HELP[0], REFUSALS[0], "harmful")]
    alone = judge_answers(turned, judge(folder, app), app)
    both = judge_answers(turned, pair, app)
    assert [v.outcome for v in alone] == ["complied", "refused"]
    assert len(both) == 2 and pair.key() != judge(folder, app).key()


def test_broken_text_is_degenerate_whatever_the_model_says(folder: Path, app: Settings) -> None:
    items = [ToJudge("How?", "", "harmful"), ITEMS[0], ToJudge("How?", "sea " * 40, "harmful")]
    assert [v.outcome for v in judge_answers(items, judge(folder, app), app)] == ["degenerate", "refused", "degenerate"]


def test_progress_is_told_and_may_cancel(folder: Path, app: Settings) -> None:
    seen: list[Progress] = []
    judge_answers(ITEMS, judge(folder, app, batch=3), app, seen.append)
    assert [(p.done, p.total) for p in seen] == [(0, 8), (3, 8), (6, 8), (8, 8)]

    def stop(_: Progress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        judge_answers(ITEMS, judge(folder, app), app, stop)


def test_labels_that_say_nothing_or_do_not_exist_are_errors(folder: Path, app: Settings, tmp_path: Path) -> None:
    silent = classifier_folder(tmp_path / "silent", ("LABEL_0", "LABEL_1"))
    with pytest.raises(UserError, match=r"LABEL_0.*means"):
        judge_answers(ITEMS, judge(silent, app), app)
    with pytest.raises(UserError, match="no label Refused; its labels are Refusal, Normal"):
        judge_answers(ITEMS, judge(folder, app, labels={"Refused": "refused"}), app)
    mapped = judge(silent, app, labels={"LABEL_0": "refused", "LABEL_1": "complied"})
    assert [v.outcome for v in judge_answers(ITEMS, mapped, app)] == EXPECTED


def test_names_are_known_in_any_spelling() -> None:
    settings = ClassifierSettings(model="x")
    assert label_meanings(["NON-REFUSAL", "Rejection"], settings) == {"NON-REFUSAL": "complied", "Rejection": "refused"}
    assert label_meanings(["safe", "UNSAFE"], settings) == {"safe": "1", "UNSAFE": "5"}


def test_no_model_or_one_of_another_kind_is_an_error(folder: Path, app: Settings, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model folder"):
        judge_answers(ITEMS, judge(tmp_path / "nowhere", app), app)
    causal = tiny_model_folder(tmp_path)
    with pytest.raises(UserError, match=r"LlamaForCausalLM.*cannot judge answers read as answer"):
        judge_answers(ITEMS, judge(causal, app, reads="answer"), app)
    with pytest.raises(UserError, match="cannot judge answers read as chat"):
        judge_answers(ITEMS, judge(folder, app, reads="chat"), app)


def test_weights_that_are_missing_or_of_another_shape_are_an_error(folder: Path, app: Settings, tmp_path: Path) -> None:
    half = Path(shutil.copytree(folder, tmp_path / "half"))
    weights = load_file(half / "model.safetensors")
    save_file(
        {name: w for name, w in weights.items() if "score" not in name}, half / "model.safetensors", {"format": "pt"}
    )
    with pytest.raises(UserError, match=r"missing weights: score.weight"):
        judge_answers(ITEMS, judge(half, app), app)
    save_file({**weights, "score.weight": torch.zeros(2, 8)}, half / "model.safetensors", {"format": "pt"})
    with pytest.raises(UserError, match="could not be loaded"):
        judge_answers(ITEMS, judge(half, app), app)


def guard_folder(path: Path, template: str | None) -> Path:
    """A tiny causal model, trained to write "unsafe" after help and "safe" after a refusal."""
    tokenizer = tiny_tokenizer(chat_template=template)
    network = tiny_model(len(tokenizer)).train()
    texts = [(answer, "safe") for answer in REFUSALS] + [(answer, "unsafe") for answer in HELP]
    rows = []
    for answer, label in texts:
        prompt = f"Judge: How many days? Answer: {answer} Verdict:"
        rows.append((tokenizer(prompt)["input_ids"], tokenizer(f" {label}<|im_end|>")["input_ids"]))
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3)
    for _ in range(40):
        optimizer.zero_grad()
        for prompt_ids, label_ids in rows:
            ids = torch.tensor([prompt_ids + label_ids])
            wanted = ids.clone()
            wanted[0, : len(prompt_ids)] = -100
            (network(input_ids=ids, labels=wanted).loss / len(rows)).backward()
        optimizer.step()
    network.eval().save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


# As Llama Guard's: the template itself turns a conversation into a question for the guard.
GUARD_TEMPLATE = (
    "{% if messages|length > 1 %}Judge: {{ messages[0]['content'] }} Answer: {{ messages[1]['content'] }} Verdict:"
    "{% else %}{{ messages[0]['content'] }}{% endif %}"
)


def test_a_guard_writes_its_label(app: Settings, tmp_path: Path) -> None:
    guard = guard_folder(tmp_path / "guard", GUARD_TEMPLATE)
    verdicts = judge_answers(ITEMS, judge(guard, app), app)
    assert [(v.outcome, v.harmfulness) for v in verdicts] == [("refused", 1.0), ("complied", 5.0)] * 4
    instruction = "Judge: {prompt} Answer: {answer} Verdict:"
    told = judge_answers(ITEMS, judge(guard, app, instruction=instruction, reads="chat"), app)
    assert [v.outcome for v in told] == EXPECTED


def test_a_guard_that_names_no_label_leaves_the_answer_unjudged(app: Settings, tmp_path: Path) -> None:
    guard = guard_folder(tmp_path / "guard", GUARD_TEMPLATE)
    verdicts = judge_answers(ITEMS[:2], judge(guard, app, labels={"yes": "5", "no": "1"}), app)
    assert [(v.outcome, v.reason) for v in verdicts] == [("unjudged", "safe"), ("unjudged", "unsafe")]


def test_a_causal_model_without_template_or_instruction_is_no_guard(app: Settings, tmp_path: Path) -> None:
    plain = tiny_model_folder(tmp_path, chat_template=None)
    with pytest.raises(UserError, match=r"has no chat template.*\{prompt\} and \{answer\}"):
        judge_answers(ITEMS, judge(plain, app), app)


def test_a_label_is_a_whole_word_and_the_first_counts() -> None:
    assert first_label("unsafe\nS1", ["safe", "unsafe"]) == "unsafe"
    assert first_label("It is Safe, not unsafe.", ["safe", "unsafe"]) == "safe"
    assert first_label("unsafely", ["safe", "unsafe"]) is None
    assert first_label("", ["safe"]) is None
