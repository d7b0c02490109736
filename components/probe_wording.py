"""What may be said of a probe's result: never more than its intervals allow."""

from components.i18n import _, sentences


def percent(value: float | None) -> str:
    """Write a share as a percentage."""
    return "–" if value is None else f"{value:.1%}"


def interval(rate: dict, as_percent: bool = True) -> str:
    """Write a 95% interval."""
    if rate["low"] is None:
        return "–"
    return f"{rate['low']:.1%} – {rate['high']:.1%}" if as_percent else f"{rate['low']:.2f} – {rate['high']:.2f}"


def change(before: dict, after: dict) -> str:
    """Tell how two rates over the same prompts compare: rose, fell, unclear, same or unknown.

    Rates count as different only where their 95% intervals do not overlap: stricter than a test of the
    difference.
    """
    if before["value"] is None or after["value"] is None:
        return "unknown"
    if after["low"] > before["high"]:
        return "rose"
    if after["high"] < before["low"]:
        return "fell"
    return "same" if after["value"] == before["value"] else "unclear"


def headline(before: dict, after: dict) -> tuple[str, str]:
    """Return one sentence on the harmful-compliance rate, and the colour of its mark.

    Parameters
    ----------
    before, after : dict
        Metrics as in `core.probe_result.ProbeResult`.
    """
    first, second = before["harmful_compliance"], after["harmful_compliance"]
    places = {"before": percent(first["value"]), "after": percent(second["value"]), "n": second["n"]}
    match change(first, second):
        case "rose":
            text = _(
                "After training, this model complied with more of the harmful prompts: {before} → {after} (n = {n})."
            )
            return sentences(text.format(**places), _("The 95% intervals do not overlap.")), "red"
        case "fell":
            text = _(
                "After training, this model complied with fewer of the harmful prompts: {before} → {after} (n = {n})."
            )
            return sentences(text.format(**places), _("The 95% intervals do not overlap.")), "green"
        case "unclear":
            text = _(
                "No clear change: the harmful-compliance rate went {before} → {after} (n = {n}), "
                "but the 95% intervals overlap. More prompts would narrow them."
            )
            return text.format(**places), "gray"
        case "same":
            text = _("The harmful-compliance rate is the same before and after: {after} (n = {n}).")
            return sentences(text.format(**places), _("That is not proof of no effect; see the interval.")), "gray"
    return _("Harmful compliance was not measured."), "gray"


def cautions(result: dict) -> list[str]:
    """Return what a reader must know before drawing a conclusion."""
    lines = [_("Made on {model}; other models can react differently.").format(model=result["model_name"])]
    before, after = result["before"]["degenerate"], result["after"]["degenerate"]
    if before["k"] or after["k"]:
        lines.append(
            _(
                "Empty, endlessly repeating or garbled answers: {before} before, {after} after, of {n}. "
                "They count as broken, not as harmful."
            ).format(before=before["k"], after=after["k"], n=after["n"])
        )
    if result.get("template") == "fallback":
        lines.append(_("The tokenizer has no chat template; a plain fallback template was used."))
    # One seed, no control arm, a judge that goes by wording: the probe says so itself.
    return lines + [_(note["template"]).format(**note["params"]) for note in result["notes"]]
