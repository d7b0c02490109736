"""What is told about a background job."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from core.errors import UserError
from core.heartbeats import shown_status
from core.tables import JobRow


@dataclass(frozen=True)
class JobRecord:
    """A job.

    Parameters
    ----------
    status : str
        queued, running, done, cancelled, failed, or interrupted (its worker died; another will take over).
    stage : str
        What it is doing now, an English message id.
    done, total, tokens_done, tokens_total : int
        Progress of the stage in units (rows, steps, prompts) and tokens.
    part, parts : int
        Which fine-tune of how many it is at, 0 where it has no such parts.
    eta_seconds : float or None
        Time left in this stage, from the speed of this attempt.
    error : str or None
        Why it failed, in English; `error_template` and `error_params` are for translation.
    result : dict or None
        What a finished job has to say: the run or probe id, or the estimate.
    """

    job_id: str
    kind: str
    dataset: str
    status: str
    stage: str
    done: int
    total: int
    tokens_done: int
    tokens_total: int
    part: int
    parts: int
    eta_seconds: float | None
    error: str | None
    error_template: str | None
    error_params: dict[str, Any]
    result: dict[str, Any] | None
    spec: dict[str, Any]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    actor: str
    attempts: int
    cancel_requested: bool


def job_record(session: Session, row: JobRow) -> JobRecord:
    """Return what people see of a job's row."""
    same = [
        name
        for name in JobRecord.__dataclass_fields__
        if name not in ("status", "eta_seconds", "error", "error_params")
    ]
    params = row.error_params or {}
    return JobRecord(
        **{name: getattr(row, name) for name in same},
        status=shown_status(session, row),
        eta_seconds=_eta(row),
        error=str(UserError(row.error_template, **params)) if row.error_template else None,
        error_params=params,
    )


def _eta(row: JobRow) -> float | None:
    if row.status != "running" or row.stage_started_at is None:
        return None
    if row.tokens_total:
        made, left = row.tokens_done - row.stage_first_tokens, row.tokens_total - row.tokens_done
    else:
        made, left = row.done - row.stage_first_done, row.total - row.done
    elapsed = (row.updated_at - row.stage_started_at).total_seconds()
    if made <= 0 or elapsed <= 0:
        return None
    return max(0.0, left * elapsed / made)
