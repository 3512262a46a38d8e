"""What a box, a server, the kernel or a recording made up cannot steer the terminal, nor is it markup."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from nftrtsp.monitor.app import Monitor
from tests.unit.monitor_scenes import Watched
from tests.unit.scenes import BOX, control, media
from tests.unit.still import StillLive

ESCAPE = "\x1b]0;owned\x07\x1b[2J\x9b31m\u202e"
MARKUP = "[/bold][red]x[@click=app.quit]"
EVIL = f"{MARKUP}{ESCAPE}"


def hostile() -> Watched:
    house = Watched()
    for name in (MARKUP, EVIL):
        house.observer.sessions.box(media().reply.src).name = name
    house.hello(kind=EVIL)
    house.say(1.0, "connection-open")
    house.say(1.1, "setup", port=27336, uri=f"rtsp://{EVIL}/{EVIL}", session=EVIL, cseq=2)
    way = {"stb": BOX, "kind": EVIL, "helper": EVIL, "flags": [EVIL], "nat": {"src": BOX, "sport": 27336}}
    way["tuple"] = {"src": "0.0.0.0", "sport": 0, "dst": EVIL, "dport": 27336}
    house.say(1.2, "way-open", port=27336, way={**way, "id": 27336, "timeout": 60, "any_source": True})
    house.say(1.3, "response", status=454, reason=EVIL, cseq=2, session=EVIL)
    house.say(1.4, "way-refused", port=27336, reason=EVIL)
    house.say(1.5, "rewrite", reason=EVIL)
    house.say(1.6, "garbage", reason=EVIL)
    film = msgspec.structs.replace(media(), helper=EVIL)
    house.show(2.0, film, control(helper=EVIL))
    house.show(3.0, film, control(helper=EVIL))
    return house


KEYS = {
    "sessions": [],
    "film": ["tab", "enter"],
    "box": ["enter"],
    "flows": ["2"],
    "flow": ["2", "enter"],
    "delete": ["2", "x"],
    "ways": ["3"],
    "way": ["3", "enter"],
    "events": ["4"],
    "event": ["4", "enter"],
    "problems": ["5"],
    "problem": ["5", "enter"],
    "copied": ["4", "c"],
}


@pytest.mark.parametrize("screen", KEYS)
def test_no_made_up_text_reaches_the_terminal_as_it_is(screen: str) -> None:
    house = hostile()

    async def look() -> list[str]:
        app = Monitor(StillLive(house.snapshot(3.0)))
        async with app.run_test(size=(240, 60)) as pilot:
            for key in KEYS[screen]:
                await pilot.press(key)
                await pilot.pause()
            strips = app.screen._compositor.render_strips()
            return ["".join(segment.text for segment in strip) for strip in strips]

    lines = asyncio.run(look())
    assert [line for line in lines if not line.isprintable()] == []
    if screen in ("sessions", "film", "events", "event"):
        assert any("[/bold][red]x" in line for line in lines)  # as it was written, not read as markup
