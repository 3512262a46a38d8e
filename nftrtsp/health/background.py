"""The survey beside the diff, in a child process, for no longer than it is worth.

nft reads the elements of every set of a table to list one chain of it (1.0.6; a second for 100,000 elements).
`diff` and `apply` are about our table alone, so they do not wait for that.
"""

from __future__ import annotations

import os
import select
import signal
import time
from typing import TYPE_CHECKING, Any, NoReturn

import msgspec

from nftrtsp.config import Config, HelperKind
from nftrtsp.health.facts import Surroundings
from nftrtsp.health.survey import survey
from nftrtsp.ruleset.kernel import Nft

if TYPE_CHECKING:
    from types import TracebackType

#: How long to wait for it at least when all else is ready, in seconds; else as long as all else took.
PATIENCE = 0.1


class BackgroundSurvey:
    """Gathers :class:`Surroundings` from the moment it is made; the end of the block ends it."""

    def __init__(self, config: Config, kind: HelperKind) -> None:
        self._config, self._kind = config, kind
        self._begun = time.monotonic()
        self._pipe, theirs = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._pipe)
            _look(theirs, config, kind)
        os.close(theirs)

    def __enter__(self) -> BackgroundSurvey:
        """Return itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the child, whether it is done or not."""
        os.close(self._pipe)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)

    def report(self) -> tuple[Surroundings, bool]:
        """Return what was found, and whether that is all: without other tables, if they take too long."""
        patience = max(PATIENCE, time.monotonic() - self._begun)
        data = b""
        while select.select([self._pipe], [], [], patience)[0]:
            part = os.read(self._pipe, 1 << 16)
            if not part:
                break
            data += part
        try:
            return msgspec.json.decode(data, type=Surroundings, dec_hook=_address), True
        except msgspec.DecodeError:
            return survey(None, self._config, self._kind), False


def _look(pipe: int, config: Config, kind: HelperKind) -> NoReturn:
    """Be the child: gather, tell, end. Never returns into the caller's code."""
    try:
        with Nft() as nft:
            data = msgspec.json.encode(survey(nft, config, kind), enc_hook=str)
        with os.fdopen(pipe, "wb") as file:
            file.write(data)
    except BaseException:
        os._exit(1)
    os._exit(0)


def _address(kind: type, text: Any) -> Any:
    """Read an address back, which JSON knows as text."""
    return kind(text)
