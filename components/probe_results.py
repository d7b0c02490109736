"""A finished probe: verdict, figures by arm, and what it was measured with."""

import json

import pandas as pd
import streamlit as st

from components import probe_plots, theme
from components.answers import answers
from components.i18n import _, counted, escape
from components.job_card import duration
from components.probe_wording import (
    METRICS,
    OUTCOMES,
    RATES,
    VERDICTS,
    cautions,
    change,
    level,
    note,
    p_value,
    verdict_text,
)

CHART = {"displayModeBar": False}
DOSES = {"rows": "k", "learning_rate": "lr", "epochs": "epochs"}


def probe_results(result: dict, probe_id: str) -> None:
    """Draw a result (`core.probe_result.ProbeResult` as JSON values)."""
    verdict_card(result)
    tabs = st.tabs([_("Figures"), _("Categories"), _("Answers"), _("Details")], key="probe_tabs")
    with tabs[0]:
        _figures(result)
    with tabs[1]:
        _categories(result)
    with tabs[2]:
        answers(result, probe_id)
    with tabs[3]:
        _details(result)


def verdict_card(result: dict) -> None:
    """Draw the verdict with the criterion that decided, the cause, and what limits both."""
    verdict = result["verdict"]
    name, colour, icon = VERDICTS[verdict["outcome"]]
    with st.container(border=True, key="probe_result"):
        head = st.container(horizontal=True, vertical_alignment="center")
        head.markdown(f"### :{colour}[{icon} {_(name)}]", width="content")
        if verdict["demonstration"]:
            head.badge(_("Demonstration"), color="gray", icon=":material/school:")
        # Model names come from outside; the sentences themselves hold no Markdown.
        st.markdown(escape(verdict_text(verdict)))
        if result["cause"]:
            st.markdown(":material/compare_arrows: " + escape(note(result["cause"])))
        with st.expander(_("What this probe can and cannot show"), type="compact"):
            st.caption("\n".join(f"- {escape(line)}" for line in cautions(result)))
        if verdict["checks"]:
            with st.expander(_("Stop criteria, one by one"), type="compact"):
                st.dataframe(check_table(verdict), hide_index=True, alt=_("Stop criteria, one by one"))


def check_table(verdict: dict) -> pd.DataFrame:
    """Return the criteria with their limits and what was measured."""
    lines = []
    for check in verdict["checks"]:
        metric = check["metric"]
        scale = 100 if metric in RATES else 1
        write = change if check["kind"] == "change" else level
        lines.append(
            {
                _("Criterion"): _(METRICS[metric]),
                _("Limit"): (_("change by {n}") if check["kind"] == "change" else _("level {n}")).format(
                    n=f"{scale * check['limit']:g}"
                ),
                _("Measured (95% interval)"): write(metric, check),
                _("Result"): _(VERDICTS[check["outcome"]][0]),
            }
        )
    return pd.DataFrame(lines)


def metric_table(result: dict) -> pd.DataFrame:
    """Return one line a metric and arm: before, after, change with its interval, corrected p."""
    lines = []
    for metric, label in METRICS.items():
        before = result["before"][metric]
        for name, arm in result["arms"].items():
            if metric not in arm["difference"]:
                continue
            found = arm["over_seeds"].get(metric) or arm["difference"][metric]
            lines.append(
                {
                    _("Measure"): _(label),
                    _("Arm"): name,
                    _("Before"): level(metric, before),
                    _("After"): level(metric, arm["pooled"][metric]),
                    _("Change (95% interval)"): change(metric, found),
                    _("p (Holm)"): p_value(arm["difference"][metric]),
                    "n": before["n"],
                    _("Seeds"): len(arm["seeds"]),
                }
            )
    return pd.DataFrame(lines)


def _figures(result: dict) -> None:
    metrics = [m for m in METRICS if any(m in arm["difference"] for arm in result["arms"].values())]
    if not metrics:
        st.caption(_("Nothing was measured."))
        return
    charts = st.grid(2, min_column_width=420)
    with charts.cell().container(border=True, height="stretch"):
        metric = st.selectbox(
            _("Change of"),
            metrics,
            format_func=lambda m: _(METRICS[m]),
            key="probe_metric",
            label_visibility="collapsed",
        )
        st.plotly_chart(
            probe_plots.changes(
                change_table(result, metric),
                _("Change in points, with 95% interval") if metric in RATES else _("Change, with 95% interval"),
                theme.colours(),
                metric in RATES,
                limit_of(result, metric),
            ),
            key=f"changes_{metric}",
            config=CHART,
            alt=_("Change of each arm with its 95% interval"),
        )
        st.caption(_("Dashed: the limit of the stop criteria. Each arm is compared with before on the same prompts."))
    with charts.cell().container(border=True, height="stretch"):
        st.markdown(f"**{_('Answers to harmful prompts')}**")
        labels = {name: _(label) for name, (label, _colour) in OUTCOMES.items()}
        st.plotly_chart(
            probe_plots.outcomes(
                outcome_table(result, _("before")), labels, _("Share of answers (%)"), theme.colours()
            ),
            key="outcomes",
            config=CHART,
            alt=_("Shares of refused, complied and degenerate answers"),
        )
        st.caption(_("A degenerate answer is broken text: a broken model is not a harmful one."))
    _dose_curve(result)
    st.dataframe(metric_table(result), hide_index=True, alt=_("Measures before and after by arm"))
    _drift(result)


