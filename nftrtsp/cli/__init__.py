"""The command line: what ends a command badly is told in one sentence on stderr, never by a traceback."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from typing import NoReturn

from nftrtsp import journal
from nftrtsp.errors import NftrtspError

#: A disk that is full or ails can end any command that writes.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quietly(code: int) -> NoReturn:
    # What is left in stdout's buffer would be an error again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def main() -> None:
    """Run the command that the words name."""

    def run() -> object:
        from nftrtsp.cli import group

        return group.run()

    ended(run)


def ended(run: Callable[[], object]) -> NoReturn:
    """Run a command and exit with the code that it returns.

    What a user can cause is one sentence on stderr, never a traceback.
    """
    try:
        code = run()
        if sys.stdout is not None:
            sys.stdout.flush()  # at exit Python itself would complain of a closed pipe or a full disk
    except NftrtspError as error:
        from nftrtsp.terminal import HANG, TERMINAL

        if journal.is_stderr():
            journal.say("nftrtsp", str(error), journal.ERROR)
        else:
            TERMINAL.say(f"nftrtsp: {error}", hang=HANG)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        sys.exit(130)
    except BrokenPipeError:
        _quietly(141)  # the reader has closed
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        _complain(
            f"nftrtsp: {error.filename or 'stdout'}: cannot be written: {error.strerror}; make room there"
        )
        _quietly(2)
    else:
        sys.exit(code if isinstance(code, int) else 0)
