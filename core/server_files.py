"""Files of the server that a page may read: only those inside the folders named in the settings."""

from pathlib import Path

from core.errors import UserError
from core.i18n import N_
from core.settings import Settings


def allowed_path(text: str, settings: Settings) -> Path:
    """Return the real path of a file on the server, if it lies in one of the allowed folders.

    Links are followed first, so that a link inside an allowed folder does not lead out of it. Hidden files, and
    files in hidden folders, hold settings and secrets and are never data. The workspace has everybody's data.

    Parameters
    ----------
    text : str
        As typed.
    settings : Settings
        Names the folders.

    Raises
    ------
    UserError
        If it lies elsewhere, is hidden, or is no path at all.
    """
    roots = settings.import_roots
    try:
        path = Path(text).expanduser().resolve()
    except (OSError, RuntimeError, ValueError):  # a circle of links, an unknown ~user, a NUL
        raise UserError(N_("There is no file {path}."), path=text[:200]) from None
    inside = [root for root in roots if path.is_relative_to(root)]
    hidden = any(part.startswith(".") for root in inside for part in path.relative_to(root).parts)
    if not inside or hidden or path.is_relative_to(settings.workspace):
        raise UserError(
            N_("{path} may not be read from here. Allowed are files in: {folders}"),
            path=str(path),
            folders=", ".join(map(str, roots)),
        )
    return path
