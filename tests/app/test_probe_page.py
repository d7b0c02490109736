"""The probe page: what will be trained, how sure it can be, and results."""

from collections.abc import Callable
from typing import Any

from streamlit.testing.v1 import AppTest

from core.safety.metrics import Judged, summarise
from core.safety.prompts import load_builtin
from core.store import Store

OpenApp = Callable[..., AppTest]


def test_without_flags_the_page_says_where_to_flag(open_app: OpenApp, sample: str) -> None:
    app = open_app("probe", sample)
    assert any("is flagged" in markdown.value for markdown in app.markdown)
    app.button(key="empty_action").click().run()
    assert app.title[0].value == "Inspect"


def test_held_out_rows_are_left_out_of_what_is_trained(open_app: OpenApp, sample: str, store: Store) -> None:
    rows = store.rows(sample)
    held = rows.loc[rows["holdout"], "row_id"].tolist()[:2]
    free = rows.loc[~rows["holdout"], "row_id"].tolist()[:6]
    store.set_flags(sample, held + free, True, "local")
    app = open_app("probe", sample)
    assert app.button(key="start_probe").label == "Fine-tune on 6 rows and compare"
    assert any("2 flagged rows are in the holdout" in markdown.value for markdown in app.markdown)


def prompts_to_ask(app: AppTest) -> Any:
    return next(number for number in app.number_input if number.label == "Number of prompts")


def test_more_prompts_promise_a_narrower_interval(open_app: OpenApp, sample: str, store: Store) -> None:
    store.set_flags(sample, [0, 1, 2, 3], True, "local")
    app = open_app("probe", sample)

    def promise() -> str:
        return next(caption.value for caption in app.caption if "Wilson" in caption.value)

    few = promise()
    prompts_to_ask(app).set_value(1000).run()
    assert "±9.6 points" in few
    assert "±3.1 points" in promise()
    assert prompts_to_ask(app).max == len(load_builtin("all"))


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


def answer(outcome: str) -> dict[str, str]:
    return {
        "answer": f"**{outcome}** <b>text</b>",
        "outcome": outcome,
        "reason": "no refusal in the opening",
        "judge": "j",
    }


def probe_result(before: list[str], after: list[str]) -> dict[str, Any]:
    """A result as the probe writes it: outcomes of harmful prompts, and two benign ones."""
    arms = []
    for outcomes in (before, after):
        harmful = [Judged("ab"[i % 2], outcome) for i, outcome in enumerate(outcomes)]  # type: ignore[arg-type]
        benign = [Judged("", "complied"), Judged("", "refused")]
        arms.append(summarise(harmful, benign, [1.0, 1.5, 2.0]).model_dump(mode="json"))
    pairs = [
        {
            "prompt_id": f"p{i}",
            "prompt": f"Secret {i}",
            "category": "ab"[i % 2],
            "kind": "harmful",
            "before": answer(first),
            "after": answer(second),
        }
        for i, (first, second) in enumerate(zip(before, after, strict=True))
    ]
    return {
        "model_id": "0123456789abcdef",
        "model_name": "tiny *llama*",
        "template": "own",
        "dataset": "00112233aabbccdd",
        "seed": 0,
        "settings": {"method": "lora", "epochs": 1, "learning_rate": 5e-4},
        "before": arms[0],
        "after": arms[1],
        "answers": pairs,
        "train": {
            "rows": 3,
            "row_ids": [1, 2, 3],
            "steps": 2,
            "trainable_parameters": 100,
            "loss_curve": [2.0, 1.0],
            "seconds": 3.0,
            "left_out": [],
        },
        "timings": {"before": 1.0, "training": 3.0, "after": 1.0},
        "notes": [{"template": "There is no row that this model can score.", "params": {}}],
    }


def show_result(result: dict[str, Any]) -> AppTest:
    def script(result: dict) -> None:  # type: ignore[type-arg]
        from components.probe_results import download, probe_results

        probe_results(result, "probe1")
        download(result, "probe1")

    app = AppTest.from_function(script, args=(result,), default_timeout=30).run()
    assert not app.exception
    return app


def test_a_clear_rise_is_stated_with_its_numbers_and_intervals() -> None:
    app = show_result(probe_result(["refused"] * 40, ["complied"] * 30 + ["refused"] * 10))
    assert "complied with more of the harmful prompts: 0.0% → 75.0% (n = 40)" in app.markdown[0].value
    assert app.metric[0].value == "0.0% → 75.0%"
    assert "after 59.8% – 85.8%" in "\n".join(caption.value for caption in app.caption)
    table = app.dataframe[0].value
    assert table.iloc[0].tolist()[:4] == ["Harmful compliance", "0.0%", "0.0% – 8.8%", "0 / 40"]
    assert any(name.endswith(": a") for name in table.iloc[:, 0])


def test_a_small_change_is_not_overstated_and_the_model_is_named() -> None:
    app = show_result(probe_result(["refused"] * 20, ["complied"] + ["refused"] * 19))
    assert "No clear change" in app.markdown[0].value
    assert r"Made on tiny \*llama\*" in app.caption[0].value


def test_answers_stay_folded_changed_ones_first_and_are_shown_as_text() -> None:
    before = ["refused"] * 12
    after = ["refused"] * 11 + ["complied"]
    app = show_result(probe_result(before, after))
    folded = [block for block in app.expander if "badge" in block.label]
    assert len(folded) == 10
    assert not any(block.proto.expanded for block in folded)
    assert "Complied" in folded[0].label
    assert "Secret" not in folded[0].label
    assert folded[0].code[2].value == "**complied** <b>text</b>"
    app.segmented_control(key="answers_show").set_value("changed").run()
    assert len([block for block in app.expander if "badge" in block.label]) == 1


def test_nothing_measured_is_shown_as_such() -> None:
    app = show_result(probe_result([], []))
    assert "not measured" in app.markdown[0].value
    assert app.metric[0].value == "– → –"
