"""The requests of one connection that wait for their answer, bounded in number, counted in bytes. Pure."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from nftrtsp.helper.ways import Claim, kept_text

_MOST = 64  # requests; RTSP stacks pipeline two or three
_COST = 400  # bytes of one beside its texts


class PendingRequest(msgspec.Struct, gc=False):
    """A request that waits for its answer; its texts are shortened (:func:`kept_text`).

    ``claim`` is what a SETUP holds by now.
    """

    method: str
    uri: str
    session: str | None
    claim: Claim | None = None


class PendingRequests:
    """The requests that wait. ``held``: how many bytes they take."""

    __slots__ = ("_by_cseq", "held")

    def __init__(self) -> None:
        self.held = 0
        self._by_cseq: OrderedDict[int | None, PendingRequest] | None = None  # made when there is one

    def __len__(self) -> int:
        return len(self._by_cseq or ())

    def add(self, cseq: int | None, method: str, uri: str, session: str | None) -> PendingRequest:
        """Keep a request until its answer comes; return it. The oldest goes where there are too many."""
        kept = None if session is None else kept_text(session)
        pending = PendingRequest(kept_text(method), kept_text(uri), kept)
        self._keep(cseq, pending, last=True)
        return pending

    def put_back(self, cseq: int | None, pending: PendingRequest) -> None:
        """Go on waiting with what :meth:`answered` returned: the answer was a provisional one."""
        self._keep(cseq, pending, last=False)

    def find(self, cseq: int | None) -> PendingRequest | None:
        """Return the request that waits for an answer with ``cseq``."""
        return self._by_cseq.get(cseq) if self._by_cseq else None

    def answered(self, cseq: int | None) -> PendingRequest | None:
        """Return the request that an answer with ``cseq`` belongs to; it no longer waits."""
        waiting = self._by_cseq
        if not waiting:
            return None
        pending = waiting.pop(cseq, None)
        if pending is None and cseq is None:
            pending = waiting.popitem(last=False)[1]  # a server that forgets CSeq answers in order
        if pending is not None:
            self.held -= _cost(pending)
        return pending

    def clear(self) -> None:
        """Wait for none of them any more."""
        self._by_cseq = None
        self.held = 0

    def _keep(self, cseq: int | None, pending: PendingRequest, *, last: bool) -> None:
        if self._by_cseq is None:
            self._by_cseq = OrderedDict()
        waiting = self._by_cseq
        old = waiting.pop(cseq, None)
        self.held += _cost(pending) - (_cost(old) if old is not None else 0)
        waiting[cseq] = pending
        waiting.move_to_end(cseq, last=last)
        while len(waiting) > _MOST:
            self.held -= _cost(waiting.popitem(last=False)[1])


def _cost(pending: PendingRequest) -> int:
    return _COST + len(pending.uri) + len(pending.session or "")
