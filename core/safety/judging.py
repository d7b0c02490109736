"""Judge many answers with the judge that was chosen; what that costs, said beforehand.

Whichever the judge, the phrase judge's rule for broken text comes first: a guard model judges only what is language.
Both other judges read their grades in one way (`judges.outcome_of`), so that outcomes mean the same whoever judges.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from core.i18n import N_
from core.progress import OnProgress, Progress, ignore_progress
from core.safety.judge_settings import RUBRIC_FILE, JudgeSettings, parse_judge
from core.safety.judges import Judgement, ToJudge, judge
from core.settings import Settings, get_settings

__all__ = ["CostEstimate", "JudgeSettings", "ToJudge", "estimate_cost", "judge_answers", "parse_judge"]

CHARS_PER_TOKEN = 3.5  # English has about 4; the estimate is to err on the dear side
REPLY_TOKENS = 50  # a reply in the form that the rubric asks for
PROMPT_CHARS, ANSWER_CHARS = 150, 300  # of one prompt and one answer of a probe, where only their number is known


@dataclass(frozen=True)
class CostEstimate:
    """What judging will take.

    Parameters
    ----------
    requests, input_tokens, output_tokens : int
        To the endpoint; tokens are estimated from characters. 0 for judges that run here.
    price : float or None
        In the currency of the settings; None where they give no price.
    seconds : float or None
        At least this long, from the request rate; None for judges that run here.
    """

    requests: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    price: float | None = None
    seconds: float | None = None


def judge_answers(
    items: Sequence[ToJudge],
    settings: JudgeSettings,
    app_settings: Settings | None = None,
    on_progress: OnProgress = ignore_progress,
    stage: str = N_("Judging answers"),
) -> list[Judgement]:
    """Judge each answer.

    Parameters
    ----------
    items : sequence of ToJudge
        Answers with their prompts.
    settings : JudgeSettings
        Which judge.
    app_settings : Settings, optional
        Says where models are kept.
    on_progress : callable
        Called as answers are judged; may raise ``Cancelled``.
    stage : str
        What the progress is called.

    Returns
    -------
    list of Judgement
        In the order of ``items``. An answer on which the judge fails is ``unjudged``, with the reason.

    Raises
    ------
    UserError
        When the judge's model or endpoint cannot be used at all.
    """
    by_phrases = [judge(item.answer, short_answer_ok=item.kind == "benign") for item in items]
    on_progress(Progress(stage, 0 if settings.name != "phrases" else len(items), len(items)))
    if settings.name == "phrases":
        return by_phrases
    label = settings.label()
    verdicts = [replace(verdict, judge=label) for verdict in by_phrases]
    language = [i for i, verdict in enumerate(verdicts) if verdict.outcome != "degenerate"]
    asked = [items[i] for i in language]
    if not asked:
        return verdicts
    if settings.classifier is not None:
        # torch is loaded only where a model is.
        from core.safety.classifier_judge import classify

        declines = [by_phrases[i].outcome == "refused" for i in language]
        found = classify(asked, declines, settings.classifier, app_settings or get_settings(), on_progress, stage)
    else:
        from core.safety.rubric_judge import grade

        assert settings.rubric is not None
        found = grade(asked, settings.rubric, on_progress, stage)
    for i, verdict in zip(language, found, strict=True):
        verdicts[i] = replace(verdict, judge=label)
    return verdicts


def estimate_cost(items: Sequence[ToJudge] | int, settings: JudgeSettings) -> CostEstimate:
    """Estimate what judging costs, before it starts.

    Parameters
    ----------
    items : sequence of ToJudge or int
        The answers, or how many there will be (of a common length).
    settings : JudgeSettings
        Which judge, at what price and rate.

    Returns
    -------
    CostEstimate
        An upper estimate, without retries: broken answers, which are never sent, count as sent.
    """
    if settings.rubric is None:
        return CostEstimate()
    if isinstance(items, int):
        count, chars = items, items * (PROMPT_CHARS + ANSWER_CHARS)
    else:
        count, chars = len(items), sum(_width(item.prompt) + _width(item.answer) for item in items)
    rubric_chars = len(RUBRIC_FILE.read_text(encoding="utf-8")) + 100  # 100: the tags around the quotes
    tokens_in = math.ceil((chars + count * rubric_chars) / CHARS_PER_TOKEN)
    tokens_out = count * REPLY_TOKENS
    prices = settings.rubric.price_input, settings.rubric.price_output
    price = None
    if prices[0] is not None and prices[1] is not None:
        price = (tokens_in * prices[0] + tokens_out * prices[1]) / 1000
    seconds = 60 * max(0, count - 1) / settings.rubric.requests_per_minute
    return CostEstimate(count, tokens_in, tokens_out, price, seconds)


def _width(text: str) -> int:
    # Outside Latin scripts a character is about a token.
    return sum(1 if ord(char) < 0x250 else math.ceil(CHARS_PER_TOKEN) for char in text)
