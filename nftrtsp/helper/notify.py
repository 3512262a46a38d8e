"""Telling systemd: ready, what we are doing, still alive. Source: sd_notify(3), sd_watchdog_enabled(3)."""

from __future__ import annotations

import contextlib
import os
import socket


def asked() -> bool:
    """Whether a service manager started us and waits for word."""
    return os.environ.get("NOTIFY_SOCKET", "")[:1] in ("/", "@")


def notify(*lines: str) -> bool:
    """Send ``READY=1``, ``STATUS=…`` and the like to ``$NOTIFY_SOCKET``; return whether somebody asked.

    Never raises: a service manager that has gone must not end the service.
    """
    if not asked():
        return False
    path = os.environ["NOTIFY_SOCKET"]
    address = "\0" + path[1:] if path[0] == "@" else path
    with (
        contextlib.suppress(OSError),
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as to,
    ):
        to.sendto("\n".join(lines).encode(), address)
    return True


def watchdog_interval() -> float | None:
    """Return how often, in seconds, to say WATCHDOG=1 (half of what is allowed), or None if nobody waits."""
    if os.environ.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    try:
        allowed = int(os.environ.get("WATCHDOG_USEC", ""))
    except ValueError:
        return None
    return allowed / 2_000_000 if allowed > 0 else None
