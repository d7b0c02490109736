"""The answers of a probe side by side, folded until opened; a person may overrule the judge."""

import difflib
import re

import streamlit as st

from components import workspace
from components.i18n import _, counted, escape, say
from components.probe_wording import OUTCOMES
from core.assessment import part_name
from core.errors import UserError
from core.overrules import overrule

PAGE = 10


def answers(result: dict, probe_id: str) -> None:
    """Draw the answers of one arm and seed beside those before."""
    if not result["answers"] or not result["arms"]:
        st.caption(_("No answers were kept."))
        return
    bar = st.container(horizontal=True, vertical_alignment="bottom")
    arm = bar.selectbox(_("Arm"), list(result["arms"]), key="answers_arm", width=260)
    seed = bar.selectbox(
        _("Seed"), [int(s) for s in result["arms"][arm]["seeds"]], key=f"answers_seed_{arm}", width=110
    )
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
    pairs = choose_answers(pairs_of(result, arm, seed), kind, show)
    bar.caption(counted("{n} answer pair", "{n} answer pairs", len(pairs)), width="content")
    if kind == "harmful":
        st.caption(_("Harmful prompts and what the model wrote stay folded until you open them."))
    if not pairs:
        st.caption(_("No answer matches. Choose “All” to see every one."))
        return
    pages = -(-len(pairs) // PAGE)
    key = f"answers_page_{probe_id}_{arm}_{seed}_{kind}_{show}"
    page = st.session_state.get(key, 1)
    for pair in pairs[(page - 1) * PAGE : page * PAGE]:
        _pair(pair, probe_id, part_name(arm, seed))
    if pages > 1:
        st.pagination(pages, key=key)


def pairs_of(result: dict, arm: str, seed: int) -> list[dict]:
    """Return each prompt with its answer before and after one fine-tune."""
    found = []
    for item in result["answers"]:
        after = next(a for a in item["after"] if (a["arm"], a["seed"]) == (arm, seed))
        found.append({**item, "after": after})
    return found


def choose_answers(pairs: list[dict], kind: str, show: str = "all") -> list[dict]:
    """Return the pairs of a kind: refusals that were lost first, then other changed outcomes."""
    chosen = [pair for pair in pairs if pair["kind"] == kind]
    if show == "changed":
        chosen = [pair for pair in chosen if pair["before"]["outcome"] != pair["after"]["outcome"]]
    if show == "complied":
        chosen = [pair for pair in chosen if pair["after"]["outcome"] == "complied"]

    def order(pair: dict) -> tuple[bool, bool]:
        before, after = pair["before"]["outcome"], pair["after"]["outcome"]
        return not (before == "refused" and after == "complied"), before == after

    return sorted(chosen, key=order)


def differences(before: str, after: str) -> tuple[str, str]:
    """Return both texts as Markdown, safe to show, with the words that differ in bold."""
    one, two = (re.findall(r"\S+|\s+", text) for text in (before, after))
    left, right = [], []
    for kind, a, b, c, d in difflib.SequenceMatcher(None, one, two, autojunk=False).get_opcodes():
        for words, side in ((one[a:b], left), (two[c:d], right)):
            side += [_marked(word, kind != "equal") for word in words]
    return "".join(left), "".join(right)


def _marked(word: str, different: bool) -> str:
    if word.isspace():
        return "  \n" if "\n" in word else " "
    return f"**{escape(word)}**" if different else escape(word)


def _pair(pair: dict, probe_id: str, part: str) -> None:
    chips = f"{chip(pair['before'])} → {chip(pair['after'])}"
    title = escape(_(pair["category"]) if pair["category"] else pair["prompt_id"])
    if pair["kind"] == "benign":
        words = " ".join(pair["prompt"].split())
        title = escape(words if len(words) <= 70 else words[:70] + "…")
    with st.expander(f"{chips} :gray[{title}]", key=f"pair_{pair['prompt_id']}"):
        st.caption(_("Prompt"))
        st.code(pair["prompt"], language=None, wrap_lines=True)
        marked = differences(pair["before"]["answer"], pair["after"]["answer"])
        for place, name, answer, text, where in zip(
            st.columns(2),
            (_("Before"), _("After")),
            (pair["before"], pair["after"]),
            marked,
            ("before", part),
            strict=True,
        ):
            with place:
                st.markdown(f":small[**{name}** · {chip(answer)}]")
                st.container(border=True).markdown(text or "—")
                _judgement(answer, probe_id, where, pair["prompt_id"])


def _judgement(answer: dict, probe_id: str, part: str, prompt_id: str) -> None:
    line = container = st.container(horizontal=True, vertical_alignment="center")
    if answer["overruled"]:
        label = _(OUTCOMES[answer["overruled"]][0])
        line.caption(_("Overruled by a person; the judge said: {outcome}").format(outcome=label), width="content")
        container.button(
            _("Take back"),
            key=f"back_{probe_id}_{part}_{prompt_id}",
            type="tertiary",
            on_click=_overrule,
            args=(probe_id, part, prompt_id, answer["overruled"]),
        )
    elif answer["reason"]:
        line.caption(_("Judged by: {reason}").format(reason=escape(_(answer["reason"]))), width="content")
    if answer["second_outcome"] and answer["second_outcome"] != answer["outcome"]:
        label = _(OUTCOMES[answer["second_outcome"]][0])
        line.caption(_("Second judge: {outcome}").format(outcome=label), width="content")
    with container.popover(_("Overrule"), type="tertiary", key=f"overrule_{probe_id}_{part}_{prompt_id}"):
        for outcome, (label, _colour) in OUTCOMES.items():
            if outcome == "unjudged":
                continue
            st.button(
                _(label),
                key=f"rule_{probe_id}_{part}_{prompt_id}_{outcome}",
                disabled=outcome == answer["outcome"],
                on_click=_overrule,
                args=(probe_id, part, prompt_id, outcome),
                width="stretch",
            )


def _overrule(probe_id: str, part: str, prompt_id: str, outcome: str) -> None:
    try:
        overrule(workspace.settings().database_url, probe_id, part, prompt_id, outcome, workspace.actor())
    except UserError as error:
        st.toast(say(error), icon=":material/error:")


def chip(answer: dict) -> str:
    """Return an outcome as a coloured badge."""
    label, colour = OUTCOMES[answer["outcome"]]
    return f":{colour}-badge[{_(label)}]"
