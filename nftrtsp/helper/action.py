"""What a dialogue asks of a helper, in order: open a way, close it, rewrite bytes, tell."""

from __future__ import annotations

import msgspec

from nftrtsp.helper.note import Note, Rewritten, WayClosed, WayOpen
from nftrtsp.helper.ways import Way


class OpenWay(msgspec.Struct, frozen=True, gc=False):
    """Open ``way`` now; not ``new``: it is open already, see that it stays. Then say so with ``note``.

    When the kernel refuses, call :meth:`Dialogue.failed`: the way is off the list then, and an action that
    follows may still ask for it. Such a way is not to be opened.
    """

    way: Way
    new: bool
    note: WayOpen


class CloseWay(msgspec.Struct, frozen=True, gc=False):
    """Close ``way``: it is off the list already. ``cut``: the film has ended, end its media flows as well."""

    way: Way
    cut: bool
    note: WayClosed


class Rewrite(msgspec.Struct, frozen=True, gc=False):
    """Write ``new`` in place of ``old`` in the stream, whose first byte has the TCP number ``sequence``.

    Only a policy with ``substitutes`` asks for it. Retransmissions must be rewritten in the same way.
    """

    from_client: bool
    sequence: int
    old: bytes
    new: bytes
    note: Rewritten


Action = OpenWay | CloseWay | Rewrite | Note
