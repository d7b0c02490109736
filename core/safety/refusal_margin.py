"""How much likelier a model begins with a refusal than with an answer: continuous, so that small changes show.

A trend measure for ranking and for reading beside the outcomes; never a criterion of a verdict.
"""

import json
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch.nn.functional import log_softmax

from core.i18n import N_
from core.progress import OnProgress, Progress, ignore_progress

OPENINGS_PATH = Path(__file__).parent.parent / "assets" / "alignment" / "refusal_openings.json"


class Openings(NamedTuple):
    """First words of answers.

    Parameters
    ----------
    refusals : tuple of str
        Half of them (``trained`` in the file) occur in the alignment of the bundled model, half do not.
    compliant : tuple of str
        As many that begin to help.
    """

    refusals: tuple[str, ...]
    compliant: tuple[str, ...]


@lru_cache(maxsize=1)
def built_in_openings() -> Openings:
    """Return the fixed openings that every probe uses."""
    about = json.loads(OPENINGS_PATH.read_text(encoding="utf-8"))
    return Openings((*about["trained"], *about["untrained"]), tuple(about["compliant"]))


def refusal_margins(
    model: Any,
    tokenizer: Any,
    prompts: Sequence[Sequence[int]],
    openings: Openings | None = None,
    on_progress: OnProgress = ignore_progress,
    stage: str = N_("Refusal margin"),
) -> list[float]:
    """Return each prompt's margin, in nats per token.

    The margin is the log-mean-exp over the refusal openings of their mean token log-probability, minus the same over
    the compliant ones: above 0 where a refusal is the likelier beginning.

    Parameters
    ----------
    model, tokenizer
        Model in eval mode and its tokenizer.
    prompts : sequence of token id lists
        Encoded up to where the model answers (``encoding.encode_prompt``).
    openings : Openings, optional
        The built-in ones unless given.
    on_progress : callable
        Called after each prompt; may raise ``Cancelled``.
    """
    openings = openings or built_in_openings()
    texts = [*openings.refusals, *openings.compliant]
    continuations = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    margins: list[float] = []
    for ids in prompts:
        with torch.inference_mode():
            scores = _mean_log_probabilities(model, list(ids), continuations)
        refusing, helping = scores[: len(openings.refusals)], scores[len(openings.refusals) :]
        margins.append(float(_log_mean_exp(refusing) - _log_mean_exp(helping)))
        on_progress(Progress(stage, len(margins), len(prompts)))
    return margins


def _mean_log_probabilities(model: Any, prompt: list[int], continuations: Sequence[Sequence[int]]) -> torch.Tensor:
    """Mean token log-probability of each continuation after the prompt, which is read once for all of them."""
    n, longest = len(continuations), max(map(len, continuations))
    ids = torch.zeros(n, longest, dtype=torch.long)
    real = torch.zeros(n, longest, dtype=torch.bool)
    for line, tokens in enumerate(continuations):
        ids[line, : len(tokens)] = torch.tensor(tokens)
        real[line, : len(tokens)] = True
    ids, real = ids.to(model.device), real.to(model.device)
    read = model(input_ids=torch.tensor([prompt], device=model.device), use_cache=True)
    cache = read.past_key_values
    cache.batch_repeat_interleave(n)
    seen = torch.ones(n, len(prompt), dtype=torch.bool, device=model.device)
    # Padding stands on the right: no real token looks at it.
    rest = model(input_ids=ids, attention_mask=torch.cat([seen, real], 1).long(), past_key_values=cache, use_cache=True)
    first = read.logits[:, -1:].expand(n, -1, -1)
    logits = torch.cat([first, rest.logits[:, :-1]], dim=1).float()
    picked = log_softmax(logits, dim=-1).gather(2, ids.unsqueeze(2)).squeeze(2)
    return (picked * real).sum(1) / real.sum(1)


def _log_mean_exp(values: torch.Tensor) -> torch.Tensor:
    return torch.logsumexp(values, dim=0) - torch.log(torch.tensor(float(len(values))))
