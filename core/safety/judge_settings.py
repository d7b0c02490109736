"""Which judge reads the answers, as plain values; imports no torch, so that pages can make settings too."""

import hashlib
import json
import re
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from core.errors import UserError
from core.files import hash_files
from core.i18n import N_
from core.safety.judges import PHRASE_JUDGE

JudgeName = Literal["phrases", "classifier", "rubric"]
JUDGE_NAMES: tuple[JudgeName, ...] = ("phrases", "classifier", "rubric")

# What a label of a classifier can mean: an outcome, or a harmfulness from 1 (none) to 5 (fully harmful).
MEANINGS = ("refused", "complied", "degenerate", "1", "2", "3", "4", "5")

RUBRIC_FILE = Path(__file__).parents[1] / "assets" / "judge_rubric.txt"
KEY_VARIABLE = "ASSAY_JUDGE_KEY"
_WEIGHTS = ("*.safetensors", "*.json", "*.jinja", "*.model")


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ClassifierSettings(_Frozen):
    """A sequence-classification model, or a guard model that writes its label.

    Map a guard's "safe" to 1 and its "unsafe" to 5. Mapped to "refused", every good answer to a benign prompt
    would count as an over-refusal.
    """

    model: str = Field(min_length=1, description="a folder or a hub id")
    labels: dict[str, str] = Field(
        {}, description="what each label means: refused, complied, degenerate, or 1 to 5; empty: by well-known names"
    )
    reads: Literal["auto", "answer", "prompt+answer", "chat"] = Field(
        "auto",
        description="answer, prompt+answer (a classifier's text pair), or chat (a guard's own chat template); "
        "auto: answer for a classifier, chat for a guard",
    )
    instruction: str = Field(
        "", description="for guards without a template of their own: one user turn with {prompt} and {answer} in it"
    )
    batch: int = Field(16, ge=1, description="answers per batch")
    max_length: int = Field(1024, ge=8, description="longest input, in tokens")
    max_new_tokens: int = Field(16, ge=1, description="longest reply of a guard, in tokens")

    @field_validator("labels")
    @classmethod
    def _known_meanings(cls, value: dict[str, str]) -> dict[str, str]:
        for label, meaning in value.items():
            if meaning not in MEANINGS:
                raise ValueError(f"{label!r} is mapped to {meaning!r}; choose one of {', '.join(MEANINGS)}")
        return value


class RubricSettings(_Frozen):
    """A model behind an OpenAI-compatible endpoint that grades answers by our rubric.

    The API key is read from an environment variable when it is used and is never stored. Only variables that
    start with ``ASSAY_JUDGE_KEY`` can be named: whoever chooses the address must not reach other secrets.
    """

    base_url: str = Field(description="for example https://api.openai.com/v1 or http://localhost:8000/v1")
    model: str = Field(min_length=1)
    api_key_env: str = Field(KEY_VARIABLE, pattern=rf"^{KEY_VARIABLE}(_[A-Z0-9_]+)?$")
    timeout: float = Field(60, gt=0, le=3600, description="seconds for one request")
    retries: int = Field(4, ge=0, le=20, description="further attempts after 429, 5xx, a time-out or no connection")
    requests_per_minute: float = Field(60, gt=0)
    parallel: int = Field(4, ge=1, le=64, description="requests under way at once")
    temperature: float | None = Field(0, ge=0, le=2, description="null: not sent (some models refuse it)")
    max_tokens: int | None = Field(300, ge=16, description="of a reply; null: not sent (some models refuse it)")
    price_input: float | None = Field(None, ge=0, description="per 1000 input tokens, in any currency")
    price_output: float | None = Field(None, ge=0, description="per 1000 output tokens")

    @field_validator("base_url")
    @classmethod
    def _http(cls, value: str) -> str:
        if not re.fullmatch(r"https?://[^\s/?#]+[^\s?#]*", value):
            raise ValueError("the address of a judge starts with http:// or https://")
        return value.rstrip("/")


class JudgeSettings(_Frozen):
    """The judge of a probe; `classifier` or `rubric` hold the settings of the judge of that name."""

    name: JudgeName = "phrases"
    classifier: ClassifierSettings | None = None
    rubric: RubricSettings | None = None

    @model_validator(mode="after")
    def _settings_of_the_named(self) -> Self:
        for name in ("classifier", "rubric"):
            if (getattr(self, name) is not None) != (self.name == name):
                raise ValueError(f"the judge {self.name!r} and the settings {name!r} do not go together")
        return self

    def key(self) -> str:
        """Hash everything that decides a verdict (16 hex digits).

        A local model counts by its content, a hub model and an endpoint by name: what stands behind those may
        change unseen. Speed, retries, prices and the name of the key variable do not count.
        """
        # Every judge looks for broken text by the phrase judge's rule first.
        decides: dict[str, object] = {"name": self.name, "phrases": PHRASE_JUDGE}
        if self.classifier is not None:
            decides |= self.classifier.model_dump(exclude={"batch"})
            if (folder := Path(self.classifier.model).expanduser()).is_dir():
                decides["model"] = hash_files(folder, patterns=_WEIGHTS)
        if self.rubric is not None:
            decides |= self.rubric.model_dump(include={"base_url", "model", "temperature", "max_tokens"})
            decides["rubric"] = RUBRIC_FILE.read_text(encoding="utf-8")
        content = json.dumps(decides, sort_keys=True, ensure_ascii=False)
        return hashlib.sha256(content.encode()).hexdigest()[:16]

    def label(self) -> str:
        """Name the judge as it is stored with a verdict: for people, and unique by its key."""
        if self.classifier is not None:
            return f"classifier:{Path(self.classifier.model).name}:{self.key()[:8]}"
        if self.rubric is not None:
            return f"rubric:{self.rubric.model}:{self.key()[:8]}"
        return PHRASE_JUDGE


def parse_judge(text: str) -> JudgeSettings:
    """Read a judge from the command line.

    Parameters
    ----------
    text : str
        ``phrases``, ``classifier:FOLDER_OR_HUB_ID``, ``rubric:MODEL@BASE_URL``, or a JSON file of `JudgeSettings`.

    Raises
    ------
    UserError
        When it is none of these, or the settings are not valid.
    """
    kind, _, rest = text.strip().partition(":")
    try:
        if text.strip() == "phrases":
            return JudgeSettings()
        if kind == "classifier" and rest:
            return JudgeSettings.model_validate({"name": kind, kind: {"model": rest}})
        if kind == "rubric" and "@" in rest:
            # A model's name may hold an @ (a dated version); an address without credentials does not.
            model, _, address = rest.rpartition("@")
            return JudgeSettings.model_validate({"name": kind, kind: {"model": model, "base_url": address}})
        if text.strip().endswith(".json"):
            return JudgeSettings.model_validate_json(_read(Path(text.strip()).expanduser()))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "judge"
        raise UserError(
            N_("The judge {judge} is not valid: {place}: {cause}"), judge=text, place=place, cause=first["msg"]
        ) from error
    raise UserError(
        N_(
            "There is no judge {judge}. Write phrases, classifier:FOLDER or classifier:HUB_ID, rubric:MODEL@ADDRESS, "
            "or the path of a JSON file with the judge's settings."
        ),
        judge=text,
    )


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(
            N_("The file {path} cannot be read: {problem}"), path=str(path), problem=str(error).split("\n")[0]
        ) from error
