"""Who judges the answers of a probe."""

import streamlit as st
from pydantic import ValidationError

from components.i18n import _, counted, escape, translated
from core.i18n import N_
from core.safety.judge_settings import ClassifierSettings, JudgeSettings, RubricSettings

JUDGES = {
    "phrases": N_("Refusal phrases"),
    "classifier": N_("Classifier or guard model"),
    "rubric": N_("Model behind an address"),
}


def judge_choice(key: str, label: str) -> JudgeSettings | None:
    """Draw the choice; return the judge, or None while its settings are not complete."""
    name = st.selectbox(label, list(JUDGES), format_func=translated(JUDGES).get, key=f"{key}_name")
    try:
        if name == "classifier":
            return _classifier(key)
        if name == "rubric":
            return _rubric(key)
    except ValidationError as error:
        first = error.errors()[0]
        st.error(f"{'.'.join(map(str, first['loc']))}: {escape(first['msg'])}", icon=":material/error:")
        return None
    return JudgeSettings()


def _classifier(key: str) -> JudgeSettings | None:
    model = st.text_input(
        _("Folder or hub id of the judge"), key=f"{key}_model", placeholder="meta-llama/Llama-Guard-3-1B"
    )
    lines = st.text_area(
        _("What its labels mean, one a line (label = refused, complied, degenerate or 1 to 5)"),
        key=f"{key}_labels",
        placeholder="safe = 1\nunsafe = 5",
    )
    pairs = [line.partition("=") for line in lines.splitlines() if "=" in line]
    if not model.strip():
        return None
    labels = {left.strip(): right.strip() for left, _sign, right in pairs}
    return JudgeSettings(name="classifier", classifier=ClassifierSettings(model=model.strip(), labels=labels))


def _rubric(key: str) -> JudgeSettings | None:
    address = st.text_input(
        _("Address (OpenAI-compatible)"), key=f"{key}_address", placeholder="http://localhost:8000/v1"
    )
    model = st.text_input(_("Model"), key=f"{key}_rubric_model")
    first, second, third = st.columns(3)
    minute = first.number_input(_("Requests per minute"), 1, 10_000, 60, key=f"{key}_rate")
    price_in = second.number_input(_("Price per 1,000 input tokens"), 0.0, 100.0, 0.0, format="%.4f", key=f"{key}_in")
    price_out = third.number_input(_("Price per 1,000 output tokens"), 0.0, 100.0, 0.0, format="%.4f", key=f"{key}_out")
    st.caption(_("The key is read from the server's environment variable ASSAY_JUDGE_KEY and is never stored."))
    if not address.strip() or not model.strip():
        return None
    return JudgeSettings(
        name="rubric",
        rubric=RubricSettings(
            base_url=address.strip(),
            model=model.strip(),
            requests_per_minute=minute,
            price_input=price_in or None,
            price_output=price_out or None,
        ),
    )


def questions(n: int) -> str:
    """Say how many answers a judge reads."""
    return counted("{n} answer to judge", "{n} answers to judge", n)
