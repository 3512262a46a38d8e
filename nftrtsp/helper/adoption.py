"""What an earlier helper left, judged anew: what the kernel or a file says is believed no more than a box.

What was allowed once may not be now: the configuration has changed, the router uses the port itself, somebody
else wrote the element. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from nftrtsp.helper.port_policy import LOWEST_PORT, PortPolicy, Refusal
from nftrtsp.helper.ways import MAX_LIFETIME, Connection, Ways

_LONGEST_SESSION = 256  # characters; RFC 2326 says eight and more, servers send up to forty


class Orphan(msgspec.Struct, frozen=True):
    """A port whose helper is gone: who asked for it, and the session and its timeout in seconds, if known."""

    connection: Connection
    session: str | None = None
    timeout: int | None = None


def orphan(connection: Connection, session: str | None, timeout: int | None) -> Orphan:
    """Return what may be believed of what was written down about a way."""
    if session is not None and not (0 < len(session) <= _LONGEST_SESSION and _is_plain(session)):
        session = None
    if timeout is not None:
        timeout = min(MAX_LIFETIME, timeout) if timeout > 0 else None
    return Orphan(connection, session, timeout)


def refuse(
    policy: PortPolicy, ways: Ways, connection: Connection, ports: Mapping[int, int], now: float
) -> Refusal | None:
    """Return why ``ports`` (public port: the box's) of ``connection`` are not taken over, or None."""
    refusal = policy.refuse_host(connection.client)
    if refusal is not None:
        return refusal
    if policy.ports and connection.server_port not in policy.ports:
        return Refusal(f"port {connection.server_port} is none of rtsp.ports")
    for port in ports.values():
        if not LOWEST_PORT <= port <= 65535:
            return Refusal(f"port {port} is below {LOWEST_PORT}", port)
    grant = policy.grant(ways, connection.client, tuple(ports), now, as_asked=True)
    if isinstance(grant, Refusal):
        return grant
    if grant.ports != tuple(ports) or grant.evicted:
        return Refusal("is there already")
    return None


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()
