"""A finished probe: figures before and after, and the answers side by side."""

import json

import pandas as pd
import streamlit as st

from components import plots, theme
from components.i18n import _, counted, escape
from components.job_card import duration
from components.probe_wording import cautions, headline, interval, percent
from core.i18n import N_

RATES = {
    "harmful_compliance": N_("Harmful compliance"),
    "refused": N_("Refused (harmful prompts)"),
    "degenerate": N_("Degenerate (harmful prompts)"),
    "over_refusal": N_("Over-refusal (benign prompts)"),
}
OUTCOMES = {
    "refused": (N_("Refused"), "green"),
    "complied": (N_("Complied"), "red"),
    "degenerate": (N_("Degenerate"), "gray"),
}
PAGE = 10


def probe_results(result: dict, probe_id: str) -> None:
    """Draw a result (`core.probe_result.ProbeResult` as JSON values)."""
    before, after = result["before"], result["after"]
    sentence, colour = headline(before, after)
    with st.container(border=True, key="probe_result"):
        st.markdown(f"##### :{colour}[:material/circle:] {sentence}")
        # Model names come from outside; the sentences themselves hold no Markdown.
        st.caption("\n".join(f"- {escape(line)}" for line in cautions(result)))
        _cards(before, after)
    figures, answers, details = st.tabs([_("Figures"), _("Answers"), _("Details")], key="probe_tabs")
    with figures:
        _figures(before, after)
    with answers:
        _answers(result["answers"], probe_id)
    with details:
        _details(result)


def _cards(before: dict, after: dict) -> None:
    cards = st.grid(4, min_column_width=210)
    for name in ("harmful_compliance", "over_refusal"):
        with cards.cell().container(border=True, height="stretch"):
            st.metric(_(RATES[name]), f"{percent(before[name]['value'])} → {percent(after[name]['value'])}")
            _interval_lines(before[name], after[name])
    for name, label in (("benign_loss", _("Benign loss (nats)")), ("perplexity", _("Benign perplexity"))):
        with cards.cell().container(border=True, height="stretch"):
            st.metric(label, f"{_number(before[name]['value'])} → {_number(after[name]['value'])}")
            _interval_lines(before[name], after[name], as_percent=False)


def _interval_lines(before: dict, after: dict, as_percent: bool = True) -> None:
    st.caption(
        f"{_('before')} {interval(before, as_percent)}  \n{_('after')} {interval(after, as_percent)}  \n"
        + _("95% interval, n = {n}").format(n=after["n"])
    )


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,.2f}"


def _figures(before: dict, after: dict) -> None:
    labels = {"before": _("Before"), "after": _("After"), "axis": _("Share of prompts, with 95% interval")}
    overall = rate_table(before, after, {name: _(label) for name, label in RATES.items()})
    charts = st.grid(2, min_column_width=420)
    with charts.cell().container(border=True, height="stretch"):
        st.markdown(f"**{_('Overall')}**")
        _intervals(overall, labels, "overall")
    by_category = category_table(before, after)
    with charts.cell().container(border=True, height="stretch"):
        st.markdown(f"**{_('Harmful compliance by category')}**")
        _intervals(by_category, labels, "by_category")
    by_category["name"] = f"{_(RATES['harmful_compliance'])}: " + by_category["name"]
    st.dataframe(
        _readable(pd.concat([overall, by_category])),
        hide_index=True,
        alt=_("Rates before and after with counts and intervals"),
    )


def _intervals(table: pd.DataFrame, labels: dict[str, str], key: str) -> None:
    st.plotly_chart(
        plots.intervals(table, labels, theme.colours()),
        key=f"intervals_{key}",
        config={"displayModeBar": False},
        alt=_("Rates before and after with 95% intervals"),
    )


def rate_table(before: dict, after: dict, names: dict[str, str]) -> pd.DataFrame:
    """Return one line per rate and arm: name, arm, value, low, high, k, n."""
    return pd.DataFrame(
        [
            {"name": label, "arm": arm, **{c: metrics[name][c] for c in ("value", "low", "high", "k", "n")}}
            for name, label in names.items()
            for arm, metrics in (("before", before), ("after", after))
        ]
    )


def category_table(before: dict, after: dict) -> pd.DataFrame:
    """Return the harmful-compliance rate of each category as `rate_table` does, largest rate after first."""
    names = sorted(
        after["by_category"],
        key=lambda name: -(after["by_category"][name]["harmful_compliance"]["value"] or 0),
    )
    lines = []
    for name in names:
        for arm, metrics in (("before", before), ("after", after)):
            if name in metrics["by_category"]:
                rate = metrics["by_category"][name]["harmful_compliance"]
                lines.append({"name": _(name), "arm": arm, **{c: rate[c] for c in ("value", "low", "high", "k", "n")}})
    return pd.DataFrame(lines, columns=["name", "arm", "value", "low", "high", "k", "n"])


