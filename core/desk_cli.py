"""Commands on the datasets and people of the workspace: `export`, `delete`, `user`."""

from pathlib import Path
from typing import Annotated

import typer

from core import database, users
from core.deletion import delete_dataset
from core.export import OUTLIERS, Format, Rejected, What, find_dataset
from core.export import export as write_export
from core.settings import get_settings
from core.store import Store

Dataset = Annotated[str, typer.Argument(help="Fingerprint or name of a dataset of the workspace.", metavar="DATASET")]


def workspace_store(capability: str) -> tuple[Store, str]:
    """Return the workspace and the name that the command line acts under, which must have the capability."""
    store = Store(get_settings())
    actor = users.command_line_user(store.url)
    with database.reading(store.url) as session:
        users.require(session, actor, capability)
    return store, actor


def export(
    dataset: Dataset,
    what: Annotated[What, typer.Option(help="Data without excluded rows, who decided what, or the top rows.")],
    out: Annotated[Path, typer.Option(help="File to write (a new folder with --format hf).")],
    rejected: Annotated[Rejected, typer.Option(help="Records that could not be read as rows: in or out.")] = "out",
    form: Annotated[
        Format, typer.Option("--format", help="As it came in, or a Hugging Face datasets folder.")
    ] = "original",
    top: Annotated[int, typer.Option(min=1, help="How many outliers.")] = OUTLIERS,
) -> None:
    """Export a cleaned dataset, its decisions or its outliers; every export is logged."""
    store, actor = workspace_store(users.EXPORT)
    record = find_dataset(store, dataset)
    made = write_export(store, record.fingerprint, what, out, actor, rejected=rejected, form=form, top=top)
    left_out = f", {made.excluded} excluded, {made.rejected} rejected left out" if what == "cleaned" else ""
    typer.echo(f"{made.rows} rows written to {made.path}{left_out}.", err=True)
    if made.damaged:
        typer.echo(f"{made.damaged} records are in damaged blocks of the source and could not be copied.", err=True)


def delete(
    dataset: Dataset,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Delete a dataset for good, with its scores, probes and decisions; the audit log keeps hashes only."""
    store, actor = workspace_store(users.DELETE)
    record = find_dataset(store, dataset)
    if not yes:
        typer.confirm(f"Delete {record.name} ({record.fingerprint}, {record.n_rows} rows) for good?", abort=True)
    delete_dataset(store, record.fingerprint, actor)
    typer.echo(f"{record.name} ({record.fingerprint}) is deleted.", err=True)


def user(
    name: Annotated[str | None, typer.Argument(help="Name or e-mail address; everybody is listed without.")] = None,
    role: Annotated[str | None, typer.Argument(help=f"One of: {', '.join(users.ROLES)}.")] = None,
) -> None:
    """List the people of the workspace, or add one or change a role."""
    store, actor = workspace_store(users.VIEW if role is None else users.MANAGE_USERS)
    if role is not None and name is not None:
        store.set_user(name, role, actor)
    for person in store.users():
        if name is None or person.name == users.tidy_name(name):
            typer.echo(f"{person.name}\t{person.role}")
