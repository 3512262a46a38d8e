"""The lab's namespaces, links, addresses and routes, made with pyroute2.

Each function here runs in the namespace that it changes, in a thread of its own (:func:`inside`): a socket
belongs to the namespace its thread stood in, and nothing is ever made in the machine's own namespace, not
even for a moment.
"""

from __future__ import annotations

import array
import contextlib
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import TypeVar

from nftrtsp import netns
from nftrtsp.errors import KernelError, LabError, UnsupportedError

T = TypeVar("T")

# linux/sockios.h and linux/ethtool.h
_SIOCETHTOOL = 0x8946
_ETHTOOL_SSG, _ETHTOOL_STSO, _ETHTOOL_SGSO = 0x19, 0x1F, 0x24


def inside(name: str, function: Callable[[], T]) -> T:
    """Run ``function`` in a thread that stands in the namespace ``name``; return or raise what it does."""
    result: list[T] = []
    trouble: list[BaseException] = []

    def work() -> None:
        try:
            netns.enter(name)
            result.append(function())
        except BaseException as error:  # handed on to the caller's thread
            trouble.append(error)

    thread = threading.Thread(target=work, name=f"inside {name}", daemon=True)
    thread.start()
    thread.join()
    if trouble:
        raise trouble[0]
    return result[0]


def make_namespace(name: str) -> tuple[int, int]:
    """Make the namespace ``name`` with its loopback up; return the (device, inode) that tells it apart."""
    from pyroute2 import netns as namespaces

    try:
        namespaces.create(name)
    except OSError as error:
        raise UnsupportedError(
            f"cannot make a network namespace: {error.strerror or error}",
            place="lab",
            remedy="run it as root, on a kernel with network namespaces",
            errno=error.errno,
        ) from None
    inside(name, _quiet)
    space = (netns.NETNS_DIR / name).stat()
    return space.st_dev, space.st_ino


def _quiet() -> None:
    """Loopback up, and no IPv6: its neighbour discovery would be noise in every list of events."""
    set_sysctl("net/ipv6/conf/all/disable_ipv6", 1)
    set_sysctl("net/ipv6/conf/default/disable_ipv6", 1)
    configure("lo", ())


def set_sysctl(key: str, value: int | str) -> bool:
    """Set a sysctl of the calling thread's namespace; False where this kernel has no such key."""
    try:
        (Path("/proc/sys") / key).write_text(str(value))
    except FileNotFoundError:
        return False
    except OSError as error:
        raise KernelError(
            f"cannot set {key.replace('/', '.')}: {error.strerror}", place="lab", errno=error.errno
        ) from None
    return True


def add_bridge(name: str, ports: Iterable[str]) -> None:
    """Add a bridge in the calling thread's namespace, with ``ports``, all up."""
    from pyroute2 import IPRoute

    with IPRoute() as ipr, _sentences():
        ipr.link("add", ifname=name, kind="bridge")
        bridge = ipr.link_lookup(ifname=name)[0]
        ipr.link("set", index=bridge, state="up")
        for port in ports:
            ipr.link("set", index=ipr.link_lookup(ifname=port)[0], master=bridge, state="up")


def add_veth(name: str, peer: str, peer_namespace: str) -> None:
    """Add a veth pair whose end ``name`` is here and whose end ``peer`` is born in ``peer_namespace``."""
    from pyroute2 import IPRoute

    fd = os.open(netns.NETNS_DIR / peer_namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with IPRoute() as ipr, _sentences():
            ipr.link("add", ifname=name, kind="veth", peer={"ifname": peer, "net_ns_fd": fd})
    finally:
        os.close(fd)


def configure(link: str, addresses: Iterable[IPv4Interface]) -> None:
    """Give ``link`` its addresses and set it up."""
    from pyroute2 import IPRoute

    with IPRoute() as ipr, _sentences():
        index = ipr.link_lookup(ifname=link)[0]
        ipr.link("set", index=index, state="up")
        for address in addresses:
            ipr.addr("add", index=index, address=str(address.ip), prefixlen=address.network.prefixlen)


def set_state(link: str, *, up: bool) -> None:
    """Set ``link`` up or down; down, its routes go."""
    from pyroute2 import IPRoute

    with IPRoute() as ipr, _sentences():
        ipr.link("set", index=ipr.link_lookup(ifname=link)[0], state="up" if up else "down")


def wait_until_up(wait: float) -> None:
    """Return when every link of the calling thread's namespace carries, or raise after ``wait`` seconds.

    The kernel's link watch hands out carriers at most once a second, and packets sent before are lost.
    """
    from pyroute2 import IPRoute

    end = time.monotonic() + wait
    with IPRoute() as ipr:
        while True:
            links = {link.get("ifname"): link.get("operstate") for link in ipr.get_links()}
            down = [name for name, state in links.items() if state not in ("UP", "UNKNOWN")]
            if not down:
                return
            if time.monotonic() > end:
                raise LabError(
                    f"the lab's link {down[0]} did not come up within {wait:.0f} s",
                    place="lab",
                    remedy="on a slow machine set NFTRTSP_LAB_PATIENCE to 5",
                )
            time.sleep(0.01)


def add_route(network: IPv4Network | None, gateway: IPv4Address) -> None:
    """Add a route to ``network`` (None: all) over ``gateway``, which is always one of the lab's own."""
    from pyroute2 import IPRoute

    with IPRoute() as ipr, _sentences():
        ipr.route("add", dst=str(network) if network else "default", gateway=str(gateway))


def remove_route(network: IPv4Network, gateway: IPv4Address) -> None:
    """Remove the route that :func:`add_route` added."""
    from pyroute2 import IPRoute

    with IPRoute() as ipr, _sentences():
        ipr.route("del", dst=str(network), gateway=str(gateway))


def disable_offload(link: str) -> None:
    """Turn off scatter-gather and segmentation offload: the RTSP module reads linear packets only."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        for command in (_ETHTOOL_STSO, _ETHTOOL_SGSO, _ETHTOOL_SSG):
            value = array.array("I", [command, 0])
            request = struct.pack("16sP", link.encode(), value.buffer_info()[0])
            # Fixed in some drivers; the lab works without it, but for that module.
            with contextlib.suppress(OSError):
                fcntl.ioctl(sock, _SIOCETHTOOL, request)


@contextlib.contextmanager
def _sentences() -> Iterator[None]:
    """Turn pyroute2's errors into ours."""
    from pyroute2.netlink.exceptions import NetlinkError

    try:
        yield
    except NetlinkError as error:
        raise KernelError(
            f"the kernel refused a link, an address or a route of the lab: {os.strerror(error.code)}",
            place="lab",
            remedy="it needs veth and bridge",
            errno=error.code,
        ) from None
    except IndexError:
        raise LabError("a link of the lab is gone", place="lab", remedy="run `nftrtsp lab down`") from None
