"""Two themes of our own, calm ones: colour is for what matters."""

from __future__ import annotations

from textual.theme import Theme

DARK = Theme(
    name="nftrtsp-dark",
    primary="#6cb6ff",
    secondary="#96a7bd",
    accent="#7fd1e8",
    success="#84d88b",
    warning="#e8bd6a",
    error="#ff8080",
    foreground="#d5dbe3",
    background="#11151b",
    surface="#171c24",
    panel="#1f2630",
    dark=True,
    variables={
        "muted": "#8694a6",
        "cursor": "#24405f",
        "cursor-dim": "#1f2833",
        "scrollbar": "#2c3542",
        "scrollbar-background": "#11151b",
        "scrollbar-hover": "#3d4a5c",
        "scrollbar-active": "#6cb6ff",
        "scrollbar-background-hover": "#11151b",
        "scrollbar-background-active": "#11151b",
        "scrollbar-corner-color": "#11151b",
    },
)

LIGHT = Theme(
    name="nftrtsp-light",
    primary="#0b62b8",
    secondary="#5b6b7d",
    accent="#046c8c",
    success="#1c7430",
    warning="#8a5a00",
    error="#b3261e",
    foreground="#1d2733",
    background="#fbfcfd",
    surface="#f1f4f7",
    panel="#e4e9ef",
    dark=False,
    variables={
        "muted": "#5d6b7a",
        "cursor": "#cfe4fb",
        "cursor-dim": "#e4ebf2",
        "scrollbar": "#c8d1db",
        "scrollbar-background": "#fbfcfd",
        "scrollbar-hover": "#aab6c3",
        "scrollbar-active": "#0b62b8",
        "scrollbar-background-hover": "#fbfcfd",
        "scrollbar-background-active": "#fbfcfd",
        "scrollbar-corner-color": "#fbfcfd",
    },
)
