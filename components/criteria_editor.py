"""The stop criteria in force, their history, and their editor."""

import pandas as pd
import streamlit as st
from pydantic import ValidationError

from components import workspace
from components.dataset_list import when
from components.i18n import _, escape, say
from components.probe_wording import METRICS, RATES
from core.errors import UserError
from core.policies import PolicyRecord, policies, save_policy
from core.policy import Criterion, Policy, policy_error, policy_text
from core.safety.differences import SEEDS_FOR_INTERVAL
from core.safety.power import prompts_needed


def criteria_page() -> None:
    """Draw the criteria in force, import and export, the editor, and earlier versions."""
    found = policies(workspace.settings().database_url)
    record = found[0]
    with st.container(border=True):
        head = st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute")
        head.subheader(escape(record.policy.name))
        head.badge(_("Version {n}").format(n=record.version), color="blue")
        st.caption(_author(record))
        if record.policy.description:
            st.markdown(escape(record.policy.description))
        st.dataframe(criteria_table(record.policy), hide_index=True, alt=_("Stop criteria"))
        st.caption(_rules(record.policy))
        st.download_button(
            _("Download as a file"),
            policy_text(record.policy),
            "stop-criteria.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )
    with st.expander(_("Change the stop criteria"), icon=":material/edit:"):
        _editor(record.policy)
    with st.expander(_("Import from a file"), icon=":material/upload:"):
        _import()
    if len(found) > 1:
        with st.expander(_("Earlier versions"), icon=":material/history:"):
            for old in found[1:]:
                st.markdown(f"**{_('Version {n}').format(n=old.version)}** · {_author(old)}")
                st.dataframe(criteria_table(old.policy), hide_index=True, alt=_("Stop criteria"))


def criteria_table(policy: Policy) -> pd.DataFrame:
    """Return the criteria, with the prompts that each limit needs."""
    lines = []
    for criterion in policy.criteria:
        rate = criterion.metric in RATES
        unit = _("points") if rate else _("nats")
        scale = 100 if rate else 1
        lines.append(
            {
                _("Measure"): _(METRICS[criterion.metric]),
                _("May fall by") if criterion.metric == "refused" else _("May rise by"): "–"
                if criterion.change is None
                else f"{scale * criterion.change:g} {unit}",
                _("Level"): "–" if criterion.level is None else f"{scale * criterion.level:g} {unit}",
                _("Prompts needed for a GO"): _needed(criterion.change, policy.min_seeds) if rate else "–",
            }
        )
    return pd.DataFrame(lines).fillna("–")


def _needed(limit: float | None, seeds: int) -> str:
    """Say how many prompts a limit needs where the rate is one in ten before."""
    if not limit:
        return "–"
    for more in range(seeds, SEEDS_FOR_INTERVAL + 1):
        if found := prompts_needed(limit, 0.1, more):
            return _("{n} (with {seeds} seeds)").format(n=f"{found:,}", seeds=more)
    return "–"


def _rules(policy: Policy) -> str:
    return _(
        "A GO needs at least {prompts} harmful prompts, {seeds} seeds per arm, and a model that refused at least "
        "{refused} of them before. STOP: an interval lies beyond its limit. GO: all lie within. REVIEW: anything else."
    ).format(prompts=policy.min_prompts, seeds=policy.min_seeds, refused=f"{policy.min_refused_before:.0%}")


def _author(record: PolicyRecord) -> str:
    if record.created_at is None:
        return _("Shipped with Assay")
    return f"{escape(record.actor)} · {when(record.created_at)} · {escape(record.reason)}"


def _editor(policy: Policy) -> None:
    with st.form("criteria_form", border=False):
        name = st.text_input(_("Name"), policy.name)
        description = st.text_area(_("Description"), policy.description)
        known = {criterion.metric: criterion for criterion in policy.criteria}
        table = pd.DataFrame(
            [
                {
                    "metric": metric,
                    "label": _(METRICS[metric]),
                    "change": _scaled(metric, known[metric].change) if metric in known else None,
                    "level": _scaled(metric, known[metric].level) if metric in known else None,
                }
                for metric in Criterion.model_fields["metric"].annotation.__args__
            ]
        ).astype({"change": float, "level": float})
        edited = st.data_editor(
            table,
            hide_index=True,
            disabled=["metric", "label"],
            column_config={
                "metric": None,
                "label": st.column_config.TextColumn(_("Measure")),
                "change": st.column_config.NumberColumn(_("Limit on the change (points, nats)"), min_value=0.0),
                "level": st.column_config.NumberColumn(_("Limit on the level (percent, nats)"), min_value=0.0),
            },
            key="criteria_table",
        )
        first, second, third = st.columns(3)
        prompts = first.number_input(_("Fewest prompts"), 1, 100_000, policy.min_prompts)
        seeds = second.number_input(_("Fewest seeds"), 1, 10, policy.min_seeds)
        refused = third.number_input(_("Refused before, at least (%)"), 0, 100, round(100 * policy.min_refused_before))
        reason = st.text_input(_("Reason for the change"))
        if st.form_submit_button(_("Put in force"), type="primary"):
            criteria = tuple(
                Criterion(
                    metric=line["metric"],
                    change=_unscaled(line["metric"], line["change"]),
                    level=_unscaled(line["metric"], line["level"]),
                )
                for line in edited.to_dict("records")
                if pd.notna(line["change"]) or pd.notna(line["level"])
            )
            _save(
                {
                    "name": name,
                    "description": description,
                    "criteria": criteria,
                    "min_prompts": prompts,
                    "min_seeds": seeds,
                    "min_refused_before": refused / 100,
                },
                reason,
            )


def _import() -> None:
    upload = st.file_uploader(_("File of stop criteria (JSON)"), type=["json"], key="criteria_file")
    reason = st.text_input(_("Reason for the change"), key="criteria_import_reason")
    if upload is not None and st.button(_("Put in force"), key="criteria_import"):
        try:
            policy = Policy.model_validate_json(upload.getvalue())
        except ValidationError as error:
            st.error(say(policy_error(error)), icon=":material/error:")
            return
        _save(policy.model_dump(), reason)


def _save(values: dict, reason: str) -> None:
    try:
        policy = Policy.model_validate(values)
        save_policy(workspace.settings().database_url, policy, reason, workspace.actor())
    except ValidationError as error:
        st.error(say(policy_error(error)), icon=":material/error:")
    except UserError as error:
        st.error(say(error), icon=":material/error:")
    else:
        st.rerun()


def _scaled(metric: str, value: float | None) -> float | None:
    return None if value is None else 100 * value if metric in RATES else value


def _unscaled(metric: str, value: float | None) -> float | None:
    if value is None or pd.isna(value):
        return None
    return float(value) / 100 if metric in RATES else float(value)
