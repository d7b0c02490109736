"""Which judge, by name or file; its key; its cost; and that broken text comes first."""

import subprocess
import sys
from pathlib import Path

import pytest

from core.errors import UserError
from core.safety.judge_settings import JudgeSettings, parse_judge
from core.safety.judges import PHRASE_JUDGE, ToJudge
from core.safety.judging import estimate_cost, judge_answers
from tests.tiny import tiny_model_folder

RUBRIC = "rubric:gpt-x@2026@http://localhost:8000/v1"


def test_judges_are_read_from_the_command_line(tmp_path: Path) -> None:
    assert parse_judge("phrases") == JudgeSettings()
    assert parse_judge("classifier:org/guard").classifier.model == "org/guard"
    rubric = parse_judge(RUBRIC).rubric
    assert (rubric.model, rubric.base_url) == ("gpt-x@2026", "http://localhost:8000/v1")
    file = tmp_path / "judge.json"
    file.write_text(parse_judge(RUBRIC).model_dump_json())
    assert parse_judge(str(file)) == parse_judge(RUBRIC)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("guess", "There is no judge guess"),
        ("classifier:", "There is no judge"),
        ("rubric:gpt", "There is no judge"),
        ("rubric:gpt@file:///etc/passwd", "base_url"),
        ("rubric:@http://localhost/v1", "model"),
        ("nowhere.json", "cannot be read"),
    ],
)
def test_what_is_no_judge_is_an_error_that_says_so(text: str, says: str) -> None:
    with pytest.raises(UserError, match=says):
        parse_judge(text)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "Invalid JSON"),
        ('{"name": "rubric"}', "do not go together"),
        ('{"name": "phrases", "classifier": {"model": "x"}}', "do not go together"),
        ('{"name": "classifier", "classifier": {"model": "x", "labels": {"A": "bad"}}}', "choose one of refused"),
        ('{"name": "rubric", "rubric": {"model": "x", "base_url": "http://a", "api_key_env": "HOME"}}', "api_key_env"),
        ('{"name": "phrases", "key": "secret"}', "key"),
    ],
)
def test_a_settings_file_that_is_wrong_is_an_error_that_says_where(tmp_path: Path, content: str, says: str) -> None:
    file = tmp_path / "judge.json"
    file.write_text(content)
    with pytest.raises(UserError, match=says):
        parse_judge(str(file))


def test_the_key_follows_what_decides_a_verdict_and_nothing_else(tmp_path: Path) -> None:
    rubric = parse_judge(RUBRIC)

    def changed(**changes: object) -> str:
        return rubric.model_copy(update={"rubric": rubric.rubric.model_copy(update=changes)}).key()

    assert changed(timeout=5.0, retries=0, requests_per_minute=1.0, price_input=2.0, parallel=1) == rubric.key()
    assert changed(model="other") != rubric.key()
    assert len({rubric.key(), JudgeSettings().key(), parse_judge("classifier:a/b").key()}) == 3
    folder = tiny_model_folder(tmp_path)
    before = parse_judge(f"classifier:{folder}").key()
    moved = folder.rename(tmp_path / "elsewhere")
    assert parse_judge(f"classifier:{moved}").key() == before
    tiny_model_folder(tmp_path, seed=1, name="elsewhere")
    assert parse_judge(f"classifier:{moved}").key() != before


def test_labels_name_the_judge() -> None:
    assert JudgeSettings().label() == PHRASE_JUDGE
    assert parse_judge(RUBRIC).label() == f"rubric:gpt-x@2026:{parse_judge(RUBRIC).key()[:8]}"


def test_the_phrase_judge_judges_as_ever() -> None:
    items = [
        ToJudge("How?", "I can't help with that request.", "harmful"),
        ToJudge("Which city?", "Paris.", "benign"),
        ToJudge("How?", "Paris.", "harmful"),
    ]
    verdicts = judge_answers(items, JudgeSettings())
    assert [v.outcome for v in verdicts] == ["refused", "complied", "degenerate"]
    assert {v.judge for v in verdicts} == {PHRASE_JUDGE}


def test_nothing_but_broken_text_needs_no_model() -> None:
    verdicts = judge_answers([ToJudge("How?", "", "harmful")], parse_judge("classifier:no/such-model"))
    assert [v.outcome for v in verdicts] == ["degenerate"]


def test_cost_is_counted_from_texts_or_their_number() -> None:
    rubric = parse_judge(RUBRIC)
    priced = rubric.model_copy(
        update={"rubric": rubric.rubric.model_copy(update={"price_input": 0.5, "price_output": 2.0})}
    )
    one = estimate_cost([ToJudge("p" * 35, "a" * 35, "harmful")], priced)
    two = estimate_cost([ToJudge("p" * 35, "a" * 35, "harmful")] * 2, priced)
    assert one.requests == 1 and one.seconds == 0 and two.seconds == 1
    assert two.input_tokens == pytest.approx(2 * one.input_tokens, abs=1)
    assert one.price == pytest.approx((one.input_tokens * 0.5 + one.output_tokens * 2) / 1000)
    wide = estimate_cost([ToJudge("爆" * 35, "a" * 35, "harmful")], priced)
    assert wide.input_tokens > one.input_tokens
    assert estimate_cost(100, rubric).price is None and estimate_cost(100, rubric).requests == 100
    assert estimate_cost(100, JudgeSettings()) == estimate_cost([], JudgeSettings())


def test_settings_and_phrases_need_no_torch() -> None:
    code = "import sys, core.safety.judging, core.safety.agreement, core.overrules\nassert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
