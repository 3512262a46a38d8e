"""The lab with hosts that mean harm: some beside the boxes on the LAN, some beside the servers.

::

    boxes, intruders ── br0 [router] vlan2 ── segment [provider]
                                                 └── strangers 172.26.83.66, 172.26.83.67
"""

from __future__ import annotations

import fcntl
import json
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from ipaddress import IPv4Address, IPv4Interface
from typing import Any, TypeVar

from nftrtsp.lab import links, registry
from nftrtsp.lab.namespace import Namespace, package_path
from nftrtsp.lab.network import IPTV_LINK, LAN_LINK, Lab, LabStb
from nftrtsp.lab.player import ProviderControl
from tests.attacks.wire import ROUTER_MAC

T = TypeVar("T")

ROUTER = "10.214.0.2"
LAN_ROUTER = "192.168.1.1"
SERVER = "172.26.83.10"
MEDIA = "172.26.83.137"

_FIRST_STRANGER = IPv4Address("172.26.83.66")
_SEGMENT = "segment"
_SIOCGIFHWADDR = 0x8927
_ETH_P_ALL = 3
#: A host that speaks TCP by hand must not have its kernel say that it knows nothing of it.
_QUIET = """
table inet quiet {
  chain output { type filter hook output priority filter; tcp flags & rst == rst drop; icmp type 3 drop; }
}
"""


class Attack:
    """An attack under way."""

    def __init__(self, process: subprocess.Popen[str], name: str) -> None:
        self.process, self.name = process, name

    def ready(self) -> None:
        """Wait for the line by which a program says that it has begun."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line in {"ready\n", "said\n"}, f"{self.name} said {line!r} and ended: {self.process.wait()}"

    def result(self, wait: float = 60.0) -> int:
        """Wait for its end; return what it printed last."""
        assert self.process.stdout is not None
        self.process.wait(wait * registry.patience())  # it says little: no pipe fills
        out = self.process.stdout.read()
        assert self.process.returncode == 0, f"{self.name} ended with {self.process.returncode}"
        return int(json.loads(out.strip().splitlines()[-1]))

    def end(self) -> None:
        """End it now."""
        self.process.terminate()
        with suppress(subprocess.TimeoutExpired):
            self.process.communicate(timeout=10)


class Network:
    """A lab that stands, its provider, and who attacks it."""

    def __init__(self, lab: Lab, provider: ProviderControl, boxes: int, strangers: list[Namespace]) -> None:
        self.lab, self.provider = lab, provider
        self.boxes: list[LabStb] = lab.stbs[:boxes]
        self.intruders: list[LabStb] = lab.stbs[boxes:]
        self.strangers = strangers
        self.stranger_addresses = [str(_FIRST_STRANGER + number) for number in range(len(strangers))]
        self._macs = {
            link: lab.router.call(lambda link=link: _mac(link))  # type: ignore[misc]
            for link in (LAN_LINK, IPTV_LINK)
        }

    def configure(
        self, *, rtsp: str = "", iptv: str = "", named: bool = False, helper: str = "pinhole"
    ) -> None:
        """Write the router's config; not ``named``: no [[stb]], so that every host of the LAN may ask."""
        names = "".join(f'\n[[stb]]\nname = "{box.title}"\naddress = "{box.address}"\n' for box in self.boxes)
        self.lab.write_config(
            f'profile = "movistar"\n\n[iptv]\ninterface = "{IPTV_LINK}"\n{iptv}\n'
            f'[lan]\ninterfaces = ["{LAN_LINK}"]\nnetworks = ["192.168.1.0/24"]\n\n'
            f'[rtsp]\nhelper = "{helper}"\n{rtsp}\n{names if named else ""}'
        )

    def attack(self, host: Namespace, name: str, **words: object) -> Attack:
        """Start the attack ``name`` at one of the hosts."""
        mac = self._macs[IPTV_LINK if host in self.strangers else LAN_LINK]
        process = host.popen(
            [sys.executable, "-m", f"tests.attacks.programs.{name}", *(f"{k}={v}" for k, v in words.items())],
            env={"PYTHONPATH": package_path(), ROUTER_MAC: mac},
            stdout=subprocess.PIPE,
            text=True,
        )
        return Attack(process, name)

    def udp(self, host: Namespace, address: str, port: int, wait: float = 1.0) -> socket.socket:
        """Open a UDP port in a host."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind((address, port))
            made.settimeout(wait * registry.patience())
            return made

        return host.call(make)

    def capture(self, host: Namespace, link: str) -> socket.socket:
        """Open a socket that sees every packet on a link of a host, without its link layer."""

        def make() -> socket.socket:
            made = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(_ETH_P_ALL))
            made.bind((link, _ETH_P_ALL))
            made.setblocking(False)
            return made

        return host.call(make)


@contextmanager
def network(boxes: int = 2, intruders: int = 3, strangers: int = 2) -> Iterator[Network]:
    """Yield a network of this run's own; nothing of it stays."""
    with Lab.build(stbs=boxes + intruders, media_servers=3) as lab:
        hosts = _add_strangers(lab, strangers)
        for host in (*hosts, *lab.stbs[boxes:]):
            host.run(["nft", "-f", "-"], input=_QUIET)
        with lab.provider() as provider:
            yield Network(lab, provider, boxes, hosts)


