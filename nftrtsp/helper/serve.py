"""Running the helper that serves here, whichever that is."""

from __future__ import annotations

import msgspec

from nftrtsp import journal
from nftrtsp.config import Config, HelperKind
from nftrtsp.errors import KernelError, UnsupportedError
from nftrtsp.helper.choice import choose


def serve(config: Config, kind: HelperKind | None = None) -> None:
    """Run the helper of ``kind`` (None: what ``rtsp.helper`` says) in the foreground until SIGTERM or SIGINT.

    Returns at once, with a word on stderr, where the kernel module does the work. Raises what
    the ``run`` of :mod:`nftrtsp.helper.userspace.helper` and :mod:`nftrtsp.helper.pinhole.helper` raise. The
    exit code of an error is 1 where another try may do (the kernel refused), so that systemd starts it
    again, and 2 where somebody must fix something first.
    """
    try:
        _serve(config, kind)
    except UnsupportedError:
        raise
    except KernelError as error:
        error.exit_code = 1
        raise


def _serve(config: Config, kind: HelperKind | None) -> None:
    if kind is not None:
        config = msgspec.structs.replace(config, rtsp=msgspec.structs.replace(config.rtsp, helper=kind))
    choice = choose(config)
    if choice.kind is HelperKind.PINHOLE:
        from nftrtsp.helper.pinhole.helper import run as run_pinhole

        run_pinhole(config, choice.why)
    elif choice.kind is HelperKind.USERSPACE:
        from nftrtsp.helper.userspace.helper import run as run_userspace

        run_userspace(config, choice.why)
    else:
        from nftrtsp.helper.notify import notify
        from nftrtsp.helper.service import NAME

        text = f"nothing to run: the kernel module opens the ports ({choice.why})"
        notify("READY=1", f"STATUS={text}")  # else systemd takes this clean end for a failed start
        journal.say(NAME, text)
