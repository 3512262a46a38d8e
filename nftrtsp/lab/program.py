"""How a program of the lab starts and ends: behind the fence, with one sentence for what goes wrong."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from collections.abc import Callable, Coroutine

from nftrtsp.errors import NftrtspError
from nftrtsp.lab import fence
from nftrtsp.lab.registry import Record


def run(work: Callable[[Record], Coroutine[None, None, None]]) -> None:
    """Run ``work`` with the record of the lab that this process stands in; refuse if it stands in none.

    SIGTERM ends it quietly; SIGINT is left to the lab's owner, who shares the terminal and ends it.
    """
    try:
        record = fence.check()
    except NftrtspError as error:
        sys.stderr.write(f"nftrtsp: {error}\n")
        sys.exit(error.exit_code)
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    async def until_terminated() -> None:
        task = asyncio.ensure_future(work(record))
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
        with contextlib.suppress(asyncio.CancelledError):
            await task

    asyncio.run(until_terminated())
