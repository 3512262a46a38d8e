"""What a server's answer may change. Pure.

A server chooses among what was asked, or names another port instead, one for one: as many, as far from one
another. It never widens what was asked, for nobody on the LAN wanted the rest: one answered a single port
with ``client_port=5353-1900``.
"""

from __future__ import annotations

from collections.abc import Sequence

from nftrtsp.rtsp.transport import Transport

#: Of an answer whose SETUP was not seen: one port, or RTP's and RTCP's, the next (RFC 3550 section 11).
_UNSEEN_SHAPES = ((0,), (0, 1))
_RTSP_PORT = 554


def named_ports(transport: Transport) -> tuple[int, ...]:
    """Return the ports that ``transport`` names, each once."""
    return tuple(dict.fromkeys(number.value for number in transport.client_ports))


def widens(groups: Sequence[Sequence[int]], named: Sequence[int]) -> str | None:
    """Return why ``named`` are no exchange for one of ``groups``, the ports of each transport asked for.

    None: they are one for one, as far from one another as in a transport that was asked for.
    """
    if _shape(named) in {_shape(group) for group in groups}:
        return None
    asked = ", ".join(_text(group) for group in groups)
    return f"the server named {_text(named)} where {asked} was asked for"


def widens_unseen(named: Sequence[int]) -> str | None:
    """Return why ``named`` cannot answer a SETUP that was not seen; None: a port, or a port and the next."""
    if _shape(named) in _UNSEEN_SHAPES:
        return None
    return f"the server named {_text(named)} for a SETUP that was not seen"


def redirect_port(location: str) -> int:
    """Return the port of the ``rtsp://host:port/`` that a redirect names; 554 where it names none."""
    scheme, _, rest = location.partition("://")
    _, colon, port = rest.partition("/")[0].rpartition(":")
    if scheme.lower() not in ("rtsp", "rtspu") or not colon:
        return _RTSP_PORT
    return int(port) if len(port) <= 5 and port.isascii() and port.isdigit() else _RTSP_PORT


def redirected(location: str, ports: frozenset[int]) -> str:
    """Return where a redirect leads, and whether we shall see what is said there.

    ``ports`` are the RTSP ports that are followed; empty: not known.
    """
    port = redirect_port(location)
    if ports and port not in ports:
        return f"to {location}, and rtsp.ports lacks {port}: what is asked there will not be seen"
    return f"to {location}"


def _shape(ports: Sequence[int]) -> tuple[int, ...]:
    return tuple(port - ports[0] for port in ports)


def _text(ports: Sequence[int]) -> str:
    if len(ports) == 1:
        return f"port {ports[0]}"
    more = " and more" if len(ports) > 4 else ""
    return f"ports {'-'.join(str(port) for port in ports[:4])}{more}"
