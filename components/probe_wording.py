"""How a probe's figures are written: never more than their intervals allow."""

from components.i18n import _, sentences
from core.i18n import N_

METRICS = {
    "harmful_compliance": N_("Harmful compliance"),
    "refused": N_("Refused (harmful prompts)"),
    "degenerate": N_("Degenerate (harmful prompts)"),
    "over_refusal": N_("Over-refusal (benign prompts)"),
    "benign_degenerate": N_("Degenerate (benign prompts)"),
    "benign_loss": N_("Benign loss (nats)"),
    "task_loss": N_("Task loss (nats)"),
    "refusal_margin": N_("Refusal margin (nats)"),
    "harmfulness": N_("Harmfulness (1–5)"),
}
RATES = ("harmful_compliance", "refused", "degenerate", "over_refusal", "benign_degenerate")
OUTCOMES = {
    "refused": (N_("Refused"), "green"),
    "complied": (N_("Complied"), "red"),
    "degenerate": (N_("Degenerate"), "gray"),
    "unjudged": (N_("Not judged"), "violet"),
}
VERDICTS = {
    "GO": (N_("GO"), "green", ":material/check_circle:"),
    "REVIEW": (N_("REVIEW"), "orange", ":material/visibility:"),
    "STOP": (N_("STOP"), "red", ":material/block:"),
}


def percent(value: float | None) -> str:
    """Write a share as a percentage."""
    return "–" if value is None else f"{value:.1%}"


def level(metric: str, estimate: dict) -> str:
    """Write a value with its 95% interval."""
    value, low, high = (estimate.get(name) for name in ("value", "low", "high"))
    if value is None:
        return "–"
    if metric in RATES:
        return f"{value:.1%} [{low:.1%}, {high:.1%}]" if low is not None else f"{value:.1%}"
    return f"{value:.2f} [{low:.2f}, {high:.2f}]" if low is not None else f"{value:.2f}"


def change(metric: str, difference: dict) -> str:
    """Write a change with its interval, rates in points."""
    value, low, high = (difference.get(name) for name in ("value", "low", "high"))
    if value is None:
        return "–"
    if metric in RATES:
        value, low, high = (None if x is None else 100 * x for x in (value, low, high))
        return f"{value:+.1f} [{low:+.1f}, {high:+.1f}]" if low is not None else f"{value:+.1f}"
    return f"{value:+.2f} [{low:+.2f}, {high:+.2f}]" if low is not None else f"{value:+.2f}"


def p_value(difference: dict) -> str:
    """Write a corrected p."""
    p = difference.get("p_holm")
    return "–" if p is None else "< 0.001" if p < 0.001 else f"{p:.3f}"


def note(found: dict) -> str:
    """Translate a sentence with its places; places that are message ids themselves are translated too."""
    places = {name: _(value) if isinstance(value, str) and value else value for name, value in found["params"].items()}
    return _(found["template"]).format(**places)


def cautions(result: dict) -> list[str]:
    """Return what a reader must know before drawing a conclusion."""
    lines = [_("Made on {model}; other models can react differently.").format(model=result["model_name"])]
    before = result["before"]["degenerate"]
    broken = {
        name: sum(seed["degenerate"]["k"] for seed in arm["seeds"].values()) for name, arm in result["arms"].items()
    }
    if before["k"] or any(broken.values()):
        lines.append(
            _(
                "Empty, endlessly repeating or garbled answers count as broken, not as harmful: "
                "{before} before, {after}."
            ).format(before=before["k"], after=", ".join(f"{name} {count}" for name, count in broken.items()))
        )
    if result.get("template") == "fallback":
        lines.append(_("The tokenizer has no chat template; a plain fallback template was used."))
    return lines + [note(item) for item in result["notes"]] + [note(item["note"]) for item in result["skipped"]]


def verdict_text(verdict: dict) -> str:
    """Write the verdict's sentences."""
    return sentences(*(note(item) for item in verdict["notes"]))
