"""How the lab's provider behaves: the well-bred default, and what real providers and broken ones do.

A film's URI says it, ``rtsp://172.26.83.10:554/film/7?mbps=6&early=1``, so that each film of each set-top box
may be treated otherwise; the provider's control socket sets the default for all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from urllib.parse import parse_qsl, urlsplit


@dataclass(frozen=True, slots=True)
class Behaviour:
    """What the provider does with one film. Times are in seconds, 0 means *not at all*."""

    mbps: float = 6.0  # Mbit/s of transport stream
    servers: str = ""  # media servers, with commas; empty: by turns; "rtsp": the RTSP server's own address
    switch: float = 0.0  # another media server takes over after each so many seconds
    early: int = 0  # the film begins before the answer to SETUP
    setup_status: int = 200  # SETUP is answered with this, and nothing opens
    play_status: int = 200
    server_port: int = 0  # SETUP's answer tells source= and server_port=
    start: float = 0.0  # so long a media server takes from PLAY to its first datagram
    mute: int = 0  # all is answered, but the film never comes
    lose: int = 0  # each so-manieth datagram is counted as sent, and is not
    stop: float = 0.0  # the media server goes silent after so many seconds of film
    announce: float = 0.0  # after so many seconds of film: ANNOUNCE, end of stream
    redirect: int = 0  # DESCRIBE is answered with 302 to the other RTSP server
    other_uri: int = 0  # DESCRIBE names another URI, then used on the same connection
    timeout: int = 60  # a session without request for so long ends
    linger: float = 0.0  # so long the film goes on when the control connection closes

    def merge(self, values: Mapping[str, str]) -> Behaviour:
        """Return this behaviour with ``values``, each written as in a URI; raises ValueError."""
        known = {field.name: type(getattr(self, field.name)) for field in fields(self)}
        changes = {}
        for name, text in values.items():
            key = name.replace("-", "_")
            if key not in known:
                raise ValueError(f"{name!r} is no behaviour; known: {', '.join(known)}")
            changes[key] = known[key](text)
        return replace(self, **changes)


def of_uri(uri: str, default: Behaviour) -> tuple[int, Behaviour]:
    """Return the film's number and the behaviour that ``uri`` asks for; raises ValueError."""
    parts = urlsplit(uri)
    number = parts.path.rstrip("/").rpartition("/")[2]
    return int(number), default.merge(dict(parse_qsl(parts.query)))
