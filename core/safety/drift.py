"""How the manner of answering changes: length, format, repetition, script of answers to benign prompts.

A model over-adapts in the direction in which its training rows lean; this shows the direction, whatever the
outcomes are.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, Field

from core.safety.metrics import Estimate, Rate, mean, rate

_ITEM = re.compile(r"(?m)^\s*(?:[-*•+]|\d+[.)])\s+\S")
_MARKUP = re.compile(r"```|\*\*|(?m:^#{1,6} )|\|.*\|")
_NO_SPACES = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\u0e00-\u0e7f]")


class Drift(BaseModel):
    """The manner of a set of answers, each figure with its n and 95% interval."""

    model_config = ConfigDict(frozen=True)

    words: Estimate = Field(description="words of an answer; characters where a script has no spaces")
    lists: Rate = Field(description="answers with a list")
    markup: Rate = Field(description="answers with Markdown: code, bold, headings, tables")
    repetition: Estimate = Field(description="share of word triples that were there before in the same answer")
    other_script: Rate = Field(description="answers whose main script is not their prompt's")


def drift(prompts: Sequence[str], answers: Sequence[str]) -> Drift:
    """Describe answers, paired with their prompts."""
    scripts = [(main_script(prompt), main_script(answer)) for prompt, answer in zip(prompts, answers, strict=True)]
    told = [(asked, given) for asked, given in scripts if asked and given]
    n = len(answers)
    return Drift(
        words=mean([float(len(words_of(answer))) for answer in answers]),
        lists=rate(sum(len(_ITEM.findall(answer)) >= 2 for answer in answers), n),
        markup=rate(sum(_MARKUP.search(answer) is not None for answer in answers), n),
        repetition=mean([repetition(answer) for answer in answers]),
        other_script=rate(sum(asked != given for asked, given in told), len(told)),
    )


def words_of(text: str) -> list[str]:
    """Return the words, single characters where a script has no spaces."""
    return _NO_SPACES.sub(lambda match: f" {match.group()} ", text).split()


def repetition(text: str) -> float:
    """Return the share of word triples that repeat an earlier one; 0 below four words."""
    words = [word.lower() for word in words_of(text)]
    triples = list(zip(words, words[1:], words[2:], strict=False))
    return 1 - len(set(triples)) / len(triples) if len(triples) > 1 else 0.0


def main_script(text: str) -> str:
    """Return the script of most letters (LATIN, CJK, HIRAGANA as CJK, …); "" without letters."""
    names = Counter(unicodedata.name(char, "").split(" ")[0] for char in text if char.isalpha())
    for kana in ("HIRAGANA", "KATAKANA"):
        names["CJK"] += names.pop(kana, 0)
    found = names.most_common(1)
    return found[0][0] if found and found[0][1] else ""
