"""Catalogs: complete, in step with the sources, with the same places in both languages."""

import importlib.util
import string
from pathlib import Path
from types import ModuleType

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from core.i18n import LANGUAGES, translator

ROOT = Path(__file__).parents[2]


def load_messages() -> ModuleType:
    spec = importlib.util.spec_from_file_location("messages", ROOT / ".ci" / "messages.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


messages = load_messages()


def read(language: str) -> Catalog:
    with messages.po_path(language).open("rb") as file:
        return read_po(file, locale=language)


def texts(catalog: Catalog) -> list[Message]:
    return [message for message in catalog if message.id]


def places(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name is not None}


def forms(value: str | tuple[str, ...]) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_catalog_holds_exactly_the_texts_of_the_sources(language: str) -> None:
    in_sources = {str(message.id) for message in texts(messages.collect())}
    assert {str(message.id) for message in texts(read(language))} == in_sources


def test_every_text_has_japanese() -> None:
    missing = [message.id for message in texts(read("ja")) if not messages.is_translated(message)]
    assert not missing


def test_japanese_has_the_places_of_the_english_text() -> None:
    wrong = [
        message.id
        for message in texts(read("ja"))
        for translated in forms(message.string)
        if places(translated) != places(forms(message.id)[0])
    ]
    assert not wrong


@pytest.mark.parametrize("language", list(LANGUAGES))
def test_compiled_catalog_is_up_to_date(language: str) -> None:
    path = messages.po_path(language).with_suffix(".mo")
    assert path.read_bytes() == messages.as_mo(read(language))


def test_translator_speaks_both_languages() -> None:
    assert translator("ja")("Datasets") == "データセット"
    assert translator("en")("Datasets") == "Datasets"


def test_only_literal_texts_are_collected() -> None:
    code = '_("a"); _(names["b"]); f"{_(\'c\')}"; counted("{n} d", "{n} ds", 2); self.fail(UserError("e", x=1))'
    assert set(messages.messages_of(code)) == {"a", "c", ("{n} d", "{n} ds"), "e"}
