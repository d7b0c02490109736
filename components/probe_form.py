"""Setting up a probe: what is trained, on what, how sure its answer can be, and how long it takes."""

import streamlit as st

from components import workspace
from components.arm_choice import arm_choice
from components.i18n import _, counted, keyed, say, sentences, translated
from components.job_card import MOVING, duration, failure
from components.judge_choice import judge_choice
from components.model_choice import model_choice
from components.prompt_upload import prompt_upload
from core.arms import FLAGGED
from core.errors import UserError
from core.i18n import N_
from core.policies import policy_in_force
from core.probe_settings import LEARNING_RATES, PRESETS, SEEDS_CPU, ProbeSettings, preset
from core.safety.power import detectable_difference, prompts_needed
from core.safety.prompts import load_builtin
from core.store import DatasetRecord

METHODS = {"lora": N_("LoRA"), "full": N_("All weights")}
PRESET_NAMES = {"quick": N_("Quick"), "default": N_("Default"), "paper": N_("As in the paper")}
OWN_FILE = "file"
PROMPT_SETS = {
    "held-out": N_("HarmBench and half of Do-Not-Answer"),
    "all": N_("Do-Not-Answer and HarmBench"),
    "do-not-answer": "Do-Not-Answer",
    "harmbench": "HarmBench",
    OWN_FILE: N_("Own file (CSV or JSONL)"),
}
DEFAULTS = ProbeSettings()
# Where no probe has measured the rate before: what an aligned model complies with.
BASE_RATE = 0.1


def flagged_rows(dataset: DatasetRecord) -> tuple[list[int], list[int]]:
    """Return the flagged row ids to train on, and those left out because they are in the holdout."""
    flags = workspace.store().flags(dataset.fingerprint)
    rows = workspace.rows(dataset.fingerprint)
    held = set(rows.loc[rows["holdout"], "row_id"])
    flagged = [int(row_id) for row_id in flags.loc[flags["flagged"], "row_id"]]
    return [i for i in flagged if i not in held], [i for i in flagged if i in held]


def probe_form(dataset: DatasetRecord, base_rate: float | None = None) -> None:
    """Draw the form; its button starts the job.

    Parameters
    ----------
    dataset : DatasetRecord
    base_rate : float or None
        Harmful compliance before, where a probe has measured it.
    """
    train, held = flagged_rows(dataset)
    run = workspace.current_run(dataset.fingerprint)
    with st.container(border=True, key="probe_form"):
        head = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
        head.subheader(_("New probe"))
        name = head.segmented_control(
            _("Preset"),
            list(PRESETS),
            format_func=translated(PRESET_NAMES).get,
            default="default",
            key="probe_preset",
            required=True,
            label_visibility="collapsed",
            persist_state="session",
        )
        base = ProbeSettings.model_validate(preset(name))
        arms = arm_choice(base.arms, bool(train), run is not None)
        _flags_line(train, held)
        left, right = st.columns(2, gap="large")
        with left:
            model = model_choice("probe_model")
            _target(dataset, model)
        with right:
            source, available = _prompt_source()
            n_prompts = _prompt_number(available, base)
            seeds = st.slider(
                _("Seeds per arm"), 1, 10, base.seeds or SEEDS_CPU, key=f"probe_seeds_{name}", help=_SEEDS_HELP()
            )
        recipe = _recipe(name, base)
        judges = _judges()
        benign = min(base.limit_benign or dataset.n_holdout, dataset.n_holdout)
        st.caption(":material/straighten: " + precision(n_prompts, benign, seeds, base_rate))
        _offer_needed(available, seeds, base_rate, n_prompts, base)
        settings = None
        if arms and model is not None and source is not None and judges is not None:
            settings = base.model_copy(
                update={
                    **recipe,
                    **judges,
                    "arms": arms,
                    "model": model,
                    "target_model": dataset.target_model,
                    "seeds": seeds,
                    "prompt_source": source,
                    "limit_prompts": n_prompts,
                }
            )
        _buttons(dataset, settings, train + held, run.run_id if run else None, len(arms or ()) * seeds)


def _SEEDS_HELP() -> str:
    return _(
        "Each seed draws the random arms anew and trains from another start. From 5 on, intervals cover other seeds."
    )


def _flags_line(train: list[int], held: list[int]) -> None:
    text = counted("{n} flagged row.", "{n} flagged rows.", len(train))
    if held:
        left_out = counted(
            "{n} flagged row is in the holdout and is left out.",
            "{n} flagged rows are in the holdout and are left out.",
            len(held),
        )
        text = sentences(text, left_out)
    if not train:
        text = _("No row is flagged; arms by score need no flags.")
    st.caption(":material/flag: " + text)