def _add_strangers(lab: Lab, count: int) -> list[Namespace]:
    """Make the provider's link one of a bridge, with hosts beside it that the fence knows."""
    record = lab.record
    names = [f"nftrtsp-{lab.id}-stranger{number + 1}" for number in range(count)]
    ports = [f"host{number + 1}" for number in range(count)]
    record.links[record.isp] += [_SEGMENT, *ports]
    for name in names:
        record.namespaces[name] = None
        record.links[name] = ["lo", "eth0"]
    record.save()
    for name in names:
        record.namespaces[name] = links.make_namespace(name)
    record.save()

    def build() -> None:
        for port, name in zip(ports, names, strict=True):
            links.add_veth(port, "eth0", name)
        links.add_bridge(_SEGMENT, ["iptv", *ports])

    listing = json.loads(lab.isp.run(["ip", "-j", "-4", "address", "show", "dev", "iptv"]).stdout)
    addresses = [IPv4Interface(f"{one['local']}/{one['prefixlen']}") for one in listing[0]["addr_info"]]
    lab.isp.call(build)
    lab.isp.run(["ip", "address", "flush", "dev", "iptv"])
    lab.isp.call(lambda: links.configure(_SEGMENT, addresses))
    spaces = [Namespace(lab, name) for name in names]
    for number, space in enumerate(spaces):
        own, near = _FIRST_STRANGER + number, IPv4Address("10.128.0.66") + number
        mine = [IPv4Interface(f"{near}/9"), IPv4Interface(f"{own}/32")]
        space.call(lambda mine=mine: links.configure("eth0", mine))  # type: ignore[misc]
        lab.router.run(["ip", "route", "add", f"{own}/32", "via", str(near)])
        _settle(space)
    for space in (lab.isp, lab.router):
        _settle(space)
    return spaces


def _settle(space: Namespace) -> None:
    space.call(lambda: links.set_sysctl("net/ipv4/conf/all/rp_filter", 0))
    space.call(lambda: links.set_sysctl("net/ipv4/conf/all/send_redirects", 0))
    space.call(lambda: links.wait_until_up(5 * registry.patience()))


def _mac(link: str) -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        answer: bytes = fcntl.ioctl(sock, _SIOCGIFHWADDR, struct.pack("256s", link.encode()))
    return answer[18:24].hex(":")


def inside(host: Namespace, function: Callable[[], T]) -> T:
    """Run a function in a host's namespace."""
    return host.call(function)


def load_ruleset(lab: Lab) -> None:
    """Load our table as ``generate`` prints it."""
    text: str = lab.router.nftrtsp("generate").stdout
    done: Any = lab.router.run(["nft", "-f", "-"], input=text, check=False)
    assert done.returncode == 0, done.stderr
