"""What a service says on standard error: with a priority where that is the journal, else for people to read.

Source: sd-daemon(3) for the priorities, systemd.exec(5) for $JOURNAL_STREAM.
"""

from __future__ import annotations

import contextlib
import os
import sys

ERROR = 3
WARNING = 4
NOTICE = 5
INFO = 6

_WORDS = {ERROR: "error: ", WARNING: "warning: "}


def is_stderr() -> bool:
    """Whether standard error goes to the journal, which has our name and the time already."""
    try:
        there = os.fstat(2)
    except OSError:
        return False
    return os.environ.get("JOURNAL_STREAM") == f"{there.st_dev}:{there.st_ino}"


def say(name: str, text: str, priority: int = INFO) -> None:
    """Write one line to standard error, as ``name`` where that is not the journal. Never raises."""
    line = f"<{priority}>{text}" if is_stderr() else f"{name}: {_WORDS.get(priority, '')}{text}"
    with contextlib.suppress(OSError, ValueError):
        print(line, file=sys.stderr, flush=True)
