"""Colours that charts and the logo need by name; everything else comes from .streamlit/config.toml."""

from dataclasses import dataclass

import streamlit as st


@dataclass(frozen=True)
class Colours:
    """Colours of one appearance, as hex strings."""

    text: str
    muted: str
    grid: str
    surface: str
    row: str
    flagged: str
    kept: str
    faded: str
    before: str
    after: str
    groups: tuple[str, ...]
    scale: tuple[str, ...]


LIGHT = Colours(
    text="#17212B",
    muted="#6A7785",
    grid="#E8ECF0",
    surface="#FFFFFF",
    row="#2C8F93",
    flagged="#C8551B",
    kept="#2C8F93",
    faded="#C3CBD3",
    before="#7C8996",
    after="#C8551B",
    groups=("#0B7A80", "#3E68B0", "#A87A08", "#8A6FBF", "#4F8F5B", "#B0486E", "#6A7785", "#5A9BB0"),
    scale=("#BFE0E0", "#78BCBE", "#2C8F93", "#0B787D", "#074E52"),
)
DARK = Colours(
    text="#E4E9EE",
    muted="#93A1AF",
    grid="#242D35",
    surface="#11161B",
    row="#3FA9AD",
    flagged="#F09254",
    kept="#3FA9AD",
    faded="#3C4751",
    before="#93A1AF",
    after="#F09254",
    groups=("#3FB3B7", "#7FA9EE", "#D9B44A", "#B7A3EE", "#7CC48C", "#E088A8", "#93A1AF", "#7FC3D6"),
    scale=("#134347", "#1C6E72", "#2C9195", "#5FBBBE", "#B4E2E3"),
)


def is_dark() -> bool:
    """Whether this session shows the dark theme."""
    return st.context.theme.type == "dark"


def colours() -> Colours:
    """Return the colours of the theme this session shows."""
    return DARK if is_dark() else LIGHT


def logo(with_name: bool = True) -> str:
    """Return the logo as SVG: a cluster and its outlier."""
    c = colours()
    cluster = [(8, 20), (13, 16), (12, 23), (17, 20), (7, 14.5), (18, 26)]
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="2.3" fill="{c.row}"/>' for x, y in cluster)
    ring = f'<circle cx="25" cy="9" r="5.2" fill="none" stroke="{c.flagged}" stroke-width="1.6"/>'
    outlier = f'<circle cx="25" cy="9" r="2.3" fill="{c.flagged}"/>'
    font = "Inter,'SF Pro Text','Segoe UI','Helvetica Neue','Noto Sans CJK JP',Arial,sans-serif"
    name = (
        f'<text x="41" y="23.5" font-family="{font}" font-size="20" font-weight="600" '
        f'letter-spacing="0.2" fill="{c.text}">Assay</text>'
        if with_name
        else ""
    )
    width = 104 if with_name else 33
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} 33" width="{width * 3}" height="99">'
        f"{dots}{ring}{outlier}{name}</svg>"
    )