def _readable(table: pd.DataFrame) -> pd.DataFrame:
    wide = {}
    for line in table.to_dict("records"):
        cells = wide.setdefault(line["name"], {_("Measure"): line["name"]})
        arm = _("Before") if line["arm"] == "before" else _("After")
        cells[arm] = percent(line["value"])
        cells[f"{arm} · {_('95% interval')}"] = interval(line)
        cells[f"{arm} · k / n"] = f"{line['k']} / {line['n']}"
    return pd.DataFrame(list(wide.values()))


def _answers(pairs: list[dict], probe_id: str) -> None:
    if not pairs:
        st.caption(_("No answers were kept."))
        return
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    kinds = {"harmful": _("Harmful prompts"), "benign": _("Benign prompts")}
    kind = bar.segmented_control(
        _("Prompts"),
        list(kinds),
        format_func=kinds.get,
        default="harmful",
        key="answers_kind",
        required=True,
        label_visibility="collapsed",
    )
    shows = {"all": _("All"), "changed": _("Outcome changed"), "complied": _("Complied after")}
    show = bar.segmented_control(
        _("Show"),
        list(shows),
        format_func=shows.get,
        default="all",
        key="answers_show",
        required=True,
        label_visibility="collapsed",
    )
    chosen = choose_answers(pairs, kind, show)
    bar.caption(counted("{n} answer pair", "{n} answer pairs", len(chosen)), width="content")
    if kind == "harmful":
        st.caption(_("Harmful prompts and what the model wrote stay folded until you open them."))
    if not chosen:
        st.caption(_("No answer matches. Choose “All” to see every one."))
        return
    pages = -(-len(chosen) // PAGE)
    page = st.session_state.get(f"answers_page_{probe_id}_{kind}_{show}", 1)
    for pair in chosen[(page - 1) * PAGE : page * PAGE]:
        _pair(pair)
    if pages > 1:
        st.pagination(pages, key=f"answers_page_{probe_id}_{kind}_{show}")


def choose_answers(pairs: list[dict], kind: str, show: str = "all") -> list[dict]:
    """Return the pairs of a kind, those whose outcome changed first."""
    chosen = [pair for pair in pairs if pair["kind"] == kind]
    if show == "changed":
        chosen = [pair for pair in chosen if pair["before"]["outcome"] != pair["after"]["outcome"]]
    if show == "complied":
        chosen = [pair for pair in chosen if pair["after"]["outcome"] == "complied"]
    return sorted(chosen, key=lambda pair: pair["before"]["outcome"] == pair["after"]["outcome"])


def _pair(pair: dict) -> None:
    chips = f"{_chip(pair['before'])} → {_chip(pair['after'])}"
    title = escape(_(pair["category"]) if pair["category"] else pair["prompt_id"])
    if pair["kind"] == "benign":
        words = " ".join(pair["prompt"].split())
        title = escape(words if len(words) <= 70 else words[:70] + "…")
    with st.expander(f"{chips} :gray[{title}]", key=f"pair_{pair['prompt_id']}"):
        st.caption(_("Prompt"))
        st.code(pair["prompt"], language=None, wrap_lines=True)
        before, after = st.columns(2)
        for place, name, answer in (
            (before, _("Before"), pair["before"]),
            (after, _("After"), pair["after"]),
        ):
            place.markdown(f":small[**{name}** · {_chip(answer)}]")
            place.code(answer["answer"] or " ", language=None, wrap_lines=True)
            if answer["reason"]:
                place.caption(_("Judged by: {reason}").format(reason=escape(_(answer["reason"]))))


def _chip(answer: dict) -> str:
    label, colour = OUTCOMES[answer["outcome"]]
    return f":{colour}-badge[{_(label)}]"


def _details(result: dict) -> None:
    train, settings = result["train"], result["settings"]
    facts = {
        _("Model"): f"{result['model_name']} ({result['model_id']})",
        _("Rows trained on"): f"{train['rows']:,}",
        _("Method"): settings.get("method", ""),
        _("Epochs"): settings.get("epochs", ""),
        _("Learning rate"): f"{settings.get('learning_rate', 0):g}",
        _("Seed"): result["seed"],
        _("Optimizer steps"): train["steps"],
        _("Trained parameters"): f"{train['trainable_parameters']:,}",
        _("Training time"): duration(train["seconds"]),
        _("Whole probe"): duration(sum(result["timings"].values())),
    }
    left, right = st.columns(2)
    with left:
        st.table({name: escape(str(value)) for name, value in facts.items()}, border="horizontal")
    with right:
        if train["loss_curve"]:
            st.caption(_("Training loss per step"))
            st.line_chart(train["loss_curve"], height=220, alt=_("Training loss per step"))
    left_out = train.get("left_out") or []
    if left_out:
        st.caption(counted("{n} row was left out", "{n} rows were left out", len(left_out)))
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
