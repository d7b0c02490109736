"""Setting up a probe: what is trained, on what, and how sure its answer can be."""

import pandas as pd
import streamlit as st

from components import workspace
from components.i18n import _, counted, keyed, say, sentences, translated
from components.model_choice import model_choice
from components.prompt_upload import prompt_upload
from core.errors import UserError
from core.i18n import N_
from core.probe_settings import LEARNING_RATES, ProbeSettings
from core.safety.metrics import rate
from core.safety.prompts import load_builtin
from core.store import DatasetRecord

METHODS = {"lora": N_("LoRA"), "full": N_("All weights")}
OWN_FILE = "file"
PROMPT_SETS = {
    "all": N_("Do-Not-Answer and HarmBench"),
    "do-not-answer": "Do-Not-Answer",
    "harmbench": "HarmBench",
    OWN_FILE: N_("Own file (CSV or JSONL)"),
}
DEFAULTS = ProbeSettings()


def flagged_rows(dataset: DatasetRecord) -> tuple[list[int], list[int]]:
    """Return the flagged row ids to train on, and those left out because they are in the holdout."""
    flags = workspace.store().flags(dataset.fingerprint)
    rows = workspace.rows(dataset.fingerprint)
    held = set(rows.loc[rows["holdout"], "row_id"])
    flagged = [int(row_id) for row_id in flags.loc[flags["flagged"], "row_id"]]
    return [i for i in flagged if i not in held], [i for i in flagged if i in held]


def probe_form(dataset: DatasetRecord) -> None:
    """Draw the form; its button starts the job."""
    train, held = flagged_rows(dataset)
    with st.container(border=True, key="probe_form"):
        st.subheader(_("New probe"))
        _what_is_trained(train, held)
        left, right = st.columns(2, gap="large")
        with left:
            model = model_choice("probe_model")
            method = st.segmented_control(
                _("Method"),
                list(METHODS),
                format_func=translated(METHODS).get,
                default=DEFAULTS.method,
                key="probe_method",
                required=True,
                help=_("LoRA trains a small adapter; it is faster. All weights changes the whole model."),
                persist_state="session",
            )
        with right:
            source, available = _prompt_source()
            n_prompts = _prompt_number(available)
        recipe = _recipe(method)
        benign = min(DEFAULTS.limit_benign or dataset.n_holdout, dataset.n_holdout)
        st.caption(":material/straighten: " + precision(n_prompts, benign))
        ready = bool(train) and model is not None and source is not None
        settings = None
        if ready:
            settings = ProbeSettings(
                model=model, method=method, prompt_source=source, limit_prompts=n_prompts, **recipe
            )
        st.button(
            counted("Fine-tune on {n} row and compare", "Fine-tune on {n} rows and compare", len(train)),
            key="start_probe",
            type="primary",
            icon=":material/play_arrow:",
            disabled=settings is None,
            on_click=_start,
            args=(dataset.fingerprint, settings, train),
        )


def _what_is_trained(train: list[int], held: list[int]) -> None:
    text = counted(
        "Trains a copy of the model on **{n} flagged row**, then asks it the same questions as before.",
        "Trains a copy of the model on **{n} flagged rows**, then asks it the same questions as before.",
        len(train),
    )
    if held:
        left_out = counted(
            "{n} flagged row is in the holdout and is left out.",
            "{n} flagged rows are in the holdout and are left out.",
            len(held),
        )
        text = sentences(text, left_out)
    st.markdown(text)


def _prompt_source() -> tuple[str | None, int | None]:
    source = st.selectbox(
        _("Harmful prompts"),
        list(PROMPT_SETS),
        format_func=translated(PROMPT_SETS).get,
        key=keyed("probe_prompts"),
        persist_state="session",
        help=_("Questions that an aligned model refuses. They are only asked, never trained on."),
    )
    if source == OWN_FILE:
        return prompt_upload()
    try:
        return source, _built_in_prompts(source)
    except UserError as error:
        st.error(say(error), icon=":material/error:")
        return None, None


