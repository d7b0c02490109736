"""Collect every text for people into the gettext catalogs and compile them: ``python .ci/messages.py``.

Run it after changing a text, write the missing Japanese into assay.po, and run it again. tests/unit/test_i18n.py
fails while a text has no Japanese or a compiled catalog is stale.
"""

import ast
import io
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

ROOT = Path(__file__).resolve().parent.parent
LOCALE = ROOT / "core" / "assets" / "locale"
SOURCES = ("app.py", "pages", "components", "core")
LANGUAGES = ("en", "ja")
# Calls whose first text is shown to people (translated there or where it arrives), and how many forms they take.
CALLS = {"_": 1, "N_": 1, "UserError": 1, "Progress": 1, "ngettext": 2, "counted": 2}
HEADER = "# Texts of Assay. Written by .ci/messages.py; translate here.\n#"


def collect() -> Catalog:
    """Return the messages of all sources."""
    template = Catalog()
    for source in SOURCES:
        path = ROOT / source
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            for message in messages_of(file.read_text(encoding="utf-8")):
                template.add(message)
    return template


def messages_of(code: str) -> Iterator[str | tuple[str, str]]:
    """Yield the literal texts of `CALLS`; a call on a variable holds none (`_(names["all"])`)."""
    for node in ast.walk(ast.parse(code)):
        if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name | ast.Attribute):
            continue
        name = node.func.id if isinstance(node.func, ast.Name) else node.func.attr
        texts = [arg.value for arg in node.args[: CALLS.get(name, 0)] if isinstance(arg, ast.Constant)]
        if texts and len(texts) == CALLS[name] and all(isinstance(text, str) for text in texts):
            yield texts[0] if len(texts) == 1 else (texts[0], texts[1])


def updated(language: str, template: Catalog) -> Catalog:
    """Return a language's catalog with exactly the template's messages, keeping its translations."""
    path = po_path(language)
    old = Catalog(language)
    if path.exists():
        with path.open("rb") as file:
            old = read_po(file, locale=language)
    new = Catalog(language, project="assay", header_comment=HEADER, charset="utf-8")
    for message in template:
        if not message.id:
            continue
        known = old.get(message.id)
        new.add(message.id, string=known.string if known else None)
    return new


def is_translated(message: Message) -> bool:
    """Whether a message has all its forms."""
    forms = message.string if isinstance(message.string, tuple | list) else [message.string]
    return bool(forms) and all(forms)


def po_path(language: str) -> Path:
    """Return where a language's translations are written."""
    return LOCALE / language / "LC_MESSAGES" / "assay.po"


def as_po(catalog: Catalog) -> bytes:
    """Return the text of a catalog, the same whenever it is written."""
    buffer = io.BytesIO()
    write_po(buffer, catalog, width=110, no_location=True, sort_output=True, omit_header=True)
    plurals = f'"Plural-Forms: {catalog.plural_forms}\\n"'
    head = f'{HEADER}\nmsgid ""\nmsgstr ""\n"Language: {catalog.locale}\\n"\n{plurals}\n'
    kind = '"Content-Type: text/plain; charset=utf-8\\n"\n\n'
    return (head + kind).encode() + buffer.getvalue()


def as_mo(catalog: Catalog) -> bytes:
    """Return the compiled catalog; only messages that are translated are in it."""
    buffer = io.BytesIO()
    # The dates would make every compilation different.
    catalog.creation_date = catalog.revision_date = datetime(2026, 1, 1, tzinfo=UTC)
    write_mo(buffer, catalog)
    return buffer.getvalue()


def main() -> int:
    """Write all catalogs; say what has no translation yet."""
    template = collect()
    missing = []
    for language in LANGUAGES:
        catalog = updated(language, template)
        path = po_path(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(as_po(catalog))
        with path.open("rb") as file:
            path.with_suffix(".mo").write_bytes(as_mo(read_po(file, locale=language)))
        if language != "en":
            missing += [message.id for message in catalog if message.id and not is_translated(message)]
    for message in missing:
        print(f"no translation: {message}")
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main())
