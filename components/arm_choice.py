"""Which rows a probe trains on, and at which doses."""

import streamlit as st

from components.i18n import _, counted, say, sentences
from core.arms import AS_IS, CLEANED, FLAGGED, MATCHED, MITIGATED, expand_dose, parse_arms
from core.errors import UserError
from core.i18n import N_

TOP = 40
DESCRIPTIONS = {
    FLAGGED: N_("The flagged rows"),
    MATCHED: N_("Control: unflagged rows of the same length"),
    AS_IS: N_("Random rows of the whole dataset: what would really happen"),
    CLEANED: N_("Random rows without the flagged ones"),
    MITIGATED: N_("The flagged rows, a fifth of them replaced by refusals"),
    f"top:self_inf_n:{TOP}": N_("The highest by Self-Inf-N"),
    f"top:self_inf:{TOP}": N_("The highest by Self-Inf"),
    f"bottom:self_inf_n:{TOP}": N_("The lowest by Self-Inf-N"),
}
NEEDS_FLAGS = (FLAGGED, CLEANED, MITIGATED)
DOSES = {
    "": N_("One dose"),
    "k": N_("Several numbers of rows"),
    "lr": N_("Several learning rates"),
    "epochs": N_("Several numbers of epochs"),
}
DOSE_VALUES = {"k": "25,50,100", "lr": "1e-4,3e-4,1e-3", "epochs": "1,3,5"}


def arm_choice(preset_arms: tuple[str, ...], flagged: bool, scored: bool) -> tuple[str, ...] | None:
    """Draw the choice of arms; return their names, or None while they cannot be read.

    Parameters
    ----------
    preset_arms : tuple of str
        The preset's arms.
    flagged, scored : bool
        Whether the dataset has flagged rows, and scores.
    """
    options = [
        name
        for name in DESCRIPTIONS
        if (flagged or name not in NEEDS_FLAGS) and (scored or not name.startswith(("top", "bottom")))
    ]
    default = [_available(name, flagged) for name in preset_arms]
    chosen = st.multiselect(
        _("Arms: what is trained on, each on equally many rows"),
        list(dict.fromkeys([*options, *default])),
        default=[name for name in default if scored or not name.startswith("top")],
        format_func=label,
        accept_new_options=True,
        key=f"probe_arms_{'_'.join(preset_arms)}_{flagged}_{scored}",
        help=_("You can also type an arm as on the command line, for example top:self_inf:25 or flagged@lr=1e-4."),
    )
    if not chosen:
        st.caption(_("Choose at least one arm."))
        return None
    try:
        arms = parse_arms(chosen)
        if MATCHED not in {arm.kind for arm in arms}:
            st.caption(
                ":material/info: "
                + _(
                    "Without the control of the same length nothing says whether the rows are the cause or "
                    "fine-tuning itself."
                )
            )
        return _dosed([arm.name for arm in arms])
    except UserError as error:
        st.error(say(error), icon=":material/error:")
        return None


def label(name: str) -> str:
    """Describe an arm: its name as on the command line, and what it is."""
    about = DESCRIPTIONS.get(name)
    return f"{name} · {_(about)}" if about else name


def _available(name: str, flagged: bool) -> str:
    # Without flags the highest scores stand in for them.
    return f"top:self_inf_n:{TOP}" if name == FLAGGED and not flagged else name


def _dosed(names: list[str]) -> tuple[str, ...]:
    first, second = st.columns(2)
    kind = first.selectbox(
        _("Dose"),
        list(DOSES),
        format_func=lambda name: _(DOSES[name]),
        key="probe_dose",
        help=_(
            "Shows at which recipe safety gives way. Cheap doses run first; dearer ones are left out "
            "once it is decided."
        ),
    )
    if not kind:
        return tuple(names)
    values = second.text_input(_("Doses"), value=DOSE_VALUES[kind], key=f"probe_dose_{kind}")
    arms = expand_dose(parse_arms(names), f"{kind}={values}")
    st.caption(
        sentences(
            counted("{n} fine-tune per seed.", "{n} fine-tunes per seed.", len(arms)),
            ", ".join(arm.name for arm in arms),
        )
    )
    return tuple(arm.name for arm in arms)
