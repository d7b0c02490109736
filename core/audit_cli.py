"""`python -m core audit`: check the log, or take it away."""

from pathlib import Path
from typing import Annotated

import typer

from core import audit
from core.desk_cli import workspace_store
from core.files import replacing


def audit_command(
    verify: Annotated[bool, typer.Option("--verify", help="Check every entry; exit 1 at the first bad one.")] = False,
    anchor: Annotated[
        str | None, typer.Option(help="Head hash noted earlier, with --verify: finds a cut tail and a rewrite.")
    ] = None,
    export: Annotated[Path | None, typer.Option(help="JSON Lines file to write the whole log to.")] = None,
) -> None:
    """Check the audit log, or export it; without options, print the head hash."""
    if anchor is not None and not verify:
        raise typer.BadParameter("--anchor goes with --verify.")
    store, _ = workspace_store("read_audit")
    if export is not None:
        with replacing(export) as partial, partial.open("w", encoding="utf-8") as file:
            count = audit.export_jsonl(store.url, file)
        typer.echo(f"{count} entries written to {export}.", err=True)
    if verify:
        _verify(store.url, anchor)
    elif export is None:
        typer.echo(audit.head(store.url))


def _verify(url: str, anchor: str | None) -> None:
    found = audit.verify(url, anchor)
    if found.ok:
        anchored = " and the anchor is in it" if anchor else ""
        typer.echo(f"OK: {found.checked} entries, the chain is whole{anchored}. Head: {found.head}")
        return
    place = f"entry {found.bad_seq}: " if found.bad_seq is not None else ""
    typer.echo(f"BAD: {place}{found.problem} {found.checked} entries before it are good.")
    raise typer.Exit(1)
