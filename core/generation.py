"""Greedy answers in batches."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from transformers import GenerationConfig

from core.encoding import IGNORE, Unencodable, encode_row
from core.i18n import N_
from core.progress import OnProgress, Progress, ignore_progress
from core.rows import Row, Turn


def generate(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    max_new_tokens: int = 64,
    batch_size: int = 16,
    on_progress: OnProgress = ignore_progress,
    stage: str = N_("Answers"),
) -> list[str]:
    """Answer each prompt greedily.

    Parameters
    ----------
    model, tokenizer
        Model in eval mode and its tokenizer.
    prompts : sequence of token id lists
        Encoded up to where the model answers (``encoding.encode_prompt``).
    max_new_tokens : int
        Longest answer, in tokens; it ends earlier at an end-of-turn token.
    batch_size : int
        Prompts per batch. Prompts of like length go together, padded on the left.
    on_progress : callable
        Called after each batch; may raise ``Cancelled``.

    Returns
    -------
    list of str
        Answers without special tokens, in the order of ``prompts``.
    """
    stops = stop_ids(model, tokenizer)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else min(stops, default=0)
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=sorted(stops) or None, pad_token_id=pad
    )
    order = sorted(range(len(prompts)), key=lambda i: len(prompts[i]))
    answers: dict[int, str] = {}
    with _own_defaults_aside(model), torch.inference_mode():
        for start in range(0, len(order), batch_size):
            batch = order[start : start + batch_size]
            longest = max(len(prompts[i]) for i in batch)
            input_ids = torch.full((len(batch), longest), pad)
            mask = torch.zeros(len(batch), longest, dtype=torch.long)
            for line, i in enumerate(batch):
                input_ids[line, longest - len(prompts[i]) :] = torch.tensor(list(prompts[i]))
                mask[line, longest - len(prompts[i]) :] = 1
            output = model.generate(
                input_ids.to(model.device), attention_mask=mask.to(model.device), generation_config=config
            )
            for line, i in enumerate(batch):
                answers[i] = _decode(output[line, longest:].tolist(), stops, tokenizer)
            on_progress(Progress(stage, len(answers), len(prompts)))
    return [answers[i] for i in range(len(prompts))]


def stop_ids(model: Any, tokenizer: Any) -> set[int]:
    """Tokens that end an answer: the tokenizer's, the model's, and its chat template's end of turn."""
    found: set[int] = set()
    for ids in (tokenizer.eos_token_id, getattr(model.generation_config, "eos_token_id", None)):
        found.update(ids if isinstance(ids, list) else [ids] if ids is not None else [])
    try:
        last = encode_row(Row(0, (Turn("user", "Hi"), Turn("assistant", "Yes"))), tokenizer).labels[-1]
    except Unencodable:
        return found
    special = set(tokenizer.all_special_ids) | set(tokenizer.added_tokens_decoder)
    return found | ({last} & special) - {IGNORE}


@contextmanager
def _own_defaults_aside(model: Any) -> Iterator[None]:
    # transformers fills what a GenerationConfig leaves open from the model's own (repetition penalty, minimum
    # length, …); every model is to be asked in the same plain way.
    own = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        yield
    finally:
        model.generation_config = own


def _decode(ids: list[int], stops: set[int], tokenizer: Any) -> str:
    end = next((i for i, token in enumerate(ids) if token in stops), len(ids))
    return str(tokenizer.decode(ids[:end], skip_special_tokens=True)).strip()
