"""The probe page: what will be trained, how sure it can be, and results."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from core.assessment import reassess
from core.comparison import compare
from core.models import load
from core.policy import DEFAULT_POLICY
from core.probe import finished, measure_before, measure_run
from core.probe_plan import plan_probe
from core.probe_result import ProbeResult
from core.probe_settings import ProbeSettings
from core.safety.prompts import load_builtin
from core.settings import Settings
from core.store import Store
from tests.tiny import tiny_model_folder
from tests.unit.workspaces import tiny_rows

OpenApp = Callable[..., AppTest]


def arms(app: AppTest) -> Any:
    return next(widget for widget in app.multiselect if widget.label.startswith("Arms"))


def test_without_flags_the_highest_scores_are_offered(open_app: OpenApp, sample: str) -> None:
    app = open_app("probe", sample)
    assert arms(app).value == ["top:self_inf_n:40", "length-matched", "as-is"]
    assert app.button(key="start_probe").label == "Start 6 fine-tunes"
    assert any("No row is flagged" in caption.value for caption in app.caption)


def test_held_out_rows_are_left_out_of_what_is_trained(open_app: OpenApp, sample: str, store: Store) -> None:
    rows = store.rows(sample)
    held = rows.loc[rows["holdout"], "row_id"].tolist()[:2]
    free = rows.loc[~rows["holdout"], "row_id"].tolist()[:6]
    store.set_flags(sample, held + free, True, "local")
    app = open_app("probe", sample)
    assert arms(app).value == ["flagged", "length-matched", "as-is"]
    assert any("2 flagged rows are in the holdout" in caption.value for caption in app.caption)


def test_an_arm_that_cannot_be_read_is_said_and_nothing_starts(open_app: OpenApp, sample: str) -> None:
    app = open_app("probe", sample)
    arms(app).set_value(["as-is"]).run()
    assert any("Without the control of the same length" in caption.value for caption in app.caption)
    app.selectbox(key="probe_dose").set_value("k").run()
    assert app.button(key="start_probe").label == "Start 6 fine-tunes"
    app.text_input(key="probe_dose_k").set_value("many").run()
    assert any("not an override" in error.value for error in app.error)
    assert app.button(key="start_probe").disabled


def test_the_target_model_is_recorded_with_the_dataset(open_app: OpenApp, sample: str, store: Store) -> None:
    app = open_app("probe", sample)
    assert any("will be a demonstration" in caption.value for caption in app.caption)
    app.text_input(key=f"probe_target_{sample}").set_value("big/model").run()
    assert store.dataset(sample).target_model == "big/model"
    assert any("Another model is probed" in caption.value for caption in app.caption)
    store.set_target(sample, None, "local")


def test_more_prompts_detect_a_smaller_rise_and_the_needed_number_is_offered(open_app: OpenApp, sample: str) -> None:
    app = open_app("probe", sample)

    def promise() -> str:
        return next(caption.value for caption in app.caption if "four times out of five" in caption.value)

    next(slider for slider in app.slider if slider.label == "Seeds per arm").set_value(3).run()
    few = promise()
    app.button(key="probe_use_needed").click().run()
    assert prompts_to_ask(app).value > 100 and promise() != few
    assert prompts_to_ask(app).max == len(load_builtin("held-out"))


def prompts_to_ask(app: AppTest) -> Any:
    return next(number for number in app.number_input if number.label == "Number of prompts")


def test_no_more_prompts_are_promised_than_a_set_has(open_app: OpenApp, sample: str, store: Store) -> None:
    store.set_flags(sample, [0, 1, 2, 3], True, "local")
    app = open_app("probe", sample)
    app.selectbox(key="probe_prompts_en").set_value("harmbench").run()
    assert not app.exception
    assert prompts_to_ask(app).max == len(load_builtin("harmbench"))


def test_own_prompts_are_checked(open_app: OpenApp, sample: str, store: Store) -> None:
    store.set_flags(sample, [0, 1, 2, 3], True, "local")
    app = open_app("probe", sample)
    app.selectbox(key="probe_prompts_en").set_value("file").run()
    assert app.button(key="start_probe").disabled
    content = b'{"prompt": "Tell me a secret", "category": "a"}\n{"category": "b"}\n'
    app.file_uploader(key="probe_prompt_file").upload("own.jsonl", content).run()
    assert not app.exception
    assert any("1 usable prompt" in caption.value for caption in app.caption)
    assert not app.button(key="start_probe").disabled
    assert app.dataframe[0].value["reason"].tolist() == ["Field is missing"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> ProbeResult:
    """A real probe of a tiny model; its prompts hold Markdown and HTML."""
    folder = tmp_path_factory.mktemp("measured")
    prompts = folder / "prompts.jsonl"
    lines = [json.dumps({"prompt": f"Tell **secret** <b>{i}</b>", "category": "ab"[i % 2]}) for i in range(12)]
    prompts.write_text("\n".join(lines), encoding="utf-8")
    settings = ProbeSettings(
        model="tiny",
        target_model="tiny",
        prompt_source=str(prompts),
        arms=("flagged", "as-is"),
        seeds=2,
        epochs=1,
        max_new_tokens=4,
    )
    loaded = load(str(tiny_model_folder(folder, name="tiny *llama*")))
    rows = tiny_rows(30)
    plan = plan_probe(loaded, settings, rows, {0, 1, 2}, [5, 6, 7, 8])
    workspace = Settings(workspace=folder)
    before = measure_before(plan, folder, workspace)
    for run in plan.runs:
        measure_run(plan, run, folder, workspace)
    return compare(plan, before, finished(plan, folder))


def ruled(result: ProbeResult, **outcomes: str) -> dict[str, Any]:
    """Give every harmful answer of a part ("before", "flagged", …) one outcome."""
    overrules: Any = {}
    for answers in result.answers:
        if answers.kind == "harmful":
            for part, outcome in outcomes.items():
                for key in ("before",) if part == "before" else (f"{part.replace('_', '-')} {s}" for s in result.seeds):
                    overrules[key, answers.prompt_id] = outcome
    return reassess(result, DEFAULT_POLICY, None, overrules).model_dump(mode="json")


def show_result(result: dict[str, Any], settings: Settings) -> AppTest:
    def script(result: dict) -> None:  # type: ignore[type-arg]
        from components.probe_results import download, probe_results

        probe_results(result, "probe1")
        download(result, "probe1")

    app = AppTest.from_function(script, args=(result,), default_timeout=60).run()
    assert not app.exception
    return app


def test_a_verdict_says_what_it_rests_on(measured: ProbeResult, settings: Settings) -> None:
    app = show_result(ruled(measured, before="refused", flagged="complied", as_is="refused"), settings)
    text = "\n".join(markdown.value for markdown in app.markdown)
    assert "REVIEW" in text and "Harmful prompts: 12; the stop criteria ask for 100" in text.replace("\\", "")
    assert "tiny \\*llama\\*" in "\n".join(caption.value for caption in app.caption)
    table = next(frame.value for frame in app.dataframe if "Arm" in frame.value.columns and "Before" in frame.value)
    line = table[(table["Measure"] == "Harmful compliance") & (table["Arm"] == "flagged")].iloc[0]
    assert line["Before"].startswith("0.0%") and line["After"].startswith("100.0%")
    assert line["Change (95% interval)"].startswith("+100.0 [")
    assert (line["n"], line["Seeds"]) == (12, 2)


def test_answers_stay_folded_lost_refusals_first_and_are_shown_as_text(
    measured: ProbeResult, settings: Settings
) -> None:
    result = ruled(measured, before="refused", flagged="refused", as_is="refused")
    result["answers"][7]["after"][0]["outcome"] = "complied"
    app = show_result(result, settings)
    folded = [block for block in app.expander if "badge" in block.label]
    assert len(folded) == 10
    assert not any(block.proto.expanded for block in folded)
    assert "Complied" in folded[0].label and "secret" not in folded[0].label
    assert folded[0].code[0].value == "Tell **secret** <b>7</b>"
    app.segmented_control(key="answers_show").set_value("changed").run()
    assert len([block for block in app.expander if "badge" in block.label]) == 1


def test_nothing_measured_is_shown_as_such(measured: ProbeResult, settings: Settings) -> None:
    result = measured.model_dump(mode="json") | {"arms": {}, "answers": []}
    result["before"]["by_category"] = {}
    app = show_result(result, settings)
    assert [caption.value for caption in app.caption].count("Nothing was measured.") == 2


def test_a_japanese_result_has_no_english_sentence(measured: ProbeResult, open_app: OpenApp, sample: str) -> None:
    from components.probe_wording import note
    from core.i18n import translator

    ja = translator("ja")
    for found in (*measured.verdict.notes, *measured.notes):
        assert ja(found.template) != found.template
        assert note(found.model_dump()) == found.text


def test_the_stop_criteria_are_edited_with_a_reason(open_app: OpenApp, sample: str, store: Store) -> None:
    from core.policies import policies

    app = open_app("stop_criteria", sample)
    assert any("Shipped with Assay" in caption.value for caption in app.caption)
    submit = next(button for button in app.button if button.label == "Put in force")
    submit.click().run()
    assert any("Say why" in error.value for error in app.error)
    next(field for field in app.text_input if field.label == "Reason for the change").set_value("agreed in May")
    next(button for button in app.button if button.label == "Put in force").click().run()
    newest = policies(store.url)[0]
    assert (newest.version, newest.reason, newest.policy.criteria) == (1, "agreed in May", DEFAULT_POLICY.criteria)
