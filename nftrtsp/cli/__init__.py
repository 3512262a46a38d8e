"""The command line: what ends a command badly is told in one sentence on stderr, never by a traceback."""

from __future__ import annotations

import errno
import os
import sys
from pathlib import Path
from typing import NoReturn

from nftrtsp.errors import NftrtspError

#: A disk that is full or ails can end any command that writes.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)


def _run() -> object:
    """Run the command and return its exit code; raises what stdout says when all is written."""
    code: object = None
    match sys.argv[1:]:
        # As services call it. Without click it starts a fifth sooner: that long a router is without it.
        case ["helper"]:
            _helper(None)
        case ["helper", "-c" | "--config", place]:
            _helper(Path(place))
        case _:
            from nftrtsp.cli import group

            code = group.run()
    if sys.stdout is not None:
        sys.stdout.flush()  # at exit Python itself would complain of a closed pipe or a full disk
    return code


def _helper(place: Path | None) -> None:
    """`nftrtsp helper` as nftrtsp.cli.helper has it."""
    # msgspec takes typing's own where this is not to be had: the same, and a seventh of a helper's start.
    sys.modules["typing_extensions"] = None  # type: ignore[assignment]
    import msgspec  # noqa: F401

    del sys.modules["typing_extensions"]
    from nftrtsp import config, paths
    from nftrtsp.rtsp.serve import serve

    serve(config.load(place or paths.config_file()))


def _complain(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _quietly(code: int) -> NoReturn:
    # What is left in stdout's buffer would be an error again at exit.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    sys.exit(code)


def main() -> None:
    """Run the command line: one sentence on stderr for what a user can cause, never a traceback."""
    try:
        code = _run()
    except NftrtspError as error:
        from nftrtsp.terminal import HANG, TERMINAL

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
