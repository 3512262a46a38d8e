"""Whether this process may change the network. Source: capabilities(7), proc(5)."""

from __future__ import annotations

_CAP_NET_ADMIN = 12


def is_network_admin() -> bool:
    """Whether this thread has CAP_NET_ADMIN: root has it, and the helper's service, which is not root."""
    try:
        with open("/proc/thread-self/status", encoding="ascii", errors="replace") as lines:  # noqa: PTH123
            for line in lines:
                name, _, value = line.partition(":")
                if name == "CapEff":
                    return bool(int(value, 16) >> _CAP_NET_ADMIN & 1)
    except (OSError, ValueError):
        pass
    return False
