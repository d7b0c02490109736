"""Where Assay keeps its work, and the defaults a job starts with."""

import os
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, PositiveInt, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class Settings(BaseSettings):
    """Settings, each overridable by an environment variable ``ASSAY_<NAME>``.

    Parameters
    ----------
    workspace : Path
        Folder for datasets, scores, models and the default databases; made absolute.
    database_url : str
        SQLAlchemy URL of users, datasets, flags, jobs. Default: SQLite ``assay.db`` in the workspace.
    jobs_url : str
        SQLAlchemy URL of the durable-job engine. Default: SQLite ``jobs.db`` in the workspace.
    max_length : int
        Longest input, in tokens.
    truncate : {"prompt", "tail"}
        Which end of a row that is too long gives way.
    length_unit : {"tokens", "words"}
        Unit of the answer length in Self-Inf-N.
    token_budget : int
        Padded tokens in one batch of the gradient engine.
    import_roots : list of Path
        Folders from which a path on this machine may be imported; in the environment separated like ``PATH``.
        Default: ``data`` in the working folder. The home folder would hold keys and other people's files.
    default_model : str
        "bundled", a folder, or a hub id.
    default_role : str
        Role of somebody who signs in for the first time; "none" lets nobody in whom no admin has added.
    open_network : bool
        Serve without sign-in although other machines may reach the server (a container whose port is published
        to this machine alone). Everybody who reaches it is the one local user, an admin.
    """

    model_config = SettingsConfigDict(env_prefix="ASSAY_", frozen=True, validate_default=True)

    workspace: Path = Path("workspace")
    database_url: str = ""
    jobs_url: str = ""
    max_length: Annotated[int, Field(ge=8)] = 512
    truncate: Literal["prompt", "tail"] = "prompt"
    length_unit: Literal["tokens", "words"] = "tokens"
    # Larger batches are slower on a CPU: their logits no longer fit the caches.
    token_budget: PositiveInt = 1024
    import_roots: Annotated[list[Path], NoDecode] = Field(default_factory=lambda: [Path("data")])
    default_model: str = "bundled"
    default_role: Literal["none", "viewer", "trainer", "steward", "adjudicator", "executive"] = "none"
    open_network: bool = False

    @field_validator("import_roots", mode="before")
    @classmethod
    def _split_roots(cls, value: Any) -> Any:
        return [part for part in value.split(os.pathsep) if part] if isinstance(value, str) else value

    @field_validator("import_roots")
    @classmethod
    def _resolve_roots(cls, value: list[Path]) -> list[Path]:
        return [root.expanduser().resolve() for root in value]

    @field_validator("workspace")
    @classmethod
    def _resolve_workspace(cls, value: Path) -> Path:
        return value.expanduser().resolve()

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, values: Any) -> Any:
        # `ASSAY_DATABASE_URL=` in a compose file means "not set".
        return {k: v for k, v in values.items() if v != ""} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _default_urls(self) -> Self:
        # Frozen for everybody else: the defaults depend on the resolved workspace.
        for name, file in (("database_url", "assay.db"), ("jobs_url", "jobs.db")):
            if not getattr(self, name):
                object.__setattr__(self, name, f"sqlite:///{(self.workspace / file).as_posix()}")
        return self


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """Return the settings of this process, read from the environment once."""
    return Settings()
