"""The lab's network: a provider, a router and set-top boxes, each in a network namespace.

::

    STBs 192.168.1.200… ── br0 192.168.1.1 [router] vlan2 10.214.0.2/9 ── 10.128.0.1 [isp]
                                                                          172.26.83.10    RTSP server
                                                                          172.26.83.137…  media servers
                                                                          172.26.23.3     DNS

No namespace has a link or a route to anything else. The names are unique per run, so that several labs can
stand on one machine, and all of it goes when the lab is closed, or soon after its builder died
(:mod:`nftrtsp.lab.guardian`)::

    with Lab.build(stbs=3) as lab:
        lab.router.run(["nftrtsp", "apply", "--yes"])
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path
from typing import Any

from nftrtsp.errors import KernelError, LabError
from nftrtsp.lab import links, registry
from nftrtsp.lab.namespace import Home, Host, Namespace, package_path
from nftrtsp.lab.player import Player, ProviderControl
from nftrtsp.lab.registry import Record

LAN = IPv4Network("192.168.1.0/24")
LAN_ROUTER = IPv4Interface("192.168.1.1/24")
FIRST_STB = IPv4Address("192.168.1.200")
IPTV_ROUTER = IPv4Interface("10.214.0.2/9")
IPTV_GATEWAY = IPv4Interface("10.128.0.1/9")
VOD_NETWORK = IPv4Network("172.26.80.0/21")
DNS_NETWORK = IPv4Network("172.26.23.0/27")
DNS = IPv4Address("172.26.23.3")
RTSP_SERVER = IPv4Address("172.26.83.10")
OTHER_RTSP_SERVER = IPv4Address("172.26.83.11")  # where a redirect leads
FIRST_MEDIA_SERVER = IPv4Address("172.26.83.137")
UNROUTED_MEDIA_SERVER = IPv4Address("172.26.120.5")  # the router has no route to it: rp_filter shows
RTSP_PORT = 554

LAN_LINK = "br0"
IPTV_LINK = "vlan2"
_LARGEST = 50  # set-top boxes: 192.168.1.200 to .249

_NAMES = ("Living room", "Bedroom", "Kitchen", "Study", "Attic", "Guest room")


class Router(Namespace):
    """The router under test: ``br0`` to the set-top boxes, ``vlan2`` to the provider; no rules in it."""

    def set_sysctl(self, key: str, value: int | str) -> bool:
        """Set a sysctl such as ``net/ipv4/ip_forward``; False where this kernel has no such key."""
        return self.call(lambda: links.set_sysctl(key, value))

    def load_rules(self, rules: str) -> None:
        """Load nft text here, as tables of others that ours must live with; raises :class:`KernelError`."""
        loaded = self.run(["nft", "-f", "-"], input=rules, check=False)
        if loaded.returncode:
            raise KernelError(
                f"nft refused the lab's rules: {loaded.stderr.strip().partition(chr(10))[0]}",
                place="lab",
                remedy="it needs nft and a kernel with nf_tables",
            )

    def popen_nftrtsp(self, *words: str, **options: Any) -> subprocess.Popen[Any]:
        """Start ``nftrtsp WORDS`` here, as :meth:`popen` does."""
        return self.popen(["nftrtsp", *words], **options)

    def nftrtsp(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run ``nftrtsp WORDS`` here, to its end, with its output captured."""
        return self.run(["nftrtsp", *words], check=check)


class LabStb(Host):
    """A set-top box."""

    def player(self) -> Player:
        """Start a set-top box program here."""
        return Player(self)

    def switch_off(self) -> None:
        """Pull the plug: nothing comes or goes any more, and nobody is told."""
        self.call(lambda: links.set_state("eth0", up=False))

    def switch_on(self) -> None:
        """Plug it in again."""
        self.call(lambda: links.set_state("eth0", up=True))
        self.call(lambda: links.add_route(None, LAN_ROUTER.ip))
        self.call(lambda: links.wait_until_up(5 * registry.patience()))


