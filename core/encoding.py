"""Turn a row into what a model is trained on: input ids, and labels on the answer alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from core.i18n import N_
from core.rows import RejectedRow, Row, Turn

IGNORE = -100
# Share of the window that a prompt keeps when the answer alone fills it: an answer without any prompt is another row.
PROMPT_SHARE = 0.25

NO_ANSWER_LEFT = N_("no answer token survives truncation")
TEMPLATE_REFUSES = N_("the model's chat template cannot express this conversation")


@dataclass(frozen=True)
class EncodedRow:
    """One row as token ids.

    Parameters
    ----------
    row_id : int
        The row's id.
    input_ids, labels : list of int, length n
        Tokens, and the same with -100 where nothing is supervised. Labels stand at their own token's position.
    answer_tokens, answer_words : int
        len(a): the untruncated answer without special tokens, and its whitespace words.
    supervised_tokens : int
        Tokens the loss is averaged over: those of the answer that survive, its end-of-turn token included.
    truncated : bool
        Whether anything was cut.
    """

    row_id: int
    input_ids: list[int]
    labels: list[int]
    answer_tokens: int
    answer_words: int
    supervised_tokens: int
    truncated: bool


class Unencodable(Exception):
    """A row that this model cannot be trained on; the message is one of this module's reasons."""


def encode_row(row: Row, tokenizer: Any, max_length: int = 512, truncate: str = "prompt") -> EncodedRow:
    """Encode one row under the tokenizer's own chat template and default system prompt.

    Parameters
    ----------
    row : Row
        Turns ending with the scored assistant turn.
    tokenizer : PreTrainedTokenizerBase
        Fast tokenizer with a chat template.
    max_length : int
        Longest input, in tokens.
    truncate : {"prompt", "tail"}
        "prompt" cuts prompt content, oldest turn first and from each turn's end, template tokens never, so that
        the answer stays whole if it fits; if it does not, the prompt keeps a quarter of the window.
        "tail" cuts the end.

    Raises
    ------
    Unencodable
        When the template cannot express the turns, or no supervised token is left.
    """
    turns, text, start = _render(row.turns, tokenizer)
    answer = row.turns[-1].content
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoded["input_ids"]
    offsets: list[tuple[int, int]] = encoded["offset_mapping"]
    end = _supervised_end(ids, offsets, text, start, answer, tokenizer)
    first = next((i for i, (low, high) in enumerate(offsets) if high > start and high > low), len(ids))
    keep = list(range(end))
    if len(keep) > max_length and truncate == "prompt":
        keep = _cut_prompt(keep, offsets, _content_spans(text[:start], turns[:-1]), first, max_length)
    keep = keep[:max_length]
    labels = [ids[i] if i >= first else IGNORE for i in keep]
    # The first token of a sequence is never predicted.
    supervised = sum(label != IGNORE for label in labels[1:])
    if supervised == 0:
        raise Unencodable(NO_ANSWER_LEFT)
    return EncodedRow(
        row_id=row.row_id,
        input_ids=[ids[i] for i in keep],
        labels=[IGNORE, *labels[1:]],
        answer_tokens=len(tokenizer(row.answer, add_special_tokens=False)["input_ids"]),
        answer_words=len(row.answer.split()),
        supervised_tokens=supervised,
        truncated=len(keep) < end,
    )


def encode_rows(
    rows: Sequence[Row], tokenizer: Any, max_length: int = 512, truncate: str = "prompt"
) -> tuple[list[EncodedRow], list[RejectedRow]]:
    """Encode rows in order; rows that cannot be scored are returned apart with their reason."""
    encoded: list[EncodedRow] = []
    unscorable: list[RejectedRow] = []
    for row in rows:
        try:
            encoded.append(encode_row(row, tokenizer, max_length, truncate))
        except Unencodable as error:
            unscorable.append(RejectedRow(row.row_id, None, str(error), "", row.answer[:2000]))
    return encoded, unscorable


def encode_prompt(turns: Sequence[Turn], tokenizer: Any, max_length: int = 512) -> list[int]:
    """Encode turns up to where the model answers; too long a prompt loses its oldest content first."""
    plain, text = _first_that_renders(turns, tokenizer, generation=True)
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids: list[int] = encoded["input_ids"]
    keep = list(range(len(ids)))
    if len(keep) > max_length:
        keep = _cut_prompt(keep, encoded["offset_mapping"], _content_spans(text, plain), len(ids), max_length)
    return [ids[i] for i in keep[-max_length:]]


