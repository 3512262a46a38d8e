"""How many answers to SETUPs that could not be seen may be believed. Pure."""

from __future__ import annotations

from nftrtsp.rtsp.conversation import Conversation

_MOST = 2  # SETUPs that may have been missed in one gap: picture and sound


class Unseen:
    """Of one connection.

    Only what was said before we listened, or in a gap, could not be seen: once a request that was seen has
    its answer, those before it have theirs. So a server gains a port or two in each gap, and no more.
    """

    __slots__ = ("_left", "_lost_before")

    def __init__(self) -> None:
        self._left = _MOST
        self._lost_before = 0  # bytes of the set-top box that were missing when that was counted

    def may_be_answered(self, conversation: Conversation, *, was_seen: bool) -> bool:
        """Whether the answer that came last may be to a SETUP that could not be seen.

        ``was_seen``: the request that it answers is known.
        """
        lost = conversation.lost_of_client
        if lost != self._lost_before:
            self._lost_before = lost
            self._left = _MOST
        if was_seen:
            self._left = 0
            return False
        if self._left <= 0 or not (conversation.picked_up or lost):
            return False
        self._left -= 1
        return True