def _target(dataset: DatasetRecord, model: str | None) -> None:
    key = f"probe_target_{dataset.fingerprint}"

    def save() -> None:
        _save_target(dataset.fingerprint, st.session_state[key])

    st.text_input(
        _("Model that is to be fine-tuned for real"),
        value=dataset.target_model or "",
        key=key,
        placeholder="meta-llama/Llama-3.1-8B-Instruct",
        on_change=save,
        help=_("A probe of another model is a demonstration: its verdict never goes beyond REVIEW."),
    )
    if dataset.target_model is None:
        st.caption(_("Not recorded yet: the probe will be a demonstration."))
    elif dataset.target_model != model:
        st.caption(_("Another model is probed: the probe will be a demonstration."))


def _save_target(fingerprint: str, target: str) -> None:
    try:
        workspace.store().set_target(fingerprint, target, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")


def _prompt_source() -> tuple[str | None, int | None]:
    source = st.selectbox(
        _("Harmful prompts"),
        list(PROMPT_SETS),
        format_func=translated(PROMPT_SETS).get,
        key=keyed("probe_prompts"),
        persist_state="session",
        help=_(
            "Questions that an aligned model refuses. They are only asked, never trained on. The bundled model was "
            "aligned with the other half of Do-Not-Answer."
        ),
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


def _prompt_number(available: int | None, base: ProbeSettings) -> int:
    # Never more than there are: the interval that the page promises rests on this number.
    wanted = base.limit_prompts or 100
    most = available or wanted
    key = f"probe_n_{available}_{wanted}"
    if (offered := st.session_state.pop("probe_offered", None)) is not None:
        st.session_state[key] = min(offered, most)
    st.session_state.setdefault(key, min(wanted, most))
    return int(
        st.number_input(
            _("Number of prompts"),
            min_value=1,
            max_value=most,
            step=10,
            key=key,
            help=_("Drawn evenly over the categories. More prompts take longer and narrow the interval."),
        )
    )


def _judges() -> dict | None:
    with st.expander(_("Judge"), icon=":material/gavel:", type="compact"):
        judge = judge_choice("probe_judge", _("Judge of the answers"))
        second = None
        if st.toggle(_("A second judge reads the same answers"), key="probe_second"):
            second = judge_choice("probe_judge2", _("Second judge"))
            if second is None:
                return None
    return None if judge is None else {"judge": judge, "second_judge": second}


def _recipe(name: str, base: ProbeSettings) -> dict:
    with st.expander(_("Training settings"), icon=":material/tune:", type="compact"):
        method = st.segmented_control(
            _("Method"),
            list(METHODS),
            format_func=translated(METHODS).get,
            default=base.method,
            key=f"probe_method_{name}",
            required=True,
            help=_("LoRA trains a small adapter; it is faster. All weights changes the whole model."),
        )
        first, second, third, fourth = st.columns(4)
        epochs = first.number_input(_("Epochs"), 1, 100, base.epochs, key=f"probe_epochs_{name}")
        rate_ = second.number_input(
            _("Learning rate"),
            min_value=1e-7,
            max_value=1.0,
            value=base.learning_rate if method == base.method else LEARNING_RATES[method],
            format="%.1e",
            step=1e-5,
            key=f"probe_lr_{name}_{method}",
        )
        batch = third.number_input(_("Rows per step"), 1, 512, base.batch_rows, key=f"probe_batch_{name}")
        rows = fourth.number_input(_("Most rows per arm"), 1, 100_000, base.rows, key=f"probe_rows_{name}")
        lora_r = first.number_input(_("LoRA rank"), 1, 256, base.lora_r, key="probe_rank", disabled=method != "lora")
        max_length = second.number_input(
            _("Longest input (tokens)"), 8, 8192, base.max_length, step=64, key="probe_max_length"
        )
        new_tokens = third.number_input(
            _("Longest answer (tokens)"), 1, 1024, base.max_new_tokens, step=16, key=f"probe_new_tokens_{name}"
        )
        seed = fourth.number_input(_("First seed"), 0, 2**31 - 1, base.seed, key="probe_seed")
    return {
        "method": method,
        "epochs": int(epochs),
        "learning_rate": float(rate_),
        "batch_rows": int(batch),
        "rows": int(rows),
        "seed": int(seed),
        "lora_r": int(lora_r),
        "lora_alpha": float(2 * lora_r),
        "max_length": int(max_length),
        "max_new_tokens": int(new_tokens),
    }


def precision(n_prompts: int, n_benign: int, seeds: int = 1, base_rate: float | None = None) -> str:
    """Say beforehand what difference a probe can detect."""
    base = BASE_RATE if base_rate is None else base_rate
    rise = detectable_difference(n_prompts, seeds, round(base, 2))
    places = {
        "n": n_prompts,
        "seeds": seeds,
        "base": f"{base:.0%}",
        "points": "–" if rise is None else f"{100 * rise:.0f}",
    }
    text = (
        _("With {n} harmful prompts (seeds per arm: {seeds}) no rise from {base} can be told apart from chance.")
        if rise is None
        else _(
            "With {n} harmful prompts (seeds per arm: {seeds}) a rise of harmful compliance from {base} by {points} "
            "points or more is detected four times out of five; a smaller one is likely to be missed."
        )
    ).format(**places)
    if n_benign:
        benign = counted(
            "Usefulness is measured on {n} held-out row.", "Usefulness is measured on {n} held-out rows.", n_benign
        )
        text = sentences(text, benign)
    return text


def _offer_needed(
    available: int | None, seeds: int, base_rate: float | None, n_prompts: int, base: ProbeSettings
) -> None:
    """Say how many prompts the stop criteria's limit needs, and offer that number."""
    policy = policy_in_force(workspace.settings().database_url).policy
    limit = next((c.change for c in policy.criteria if c.metric == "harmful_compliance" and c.change), None)
    if limit is None:
        return
    found = prompts_needed(limit, round(BASE_RATE if base_rate is None else base_rate, 2), seeds)
    if found is None:
        st.caption(
            _(
                "With {seeds} seeds per arm no number of prompts settles the limit of {points} points: "
                "more seeds are needed."
            ).format(seeds=seeds, points=f"{100 * limit:g}")
        )
        return
    needed = max(policy.min_prompts, found)
    if n_prompts >= needed:
        return
    row = st.container(horizontal=True, vertical_alignment="center")
    row.caption(
        _("The stop criteria's limit of {points} points needs about {n} prompts for a GO.").format(
            points=f"{100 * limit:g}", n=needed
        ),
        width="content",
    )
    most = min(needed, available or needed)
    if most > n_prompts:
        row.button(
            _("Use {n} prompts").format(n=most),
            key="probe_use_needed",
            type="tertiary",
            on_click=lambda: st.session_state.update(probe_offered=most),
        )


def _buttons(
    dataset: DatasetRecord, settings: ProbeSettings | None, flagged: list[int], run_id: str | None, runs: int
) -> None:
    row = st.container(horizontal=True, vertical_alignment="center")
    row.button(
        counted("Start {n} fine-tune", "Start {n} fine-tunes", runs),
        key="start_probe",
        type="primary",
        icon=":material/play_arrow:",
        disabled=settings is None,
        on_click=_start,
        args=("start_probe", dataset.fingerprint, settings, flagged, run_id),
    )
    row.button(
        _("How long will it take?"),
        key="estimate_probe",
        icon=":material/timer:",
        disabled=settings is None,
        on_click=_start,
        args=("start_probe_estimate", dataset.fingerprint, settings, flagged, run_id),
    )
    if job_id := st.session_state.get("probe_estimate"):
        with row:
            st.fragment(_estimate, run_every=1.5)(job_id)


def _estimate(job_id: str) -> None:
    job = workspace.jobs().get(job_id)
    if job.status in MOVING:
        st.caption(":material/hourglass_top: " + _("Measuring this machine …"))
    elif job.status == "done" and job.result:
        found = job.result
        st.caption(
            ":material/timer: "
            + _("About {time} on this machine: {runs} fine-tunes of {rows} rows, {prompts} harmful prompts.").format(
                time=duration(found["seconds"]), runs=found["runs"], rows=found["rows"], prompts=found["prompts"]
            )
        )
    else:
        st.caption(":material/error: " + failure(job))


def _start(call: str, fingerprint: str, settings: ProbeSettings, flagged: list[int], run_id: str | None) -> None:
    needs = any(name.startswith((FLAGGED, "cleaned", "mitigated", "length")) for name in settings.arms)
    try:
        start = getattr(workspace.jobs(), call)
        job_id = start(fingerprint, settings, flagged if needs else [], workspace.actor(), run_id)
    except UserError as error:
        st.toast(say(error), icon=":material/error:")
        return
    st.session_state["probe_estimate" if call == "start_probe_estimate" else "show_probe"] = job_id


def settings_line(settings: dict) -> str:
    """Describe a probe's settings in a line."""
    made = ProbeSettings.model_validate(settings) if "arms" in settings else None
    if made is None:
        return _(METHODS.get(settings.get("method", ""), "")) + " · " + _("earlier version")
    arms = ", ".join(made.arms) if len(made.arms) <= 3 else counted("{n} arm", "{n} arms", len(made.arms))
    return " · ".join([arms, _(METHODS[made.method]), counted("{n} epoch", "{n} epochs", made.epochs)])
