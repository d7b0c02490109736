"""Gettext catalogs for everything a person reads.

The English text is the message id. ``.ci/messages`` collects the ids from the sources into the catalogs.
"""

from collections.abc import Callable
from functools import lru_cache
from gettext import NullTranslations, translation
from pathlib import Path

LANGUAGES = {"en": "English", "ja": "日本語"}
DOMAIN = "assay"
LOCALE_DIR = Path(__file__).parent / "assets" / "locale"


def N_(message: str) -> str:
    """Mark a literal for translation where it is written; it is translated where it is shown."""
    return message


@lru_cache(maxsize=len(LANGUAGES))
def catalog(language: str) -> NullTranslations:
    """Return the compiled catalog of one of `LANGUAGES`.

    Raises
    ------
    FileNotFoundError
        If there is no catalog for `language`.
    """
    return translation(DOMAIN, LOCALE_DIR, languages=[language])


def translator(language: str) -> Callable[[str], str]:
    """Return the function that turns an English message id into `language`."""
    return catalog(language).gettext