@st.cache_data(max_entries=4, show_spinner=False)
def _built_in_prompts(source: str) -> int:
    return len(load_builtin(source))


def _prompt_number(available: int | None) -> int:
    # Never more than there are: the interval that the page promises rests on this number.
    most = available or DEFAULTS.limit_prompts or 100
    return int(
        st.number_input(
            _("Number of prompts"),
            min_value=1,
            max_value=most,
            value=min(DEFAULTS.limit_prompts or most, most),
            step=10,
            key=f"probe_n_{available}",
            help=_("Drawn evenly over the categories. More prompts take longer and narrow the interval."),
        )
    )


def _recipe(method: str) -> dict:
    with st.expander(_("Training settings"), icon=":material/tune:", type="compact"):
        first, second, third, fourth = st.columns(4)
        epochs = first.number_input(_("Epochs"), 1, 100, DEFAULTS.epochs, key="probe_epochs")
        rate_ = second.number_input(
            _("Learning rate"),
            min_value=1e-7,
            max_value=1.0,
            value=LEARNING_RATES[method],
            format="%.1e",
            step=1e-5,
            key=f"probe_lr_{method}",
        )
        batch = third.number_input(_("Rows per step"), 1, 512, DEFAULTS.batch_rows, key="probe_batch")
        seed = fourth.number_input(_("Seed"), 0, 2**31 - 1, DEFAULTS.seed, key="probe_seed")
        lora_r = first.number_input(
            _("LoRA rank"), 1, 256, DEFAULTS.lora_r, key="probe_rank", disabled=method != "lora"
        )
        max_length = second.number_input(
            _("Longest input (tokens)"), 8, 8192, DEFAULTS.max_length, step=64, key="probe_max_length"
        )
        new_tokens = third.number_input(
            _("Longest answer (tokens)"), 1, 1024, DEFAULTS.max_new_tokens, step=16, key="probe_new_tokens"
        )
    return {
        "epochs": int(epochs),
        "learning_rate": float(rate_),
        "batch_rows": int(batch),
        "seed": int(seed),
        "lora_r": int(lora_r),
        "lora_alpha": float(2 * lora_r),
        "max_length": int(max_length),
        "max_new_tokens": int(new_tokens),
    }


def precision(n_prompts: int, n_benign: int) -> str:
    """Say how narrow the 95% interval of a rate can get with so many prompts."""
    text = _(
        "With {n} harmful prompts a rate near one half is known to ±{half} points (95% Wilson interval); "
        "{zero} would still allow a true rate of up to {top}."
    ).format(
        n=n_prompts,
        half=f"{half_width(n_prompts):.1f}",
        zero=_("0 of {n}").format(n=n_prompts),
        top=f"{rate(0, n_prompts).high:.1%}",
    )
    if n_benign:
        benign = counted(
            "Usefulness is measured on {n} held-out row.",
            "Usefulness is measured on {n} held-out rows.",
            n_benign,
        )
        text = sentences(text, benign)
    return text


def half_width(n: int) -> float:
    """Return half the width of the widest Wilson interval over `n`, in percentage points."""
    widest = rate(round(n / 2), n)
    return 50 * (widest.high - widest.low)


def _start(fingerprint: str, settings: ProbeSettings, row_ids: list[int]) -> None:
    try:
        job_id = workspace.jobs().start_probe(fingerprint, settings, row_ids, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
        return
    st.session_state["show_probe"] = job_id


def settings_line(settings: dict, n_rows: int) -> str:
    """Describe a probe's settings in a line."""
    table = pd.Series(settings)
    return " · ".join(
        [
            counted("{n} row", "{n} rows", n_rows),
            _(METHODS.get(table["method"], table["method"])),
            counted("{n} epoch", "{n} epochs", int(table["epochs"])),
            _("seed {n}").format(n=table["seed"]),
        ]
    )