class Lab(Home):
    """A lab that stands. Use :meth:`build` or :meth:`open`, and :meth:`close` or ``with`` at the end."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.router = Router(self, record.router)
        self.isp = Namespace(self, record.isp)
        self.stbs = [
            LabStb(self, name, address, stb_title(index)) for index, (name, address) in enumerate(record.stbs)
        ]
        self._lock: int | None = None
        self._guardian: subprocess.Popen[bytes] | None = None

    @classmethod
    def build(
        cls, stbs: int = 3, media_servers: int = 3, *, helper: str = "auto", persistent: bool = False
    ) -> Lab:
        """Build a lab, after sweeping up what dead ones left.

        ``helper`` goes to the config's ``rtsp.helper``. A ``persistent`` lab outlives this process, until
        :meth:`close`. Raises :class:`LabError`, :class:`PrivilegeError` and :class:`KernelError`; nothing is
        left then.
        """
        if not 1 <= stbs <= _LARGEST or not 1 <= media_servers <= _LARGEST:
            raise LabError(
                f"{stbs} set-top boxes and {media_servers} media servers are out of range",
                place="lab",
                remedy=f"1 to {_LARGEST} of each",
            )
        registry.sweep()
        lab = cls(_new_record(stbs, media_servers, persistent))
        try:
            lab._guard()
            lab._construct()
            lab.write_config(helper=helper)
        except BaseException:
            lab.close()
            raise
        return lab

    @classmethod
    def open(cls, lab_id: str) -> Lab:
        """Return the standing lab ``lab_id``, built by another process; :meth:`close` would remove it."""
        return cls(registry.load(lab_id))

    def __enter__(self) -> Lab:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End everything that runs in the lab and remove it. Safe to repeat."""
        for process in self._processes:
            if process.poll() is None:
                process.terminate()
        registry.remove(self.record)
        for process in self._processes:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5 * registry.patience())
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()
        self._processes.clear()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._guardian is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._guardian.wait(10 * registry.patience())
            self._guardian = None

    def provider(self, *, detached: bool = False) -> ProviderControl:
        """Start the RTSP and media servers, and return when they listen."""
        return ProviderControl.start(self, self.isp, detached=detached)

    def standing_provider(self) -> ProviderControl:
        """Return the control of the provider that another process started."""
        return ProviderControl(self)

    def write_config(self, text: str | None = None, *, helper: str = "auto") -> None:
        """Write the router's config: ``text``, or the one that fits this lab."""
        if text is None:
            boxes = "".join(
                f'\n[[stb]]\nname = "{stb.title}"\naddress = "{stb.address}"\n' for stb in self.stbs
            )
            text = (
                'profile = "movistar"\n\n'
                f'[iptv]\ninterface = "{IPTV_LINK}"\n\n'
                f'[lan]\ninterfaces = ["{LAN_LINK}"]\nnetworks = ["{LAN}"]\n\n'
                f'[rtsp]\nhelper = "{helper}"\n{boxes}'
            )
        self.config_path.write_text(text)

    def _guard(self) -> None:
        """Hold the lab's lock, and start the guardian that waits for it."""
        if self.record.persistent:
            return
        self._lock = registry.hold(self.folder)
        self._guardian = subprocess.Popen(
            [sys.executable, "-m", "nftrtsp.lab.guardian", self.id],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            cwd="/",
            env={**os.environ, "PYTHONPATH": package_path()},
        )

    def _construct(self) -> None:
        for folder in (self.state_dir, self.run_dir, self.folder / "bin"):
            folder.mkdir()
        _write_command(self.folder / "bin/nftrtsp")
        self.record.save()
        for name in self.record.namespaces:
            self.record.namespaces[name] = links.make_namespace(name)
        self.router.call(self._make_links)
        self.isp.call(self._set_up_isp)
        for stb in self.stbs:
            stb.call(lambda stb=stb: _set_up_stb(stb.address))  # type: ignore[misc]
        for space in (self.router, self.isp, *self.stbs):
            space.call(lambda: links.wait_until_up(5 * registry.patience()))
        self.record.save()

    def _make_links(self) -> None:
        """In the router: every link of the lab, its addresses, routes and sysctls."""
        links.add_veth(IPTV_LINK, "iptv", self.isp.name)
        ports = [f"lan{number}" for number in range(1, len(self.stbs) + 1)]
        for port, stb in zip(ports, self.stbs, strict=True):
            links.add_veth(port, "eth0", stb.name)
        links.add_bridge(LAN_LINK, ports)
        links.configure(LAN_LINK, [LAN_ROUTER])
        links.configure(IPTV_LINK, [IPTV_ROUTER])
        for network in (VOD_NETWORK, DNS_NETWORK):
            links.add_route(network, IPTV_GATEWAY.ip)
        links.set_sysctl("net/ipv4/ip_forward", 1)
        # Media comes from servers that no route leads to (FACTS 5).
        for name in ("all", "default", IPTV_LINK):
            links.set_sysctl(f"net/ipv4/conf/{name}/rp_filter", 0)
        # Counters and start times in conntrack; absent where conntrack is not loaded.
        links.set_sysctl("net/netfilter/nf_conntrack_acct", 1)
        links.set_sysctl("net/netfilter/nf_conntrack_timestamp", 1)

    def _set_up_isp(self) -> None:
        servers = [*self.record.rtsp_servers, *self.media_servers, str(UNROUTED_MEDIA_SERVER), str(DNS)]
        links.configure("iptv", [IPTV_GATEWAY, *(IPv4Interface(f"{server}/32") for server in servers)])
        links.set_sysctl("net/ipv4/conf/all/rp_filter", 0)


def stb_title(index: int) -> str:
    """Return the name of the set-top box ``index``, counted from 0, as a family would call it."""
    return _NAMES[index] if index < len(_NAMES) else f"Room {index + 1}"


def _set_up_stb(address: str) -> None:
    links.configure("eth0", [IPv4Interface(f"{address}/{LAN.prefixlen}")])
    links.add_route(None, LAN_ROUTER.ip)
    links.disable_offload("eth0")


def _new_record(stbs: int, media_servers: int, persistent: bool) -> Record:
    lab_id = secrets.token_hex(3)
    folder = registry.create_folder(lab_id)
    prefix = f"nftrtsp-{lab_id}"
    boxes = [(f"{prefix}-stb{index + 1}", str(FIRST_STB + index)) for index in range(stbs)]
    router, isp = f"{prefix}-router", f"{prefix}-isp"
    ports = [f"lan{number}" for number in range(1, stbs + 1)]
    return Record(
        id=lab_id,
        folder=str(folder),
        persistent=persistent,
        namespaces=dict.fromkeys([router, isp, *(name for name, _ in boxes)]),
        links={
            router: ["lo", LAN_LINK, IPTV_LINK, *ports],
            isp: ["lo", "iptv"],
            **{name: ["lo", "eth0"] for name, _ in boxes},
        },
        router=router,
        isp=isp,
        stbs=boxes,
        rtsp_servers=[str(RTSP_SERVER), str(OTHER_RTSP_SERVER)],
        media_servers=[str(FIRST_MEDIA_SERVER + index) for index in range(media_servers)],
    )


def _write_command(path: Path) -> None:
    """Write an ``nftrtsp`` that is this Python's, wherever it is installed or not."""
    path.write_text(
        f'#!/bin/sh\nPYTHONPATH="{package_path()}" exec "{sys.executable}" '
        "-c 'from nftrtsp.cli import main; main()' \"$@\"\n"
    )
    path.chmod(0o755)
