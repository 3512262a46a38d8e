"""A router on a test stand: a namespace with a LAN and an IPTV side, its own state and run directories.

The STB and the ISP are namespaces of their own, so that real packets cross the router.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from nftrtsp import netns

CONFIG = """\
profile = "movistar"

[iptv]
interface = "vlan2"
{iptv}

[lan]
interfaces = ["br0"]
networks = ["192.168.1.0/24"]

[rtsp]
helper = "{helper}"
{rtsp}

[[stb]]
name = "Living room"
address = "192.168.1.200"
{more}
"""
SECOND_BOX = '[[stb]]\naddress = "192.168.1.201"\n'
#: Path.is_mount() is true of every root; the kernel's own list says whether this one is mounted.
needs_mounts = pytest.mark.skipif(
    not any(line.split()[4] == "/" for line in Path("/proc/self/mountinfo").read_text().splitlines()),
    reason="the root is no mount point (a chroot): no mounts of our own there",
)
NFTRTSP = [sys.executable, "-c", "from nftrtsp.cli import main; main()"]


def config(*, helper: str = "pinhole", iptv: str = "", rtsp: str = "", more: str = "") -> str:
    """Return a configuration in TOML."""
    return CONFIG.format(helper=helper, iptv=iptv, rtsp=rtsp, more=more)


def _ip(name: str) -> str:
    """Return ip(8) in a namespace; its own ``-n`` mounts /sys anew, which fails in a chroot."""
    return " ".join([*netns.words(name), "ip"])


class Stand:
    """The router; ``stb`` and ``isp`` are the names of its neighbours' namespaces."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"nftrtsp-t-{uuid.uuid4().hex[:8]}"
        self.stb, self.isp = f"{self.name}-stb", f"{self.name}-isp"
        self.state, self.run_dir = folder / "state", folder / "run"
        self.config = folder / "nftrtsp.toml"
        self.config.write_text(config())
        self.environment = {
            **os.environ,
            "NFTRTSP_CONFIG": str(self.config),
            "NFTRTSP_STATE_DIR": str(self.state),
            "NFTRTSP_RUN_DIR": str(self.run_dir),
            "SUDO_USER": "tester",
        }

    def build(self) -> None:
        """Make the namespaces and their links."""
        for name in (self.name, self.stb, self.isp):
            sh(f"ip netns add {name}; {_ip(name)} link set lo up")
        for near, far, router, other, route in (
            ("br0", self.stb, "192.168.1.1/24", "192.168.1.200/24", "192.168.1.1"),
            ("vlan2", self.isp, "10.214.0.2/9", "10.128.0.1/9", "10.214.0.2"),
        ):
            sh(
                f"{_ip(far)} link add eth0 type veth peer name {near} netns {self.name};"
                f"{_ip(self.name)} address add {router} dev {near}; {_ip(self.name)} link set {near} up;"
                f"{_ip(far)} address add {other} dev eth0; {_ip(far)} link set eth0 up;"
                f"{_ip(far)} route add default via {route}"
            )
        self.run("sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=0")
        self.run("sysctl", "-qw", "net.ipv4.conf.vlan2.rp_filter=0")

    def close(self) -> None:
        """Take everything away."""
        for name in (self.name, self.stb, self.isp):
            subprocess.run(["ip", "netns", "delete", name], check=False, capture_output=True)

    def run(self, *command: str, check: bool = True, inside: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in the router's namespace, or in another."""
        return subprocess.run(
            [*netns.words(inside or self.name), *command],
            check=check,
            capture_output=True,
            text=True,
            env=self.environment,
        )

    def popen(
        self, *command: str, inside: str = "", stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[str]:
        """Start a command in the router's namespace, or in another."""
        return subprocess.Popen(
            [*netns.words(inside or self.name), *command],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
        )

    def nft(self, *words: str) -> str:
        """Run nft(8) there and return what it prints."""
        return self.run("nft", *words).stdout

    def nftrtsp(self, *words: str, code: int = 0) -> str:
        """Run our command line there; its exit code must be ``code``. Return stdout and stderr."""
        done = self.run(*NFTRTSP, *words, check=False)
        text = done.stdout + done.stderr
        assert done.returncode == code, f"{words}: {done.returncode}\n{text}"
        assert "Traceback" not in text, text
        return text

    def table(self) -> str:
        """Return our table as nft lists it, without state, its blocks sorted; empty where it is absent."""
        done = self.run("nft", "-s", "list", "table", "inet", "nftrtsp", check=False)
        blocks = done.stdout.removeprefix("table inet nftrtsp {\n").removesuffix("}\n").split("\n\n")
        return "\n\n".join(sorted(block.strip("\n") for block in blocks))

    def others(self) -> str:
        """Return everything but our table, handles and state included."""
        return re.sub(r"(?ms)^table inet nftrtsp \{.*?^\}\n", "", self.nft("-a", "list", "ruleset"))

    def packets(self, rule: str) -> int:
        """Return the packet counter of one of our rules."""
        text = self.nft("list", "table", "inet", "nftrtsp")
        match = re.search(rf'counter packets (\d+) .*"nftrtsp:{rule}"', text)
        assert match, f"no rule {rule} with a counter in:\n{text}"
        return int(match[1])

    def send(self, inside: str, to: str, port: int, count: int = 1, source: int = 4000) -> None:
        """Send UDP packets from a neighbour."""
        code = (
            "import socket,sys;s=socket.socket(2,2);s.setsockopt(1,2,1);"
            f"s.bind(('',{source}));[s.sendto(b'x',('{to}',{port})) for _ in range({count})]"
        )
        self.run(sys.executable, "-c", code, inside=inside)


@contextmanager
def stand(folder: Path) -> Iterator[Stand]:
    """Yield a router on a test stand; nothing of it stays."""
    built = Stand(folder)
    try:
        built.build()
        yield built
    finally:
        built.close()


def sh(text: str) -> None:
    """Run a line of shell; it must succeed."""
    subprocess.run(["sh", "-ec", text], check=True, capture_output=True)