def _render(turns: Sequence[Turn], tokenizer: Any) -> tuple[list[Turn], str, int]:
    """Return the turns as rendered, the whole text, and the character at which the answer's turn starts."""
    plain, text = _first_that_renders(turns, tokenizer, generation=False)
    prefix = _apply(plain[:-1], tokenizer, generation=True)
    if prefix is not None and text.startswith(prefix) and plain[-1].content == turns[-1].content:
        return plain, text, len(prefix)
    # Some templates rewrite earlier turns or open the answer differently, and merging may have put an earlier
    # assistant turn in front of the answer: go by the answer's own text.
    start = text.rfind(turns[-1].content.strip())
    if start < 0:
        raise Unencodable(TEMPLATE_REFUSES)
    return plain, text, start


def _first_that_renders(turns: Sequence[Turn], tokenizer: Any, generation: bool) -> tuple[list[Turn], str]:
    """Render with the roles as they are or, for templates that know only user and assistant, merged into those."""
    for candidate in (_plain_roles(turns), _alternating(turns)):
        text = _apply(candidate, tokenizer, generation)
        # Earlier assistant turns may be rewritten (reasoning stripped); what a user said may not be lost.
        said = [turn for i, turn in enumerate(candidate) if turn.role != "assistant" or i == len(candidate) - 1]
        if text is not None and all(turn.content.strip() in text for turn in said):
            return candidate, text
    raise Unencodable(TEMPLATE_REFUSES)


def _apply(turns: Sequence[Turn], tokenizer: Any, generation: bool) -> str | None:
    messages = [{"role": turn.role, "content": turn.content} for turn in turns]
    try:
        return str(tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=generation))
    except (TemplateError, TypeError, KeyError, IndexError):
        # Templates refuse roles or orders they do not know by raising; the caller tries plainer turns.
        return None


def _plain_roles(turns: Sequence[Turn]) -> list[Turn]:
    return [Turn("assistant", t.content) if t.role == "function_call" else t for t in turns]


def _alternating(turns: Sequence[Turn]) -> list[Turn]:
    merged: list[Turn] = []
    for turn in _plain_roles(turns):
        role = "assistant" if turn.role == "assistant" else "user"
        if merged and merged[-1].role == role:
            merged[-1] = Turn(merged[-1].role, f"{merged[-1].content}\n\n{turn.content}")
        else:
            merged.append(Turn("assistant" if role == "assistant" else "user", turn.content))
    return merged


def _supervised_end(
    ids: list[int], offsets: list[tuple[int, int]], text: str, start: int, answer: str, tokenizer: Any
) -> int:
    """Return one past the answer's end-of-turn token (or past its last token where the template has none)."""
    found = text.find(answer.strip(), start)
    answer_end = (found if found >= 0 else start) + len(answer.strip())
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    last = len(ids)
    for i, (low, _) in enumerate(offsets):
        if low >= answer_end:
            if ids[i] in special:
                return i + 1
            last = min(last, i)
    return last


def _content_spans(text: str, turns: Sequence[Turn]) -> list[tuple[int, int]]:
    """Return each turn's character span, in the order in which it may be cut: oldest first, system turns last."""
    spans: list[tuple[str, tuple[int, int]]] = []
    position = 0
    for turn in turns:
        content = turn.content.strip()
        low = text.find(content, position)
        if content and low >= 0:
            spans.append((turn.role, (low, low + len(content))))
            position = low + len(content)
    return [span for _, span in sorted(spans, key=lambda item: item[0] == "system")]


def _cut_prompt(
    keep: list[int], offsets: list[tuple[int, int]], spans: list[tuple[int, int]], first: int, max_length: int
) -> list[int]:
    # Whole tokens inside a content span; a token that straddles template text belongs to the template.
    content = [
        [i for i in range(first) if low <= offsets[i][0] and offsets[i][1] <= high and offsets[i][1] > offsets[i][0]]
        for low, high in spans
    ]
    cuttable = sum(map(len, content))
    excess = len(keep) - max_length
    if excess > cuttable:
        excess = max(0, cuttable - int(max_length * PROMPT_SHARE))
    dropped: set[int] = set()
    for tokens in content:
        cut = min(excess - len(dropped), len(tokens))
        dropped.update(tokens[len(tokens) - cut :])
    return [i for i in keep if i not in dropped]