def change_table(result: dict, metric: str) -> pd.DataFrame:
    """Return the change of a metric, one line an arm."""
    lines = [
        {"name": name, **{c: found[c] for c in ("value", "low", "high", "n")}}
        for name, arm in result["arms"].items()
        if (found := arm["over_seeds"].get(metric) or arm["difference"].get(metric))
    ]
    table = pd.DataFrame(lines, columns=["name", "value", "low", "high", "n"])
    return table.astype({"value": float, "low": float, "high": float})


def outcome_table(result: dict, before: str) -> pd.DataFrame:
    """Return the shares of the three outcomes before and in each arm."""
    names = ("refused", "degenerate")
    lines = [{"name": before, **{name: result["before"][name]["value"] or 0.0 for name in names}}]
    for arm, about in result["arms"].items():
        lines.append({"name": arm, **{name: about["pooled"].get(name, {}).get("value") or 0.0 for name in names}})
    table = pd.DataFrame(lines)
    complied = [result["before"]["harmful_compliance"]["value"] or 0.0]
    complied += [a["pooled"].get("harmful_compliance", {}).get("value") or 0.0 for a in result["arms"].values()]
    return table.assign(complied=complied)


def limit_of(result: dict, metric: str) -> float | None:
    """Return the stop criteria's limit on the change of a metric."""
    criteria = result["verdict"].get("policy", {}).get("criteria", [])
    return next((c["change"] for c in criteria if c["metric"] == metric and c["change"] is not None), None)


def dose_table(result: dict) -> tuple[str, pd.DataFrame]:
    """Return which setting the arms vary, and the change of harmful compliance at each dose."""
    lines, setting = [], ""
    for name, arm in result["arms"].items():
        if len(arm["settings"]) == 1 and "harmful_compliance" in arm["difference"]:
            [(setting, dose)] = arm["settings"].items()
            found = arm["difference"]["harmful_compliance"]
            lines.append({"arm": name.split("@")[0], "dose": dose, **{c: found[c] for c in ("value", "low", "high")}})
    return setting, pd.DataFrame(lines, columns=["arm", "dose", "value", "low", "high"])


def _dose_curve(result: dict) -> None:
    setting, table = dose_table(result)
    if len(table) < 2:
        return
    names = {"rows": _("Rows"), "learning_rate": _("Learning rate"), "epochs": _("Epochs")}
    with st.container(border=True):
        st.markdown(f"**{_('Dose')}**")
        axes = (names[setting], _("Change of harmful compliance (points)"))
        st.plotly_chart(
            probe_plots.doses(
                table, axes, theme.colours(), setting != "epochs", limit_of(result, "harmful_compliance")
            ),
            key="doses",
            config=CHART,
            alt=_("Change of harmful compliance over the dose, by arm"),
        )


def _drift(result: dict) -> None:
    """Show how the manner of answering benign prompts moved."""
    manner = {
        "words": _("Words"),
        "lists": _("With a list"),
        "markup": _("With Markdown"),
        "repetition": _("Repeated word triples"),
        "other_script": _("In another script than the prompt"),
    }
    parts = {_("before"): result["before_drift"]}
    for name, arm in result["arms"].items():
        for seed, found in arm["seeds"].items():
            parts[f"{name} · {_('seed {n}').format(n=seed)}"] = found["drift"]
    with st.expander(_("Manner of the answers to benign prompts"), icon=":material/text_fields:", type="compact"):
        lines = []
        for part, found in parts.items():
            line = {_("Answers of"): part, "n": found["words"]["n"]}
            for name, label in manner.items():
                line[label] = level("refused" if name != "words" else "benign_loss", found[name])
            lines.append(line)
        st.dataframe(pd.DataFrame(lines), hide_index=True, alt=_("Manner of the answers to benign prompts"))
        st.caption(_("Each figure with its 95% interval. A model over-adapts in the direction in which its rows lean."))


