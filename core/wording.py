"""A sentence that is translated where it is shown."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Note(BaseModel):
    """A sentence as gettext message id and the values for its places."""

    model_config = ConfigDict(frozen=True)

    template: str
    params: dict[str, Any] = {}

    @property
    def text(self) -> str:
        """The sentence in English."""
        return self.template.format(**self.params)
