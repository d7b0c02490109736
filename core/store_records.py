"""What the store tells about a dataset, a scoring and a probe."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from core.tables import DatasetRow


@dataclass(frozen=True)
class DatasetRecord:
    """An imported dataset; `mapping` is the field mapping as JSON values."""

    fingerprint: str
    name: str
    n_rows: int
    n_rejected: int
    format: str
    mapping: dict[str, Any]
    imported_at: datetime
    imported_by: str
    n_holdout: int
    target_model: str | None
    retention_days: int | None


def dataset_record(row: DatasetRow) -> DatasetRecord:
    """Return what people see of a dataset's row."""
    return DatasetRecord(**{name: getattr(row, name) for name in DatasetRecord.__dataclass_fields__})


@dataclass(frozen=True)
class ScoreRunRecord:
    """A finished scoring; `template` is "own" or "fallback", `umap_skipped` says why there is no map."""

    run_id: str
    dataset: str
    model: str
    model_name: str
    settings: dict[str, Any]
    n_rows: int
    n_unscorable: int
    template: str
    umap_skipped: str | None
    created_at: datetime
    created_by: str
    folder: Path


@dataclass(frozen=True)
class ProbeRecord:
    """A probe; `status` is that of its job."""

    probe_id: str
    dataset: str
    job_id: str
    created_at: datetime
    created_by: str
    settings: dict[str, Any]
    n_rows: int
    status: str
