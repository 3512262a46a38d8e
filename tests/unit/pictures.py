"""Draws the dashboard's pictures for the README from the lab's recording that ships with nftrtsp.

Run ``.venv/bin/python -m tests.unit.pictures``; it writes ``docs/pictures/monitor-*.svg``.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from pathlib import Path

import nftrtsp.monitor
from nftrtsp.monitor.app import Monitor
from nftrtsp.monitor.replay import Replay
from tests.unit.still import StillLive

DEMO = Path(nftrtsp.monitor.__file__).parent / "demo.nftr"
FOLDER = Path(__file__).parents[2] / "docs/pictures"

#: name -> seconds into the recording, size, keys, whether the light theme.
PICTURES: dict[str, tuple[float, tuple[int, int], tuple[str, ...], bool]] = {
    "monitor-sessions": (72.0, (120, 36), (), False),
    "monitor-waiting": (18.0, (120, 30), ("5",), False),
    "monitor-flows": (58.0, (160, 24), ("2",), False),
    "monitor-light": (45.0, (120, 36), (), True),
}


async def picture(seconds: float, size: tuple[int, int], keys: tuple[str, ...], light: bool) -> str:
    """Return the screen as SVG, the same bytes each time."""
    replay = Replay(DEMO)
    replay.seek(seconds)
    app = Monitor(StillLive(replay.latest), light=light)
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        await pilot.press(*keys)
        await pilot.pause()
        drawn = app.export_screenshot(title="nftrtsp monitor")
    return re.sub(r"terminal-\d+-", "terminal-", drawn)


def main() -> None:
    """Write all of them."""
    os.environ.pop("NO_COLOR", None)
    os.environ["TZ"] = "UTC"
    time.tzset()
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name, wanted in PICTURES.items():
        file = FOLDER / f"{name}.svg"
        file.write_text(asyncio.run(picture(*wanted)), encoding="utf-8")
        print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
