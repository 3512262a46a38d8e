"""What a helper tells others: one thing that it saw or did on a control connection."""

from __future__ import annotations

from socket import inet_ntoa
from typing import Any

import msgspec

from nftrtsp.errors import printable
from nftrtsp.helper.ways import Connection


class Note(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, kw_only=True):
    """One event of the published stream (see :mod:`nftrtsp.helper.publish`); absent parts do not apply.

    ``event`` is one of ``connection-open connection-close setup response way-open way-refused way-closed play
    pause teardown rewrite overrun garbage``. ``way`` is a record of :func:`nftrtsp.helper.ways.way_record`.
    ``holder`` is the address of the set-top box that has the port already for which another one was refused.
    """

    time: float | None = None
    event: str
    stb: str | None = None
    client: str | None = None
    server: str | None = None
    port: int | None = None
    session: str | None = None
    cseq: int | None = None
    uri: str | None = None
    status: int | None = None
    reason: str | None = None
    holder: str | None = None
    way: dict[str, Any] | None = None


def note(event: str, connection: Connection | None = None, **parts: Any) -> Note:
    """Return a note about ``connection``.

    Its texts are printable: what a box or a server made up ends on terminals and in logs.
    """
    parts = {key: printable(part) if isinstance(part, str) else part for key, part in parts.items()}
    if connection is None:
        return Note(event=event, **parts)
    return Note(
        event=event,
        stb=inet_ntoa(connection.client),
        client=connection.client_text,
        server=connection.server_text,
        **parts,
    )
