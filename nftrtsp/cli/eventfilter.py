"""``events --filter``: which events are wanted. Pure."""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from nftrtsp import figures
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.record import protocol_text
from nftrtsp.conntrack.role import OTHER, Part, Role, Roles
from nftrtsp.conntrack.tuple import PROTOCOL_NAMES
from nftrtsp.errors import ConfigError
from nftrtsp.helper.note import NOTES, Hello, Line

if TYPE_CHECKING:
    from nftrtsp.config import Config

#: What a running helper tells.
HELPER_EVENTS = frozenset(NOTES) | {"hello"}

_KNOWN = {
    "role": {role.value for role in Role},
    "type": {kind.value for kind in EventType} | HELPER_EVENTS,
}


class EventFilter(msgspec.Struct, frozen=True):
    """Which events ``--filter`` lets through: within a key any value, all keys together."""

    stb: frozenset[str] = frozenset()
    role: frozenset[str] = frozenset()
    proto: frozenset[str] = frozenset()
    type: frozenset[str] = frozenset()

    def accepts(self, event: Event, part: Part, roles: Roles) -> bool:
        """Whether a conntrack event is wanted. Losses always are."""
        if event.type is EventType.OVERRUN:
            return True
        told = event.flow.orig if event.flow else event.expectation.tuple if event.expectation else None
        proto = "" if told is None else protocol_text(told.proto)
        return self._fits(event.type.value, part.role.value, proto, part.stb or b"", roles)

    def accepts_line(self, line: Line, roles: Roles) -> bool:
        """Whether a helper's line is wanted: it counts as ``control`` and as ``tcp``."""
        stb = b"" if isinstance(line, Hello) else line.box or b""
        return self._fits(line.event, Role.CONTROL.value, "tcp", stb, roles)

    def _fits(self, kind: str, role: str, proto: str, stb: bytes, roles: Roles) -> bool:
        return (
            (not self.type or kind in self.type)
            and (not self.role or role in self.role)
            and (not self.proto or proto in self.proto)
            and (not self.stb or bool(self.stb & {roles.name(stb).casefold(), figures.address(stb)}))
        )


def parse_filters(filters: tuple[str, ...], config: Config) -> EventFilter:
    """Return what ``--filter KEY=VALUE[,VALUE]`` asks for. Raises :class:`ConfigError`."""
    found: dict[str, frozenset[str]] = {}
    for text in filters:
        key, equals, value = text.partition("=")
        values = frozenset(part.strip().casefold() for part in value.split(",") if part.strip())
        if not equals or not values or key not in EventFilter.__struct_fields__:
            raise ConfigError(
                f"{text!r} is no filter",
                place="--filter",
                remedy=f"write KEY=VALUE, with KEY one of {', '.join(EventFilter.__struct_fields__)}",
            )
        check = {"stb": _boxes, "proto": _protocols}.get(key)
        values = check(values, config) if check else _listed(key, values)
        found[key] = found.get(key, frozenset()) | values
    return EventFilter(**found)


def _listed(key: str, values: frozenset[str]) -> frozenset[str]:
    odd = values - _KNOWN[key]
    if odd:
        raise _unknown(key, min(odd), f"choose from {', '.join(sorted(_KNOWN[key]))}")
    return values


def _boxes(values: frozenset[str], config: Config) -> frozenset[str]:
    """Return names and addresses as :meth:`Wanted._fits` compares them."""
    names = {box.name.casefold(): box.name for box in config.stb if box.name}
    found = set()
    for value in values:
        try:
            found.add(value if value in names else str(ip_address(value)))
        except ValueError:
            known = f"{', '.join(sorted(names.values()))}, or " if names else ""
            raise _unknown("stb", value, f"choose from {known}an address") from None
    return frozenset(found)


def _protocols(values: frozenset[str], _config: Config) -> frozenset[str]:
    """Return protocols as ``protocol_text`` names them; numbers are taken too."""
    known = set(PROTOCOL_NAMES.values())
    found = set()
    for value in values:
        if value not in known and not (value.isascii() and value.isdecimal() and int(value) <= 255):
            raise _unknown("proto", value, f"choose from {', '.join(sorted(known))}, or a number up to 255")
        found.add(value if value in known else protocol_text(int(value)))
    return frozenset(found)


def _unknown(key: str, value: str, remedy: str) -> ConfigError:
    return ConfigError(f"there is no {key} {value!r}", place="--filter", remedy=remedy)


def part_of(event: Event, roles: Roles) -> Part:
    """Return role and set-top box of what ``event`` tells; an expectation counts as control."""
    if event.flow is not None:
        return roles.of(event.flow)
    expectation = event.expectation
    if expectation is not None and roles.concerns(expectation):
        return Part(Role.CONTROL, roles.asker(expectation))
    return OTHER
