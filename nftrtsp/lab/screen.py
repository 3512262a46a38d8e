"""Another program of ours on the whole terminal, which is given back in order whatever became of it."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

# Leave the alternate screen; cursor and line wrap on; mouse, focus and paste reports off; colours back.
_RESET = (
    "\x1b[?1049l\x1b[?25h\x1b[?7h\x1b[?1000l\x1b[?1002l\x1b[?1003l\x1b[?1006l\x1b[?1004l\x1b[?2004l\x1b[0m"
)


def show(
    start: Callable[..., subprocess.Popen[Any]], words: tuple[str, ...], done: Callable[[], bool]
) -> bool:
    """Run ``start(*words)`` on this terminal until it ends by itself or ``done`` says that it is time.

    Return False if it failed.
    """
    ended_by_us = False
    kept = termios.tcgetattr(sys.stdin)
    process = start(*words)
    try:
        while process.poll() is None and not done():
            time.sleep(0.1)
    finally:
        if process.poll() is None:
            ended_by_us = True
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        if process.poll() is None:
            process.kill()
            process.wait()
        if process.returncode:
            sys.stdout.write(_RESET)
            sys.stdout.flush()
        termios.tcsetattr(sys.stdin, termios.TCSANOW, kept)
    return ended_by_us or process.returncode == 0
