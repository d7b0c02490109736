"""Which model to score or to probe with."""

from pathlib import Path

import streamlit as st

from components import workspace
from components.i18n import _, translated
from core.i18n import N_

BUNDLED, BUNDLED_BASE = "bundled", "bundled-base"
KINDS = {
    BUNDLED: N_("Bundled"),
    BUNDLED_BASE: N_("Bundled, not aligned"),
    "folder": N_("Folder"),
    "hub": N_("Hugging Face"),
}
NAMES = {BUNDLED: N_("SmolLM2-135M-Instruct, aligned"), BUNDLED_BASE: "SmolLM2-135M-Instruct"}
ABOUT = {
    BUNDLED: N_(
        "SmolLM2-135M-Instruct with an adapter that makes it refuse harmful requests, on this machine. "
        "Small enough for a laptop without a graphics card."
    ),
    BUNDLED_BASE: N_(
        "SmolLM2-135M-Instruct as its makers ship it, on this machine. It refuses next to nothing, "
        "so a probe of it has little safety to measure."
    ),
}


def model_choice(key: str) -> str | None:
    """Draw the choice; return a bundled model's name, a folder or a hub id, or None while the text is empty."""
    default = workspace.settings().default_model
    kind = st.segmented_control(
        _("Model"),
        list(KINDS),
        format_func=translated(KINDS).get,
        default=_kind_of(default),
        key=f"{key}_kind",
        required=True,
        wrap=True,
        persist_state="session",
    )
    if kind in ABOUT:
        st.caption(_(ABOUT[kind]))
        return str(kind)
    text = st.text_input(
        _("Folder of the model on the server") if kind == "folder" else _("Model id on the Hugging Face hub"),
        value=default if _kind_of(default) == kind else "",
        key=f"{key}_{kind}",
        placeholder="/models/my-model" if kind == "folder" else "HuggingFaceTB/SmolLM2-360M-Instruct",
        persist_state="session",
    )
    return (text or "").strip() or None


def _kind_of(model: str) -> str:
    if model in NAMES:
        return model
    return "folder" if Path(model).expanduser().is_dir() or model.startswith((".", "/", "~")) else "hub"


def model_label(model: str) -> str:
    """Return a short name for a model setting."""
    if model in NAMES:
        return _(NAMES[model])
    return Path(model).name if _kind_of(model) == "folder" else model