def category_table(result: dict) -> pd.DataFrame:
    """Return harmful compliance by category, before and the change in each arm."""
    lines = []
    for category, before in result["before"]["by_category"].items():
        line = {_("Category"): _(category), "n": before["harmful_compliance"]["n"]}
        line[_("Before")] = level("harmful_compliance", before["harmful_compliance"])
        for name, arm in result["arms"].items():
            line[name] = change("harmful_compliance", arm["by_category"][category])
        lines.append(line)
    return pd.DataFrame(lines)


def _categories(result: dict) -> None:
    if not result["before"]["by_category"]:
        st.caption(_("Nothing was measured."))
        return
    arm = st.selectbox(_("Arm"), list(result["arms"]), key="category_arm", label_visibility="collapsed")
    found = result["arms"][arm]["by_category"]
    table = pd.DataFrame(
        [{"name": _(name), **{c: item[c] for c in ("value", "low", "high", "n")}} for name, item in found.items()]
    ).sort_values("value", ascending=False)
    st.plotly_chart(
        probe_plots.changes(table, _("Change of harmful compliance in points"), theme.colours(), True),
        key=f"categories_{arm}",
        config=CHART,
        alt=_("Change of harmful compliance by category"),
    )
    st.dataframe(category_table(result), hide_index=True, alt=_("Harmful compliance by category"))
    st.caption(_("Intervals are widened so that all categories hold at once (Bonferroni)."))


def _details(result: dict) -> None:
    settings = result["settings"]
    facts = {
        _("Model"): f"{result['model_name']} ({result['model_id']})",
        _("Model that is to be fine-tuned for real"): result["target_model"] or "–",
        _("Rows per arm"): f"{result['size']:,}",
        _("Seeds"): ", ".join(map(str, result["seeds"])),
        _("Method"): settings["method"],
        _("Epochs"): settings["epochs"],
        _("Learning rate"): f"{settings['learning_rate']:g}",
        _("Longest input (tokens)"): settings["max_length"],
        _("Longest answer (tokens)"): settings["max_new_tokens"],
        _("Judge"): settings["judge"]["name"],
        _("Whole probe"): duration(sum(result["timings"].values())),
    }
    left, right = st.columns(2)
    with left:
        st.table({name: escape(str(value)) for name, value in facts.items()}, border="horizontal")
    with right:
        curves = {
            f"{name} · {seed}": pd.Series(found["train"]["loss_curve"])
            for name, arm in result["arms"].items()
            for seed, found in arm["seeds"].items()
        }
        if curves:
            st.caption(_("Training loss per step"))
            st.line_chart(pd.DataFrame(curves), height=260, alt=_("Training loss per step"))
    st.dataframe(run_table(result), hide_index=True, alt=_("Fine-tunes"))
    if result["judge_agreement"]:
        found = result["judge_agreement"]
        st.caption(
            _("The two judges agree on {raw} of the answers (n = {n}); Cohen's κ {kappa}.").format(
                raw=level("refused", found["raw"]), n=found["raw"]["n"], kappa=level("benign_loss", found["kappa"])
            )
        )
    left_out = [*result["left_out"], *result["rejected_prompts"]]
    if left_out:
        st.caption(counted("{n} row or prompt was left out", "{n} rows or prompts were left out", len(left_out)))
        st.dataframe(
            pd.DataFrame(
                [
                    {_("Row"): item["row_id"], _("Line"): item["line"], _("Reason"): _(item["reason"])}
                    for item in left_out
                ]
            ),
            hide_index=True,
            alt=_("Rows that were left out"),
        )


def run_table(result: dict) -> pd.DataFrame:
    """Return one line a fine-tune: what it trained on and how long it took."""
    lines = []
    for name, arm in result["arms"].items():
        for seed, found in arm["seeds"].items():
            train = found["train"]
            lines.append(
                {
                    _("Arm"): name,
                    _("Seed"): int(seed),
                    _("Rows"): train["rows"],
                    _("Supervised tokens"): train["supervised_tokens"],
                    _("Steps"): train["steps"],
                    _("Tokens per second"): train["tokens_per_second"],
                    _("Training"): duration(found["seconds"]["training"]),
                    _("Evaluation"): duration(found["seconds"]["evaluation"]),
                }
            )
    return pd.DataFrame(lines)


def download(result: dict, probe_id: str) -> None:
    """Offer the whole result as JSON."""
    st.download_button(
        _("Download probe.json"),
        json.dumps(result, ensure_ascii=False, indent=1),
        f"probe-{probe_id[:8]}.json",
        "application/json",
        icon=":material/download:",
        key="download_probe",
        on_click="ignore",
    )
