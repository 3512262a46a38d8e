"""What is written beside an element of the map: who asked whom, and the session. Pure.

``nft list map`` shows it, and a helper that starts anew reads it.
"""

from __future__ import annotations

from ipaddress import IPv4Address

from nftrtsp.helper import adoption
from nftrtsp.helper.adoption import Orphan
from nftrtsp.helper.ways import Claim, Connection, Way

_SESSION_MAX = 64  # characters of a session id that fit beside the addresses


def comment(way: Way) -> str:
    """Return what is written beside the element: who asked whom, the session, its timeout in seconds."""
    claim: Claim | None = way.claims[-1] if way.claims else None
    connection = claim.connection if claim else way.master
    session = claim.session if claim else None
    if session is None or len(session) > _SESSION_MAX or not session.isascii() or not session.isprintable():
        session = None
    if session is not None and (" " in session or '"' in session):
        session = None
    timeout = claim.timeout if claim else None
    return (
        f"{connection.client_text} {connection.server_text} "
        f"{session or '-'} {timeout if timeout is not None else '-'}"
    )


def read_comment(text: str) -> Orphan | None:
    """Return what :func:`comment` wrote, or None if it was somebody else."""
    parts = text.split(" ")
    if len(parts) != 4:
        return None
    client, server = _end(parts[0]), _end(parts[1])
    timeout = parts[3]
    if client is None or server is None or not parts[2] or not (timeout == "-" or is_number(timeout)):
        return None
    session = None if parts[2] == "-" else parts[2]
    return adoption.orphan(Connection(*client, *server), session, None if timeout == "-" else int(timeout))


def is_number(text: str) -> bool:
    """Whether ``text`` is a number in ASCII digits, of at most ten."""
    return len(text) <= 10 and text.isascii() and text.isdigit()


def _end(text: str) -> tuple[bytes, int] | None:
    """Return the packed address and the port of ``address:port``."""
    address, _, port = text.partition(":")
    if not is_number(port) or not 0 < int(port) <= 65535:
        return None
    try:
        return IPv4Address(address).packed, int(port)
    except ValueError:
        return None
