"""Let a model behind an OpenAI-compatible endpoint grade answers by our rubric.

The rubric (``core/assets/judge_rubric.txt``) follows the idea of HEx-PHI (Qi et al. 2023, arXiv 2310.03693): a
harmfulness from 1 to 5, and whether the answer declines. `judges.outcome_of` turns both into an outcome.
"""

import hashlib
import json
import os
import re
import threading
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from typing import Any

import openai
from openai.types.chat import ChatCompletion
from pydantic import BaseModel, Field, ValidationError

from core.errors import UserError
from core.i18n import N_
from core.progress import OnProgress, Progress, ignore_progress
from core.safety.judge_settings import RUBRIC_FILE, RubricSettings
from core.safety.judges import UNJUDGED, Judgement, ToJudge, outcome_of

FAILURES_IN_A_ROW = 5  # so many requests that fail one after the other: the endpoint is down, not unlucky
REASON_CHARS = 200

# Reasons of answers that are left unjudged.
NO_REPLY = N_("the judge gave no reply")
UNREADABLE = N_("the judge's reply could not be read")
CUT_OFF = N_("the judge's reply was cut off")


class Grade(BaseModel):
    """One reply in the form that the rubric asks for."""

    refused: bool
    harmfulness: int = Field(ge=1, le=5)
    reason: str = ""


def grade(
    items: Sequence[ToJudge],
    settings: RubricSettings,
    on_progress: OnProgress = ignore_progress,
    stage: str = N_("Judging answers"),
) -> list[Judgement]:
    """Grade each answer.

    Parameters
    ----------
    items : sequence of ToJudge
        Answers that are language, with their prompts.
    settings : RubricSettings
        Endpoint, limits. Failed requests are repeated by the client, with growing pauses.
    on_progress : callable
        Called after each reply; may raise ``Cancelled``, which drops the requests not yet sent.
    stage : str
        What the progress is called.

    Returns
    -------
    list of Judgement
        In the order of ``items``; ``unjudged`` where no readable reply came. `Judgement.judge` is left empty.

    Raises
    ------
    UserError
        When the endpoint refuses the key, the model or the request, cannot be reached, or fails several times
        in a row.
    """
    rubric = RUBRIC_FILE.read_text(encoding="utf-8")
    pace = _Pace(60 / settings.requests_per_minute)
    found: dict[int, Judgement] = {}
    failures = 0
    client, pool = _client(settings), ThreadPoolExecutor(settings.parallel)
    try:
        futures = {pool.submit(_grade_one, client, item, rubric, settings, pace): i for i, item in enumerate(items)}
        for future in as_completed(futures):
            try:
                found[futures[future]] = future.result()
                failures = 0
            except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
                failures += 1
                if failures >= min(FAILURES_IN_A_ROW, len(items)):
                    raise _unusable(settings, error) from error
                found[futures[future]] = Judgement(UNJUDGED, _cause(error), "")
            except openai.APIError as error:
                raise _unusable(settings, error) from error
            on_progress(Progress(stage, len(found), len(items)))
    finally:
        # Nobody waits for requests under way: a slow endpoint must not hold up a cancelled job.
        pace.stop()
        pool.shutdown(wait=False, cancel_futures=True)
        client.close()
    return [found[i] for i in range(len(items))]


def parse_reply(text: str | None, cut_off: bool = False) -> Judgement:
    """Read one reply: a JSON object, whatever stands around it.

    A reply with no grade in it, or with several that differ, is ``unjudged``: it is never guessed at.
    """
    if not text or not text.strip():
        return Judgement(UNJUDGED, CUT_OFF if cut_off else NO_REPLY, "")
    grades = _grades(re.sub(r"<think>.*?(?:</think>|\Z)", " ", text, flags=re.DOTALL))
    if len({(item.refused, item.harmfulness) for item in grades}) != 1:
        return Judgement(UNJUDGED, CUT_OFF if cut_off and not grades else UNREADABLE, "")
    first = grades[0]
    outcome = outcome_of(first.refused, first.harmfulness)
    return Judgement(outcome, " ".join(first.reason.split())[:REASON_CHARS], "", float(first.harmfulness))


def _grades(text: str) -> list[Grade]:
    decoder = json.JSONDecoder()
    found, at = [], text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
            found.append(Grade.model_validate(value))
        except (json.JSONDecodeError, ValidationError, RecursionError):
            end = at + 1
        at = text.find("{", end)
    return found


def quoted(item: ToJudge) -> str:
    """Quote a prompt and its answer between tags that neither can close: the tags depend on both texts."""
    mark = hashlib.sha256(f"{item.prompt}\n{item.answer}".encode()).hexdigest()[:8]
    return f"<request-{mark}>\n{item.prompt}\n</request-{mark}>\n\n<answer-{mark}>\n{item.answer}\n</answer-{mark}>"


def _grade_one(client: openai.OpenAI, item: ToJudge, rubric: str, settings: RubricSettings, pace: "_Pace") -> Judgement:
    limits: dict[str, Any] = {"temperature": settings.temperature, "max_tokens": settings.max_tokens}
    pace.wait()
    try:
        reply = client.chat.completions.create(
            model=settings.model,
            messages=[{"role": "system", "content": rubric}, {"role": "user", "content": quoted(item)}],
            **{name: value for name, value in limits.items() if value is not None},
        )
    except json.JSONDecodeError:
        return Judgement(UNJUDGED, UNREADABLE, "")
    # The client hands on whatever came back with a success: a proxy's page as text, an object without choices.
    if not isinstance(reply, ChatCompletion):
        return Judgement(UNJUDGED, UNREADABLE, "")
    if not reply.choices or reply.choices[0].message is None:
        return Judgement(UNJUDGED, NO_REPLY, "")
    choice = reply.choices[0]
    return parse_reply(choice.message.content, choice.finish_reason == "length")


class _Pace:
    """Hands out moments to send at, evenly spaced, to any number of threads."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._next = time.monotonic()
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait(self) -> None:
        with self._lock:
            moment = max(self._next, time.monotonic())
            self._next = moment + self._interval
        if self._stopped.wait(moment - time.monotonic()):
            raise CancelledError

    def stop(self) -> None:
        self._stopped.set()


def _client(settings: RubricSettings) -> openai.OpenAI:
    # Servers that need no key accept any; the client insists on one.
    key = os.environ.get(settings.api_key_env) or "none"
    return openai.OpenAI(
        base_url=settings.base_url, api_key=key, timeout=settings.timeout, max_retries=settings.retries
    )


def _unusable(settings: RubricSettings, error: openai.APIError) -> UserError:
    if isinstance(error, (openai.AuthenticationError, openai.PermissionDeniedError)):
        return UserError(
            N_("The judge at {address} does not accept the key. It is read from the environment variable {variable}."),
            address=settings.base_url,
            variable=settings.api_key_env,
        )
    return UserError(
        N_("The judge {model} at {address} cannot be used: {cause}"),
        model=settings.model,
        address=settings.base_url,
        cause=_cause(error),
    )


def _cause(error: openai.APIError) -> str:
    return str(error).split("\n")[0][:REASON_CHARS]
