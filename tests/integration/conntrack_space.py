"""A network namespace with addresses, NAT and a real ftp helper: conntrack has something to track."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from nftrtsp import netns

T = TypeVar("T")
ROOT = Path(__file__).parents[2]
PYTHON = sys.executable

#: Addresses of the loopback link: an inside host, the router, a media server, an RTSP or FTP server.
ADDRESSES = ("192.168.1.200/24", "10.214.0.2/9", "172.26.83.137/32", "172.26.83.10/32")

RULES = """
table inet space {
  ct helper ftp-here {
    type "ftp" protocol tcp
    l3proto ip
  }
  chain raw {
    type filter hook output priority -300
    udp dport 5005 ct zone set 7
    udp dport 5006 ct original zone set 9
  }
  chain translate {
    type nat hook output priority -100
    ip daddr 10.214.0.2 udp dport 27336 dnat ip to 192.168.1.200
  }
  chain source {
    type nat hook postrouting priority 100
    udp dport 6001 snat ip to 172.26.83.10
    udp dport 6002 masquerade
  }
  chain label-flows {
    type filter hook output priority 0
    udp dport 5002 ct mark set 0x100000
    udp dport 5007 ct label set 3
    udp dport 27336 ct mark set 0x100000
    tcp dport 21 ct helper set "ftp-here"
    ct state new counter
  }
}
"""

_count = 0


class Space:
    """The namespace ``name``."""

    def __init__(self, name: str) -> None:
        self.name = name

    def command(self, command: Sequence[str]) -> list[str]:
        return [*netns.words(self.name), *command]

    def run(self, *command: str, check: bool = True, **options: Any) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(command), check=check, text=True, capture_output=True, cwd=ROOT, **options
        )

    def popen(self, *command: str, **options: Any) -> subprocess.Popen[str]:
        return subprocess.Popen(self.command(command), text=True, cwd=ROOT, **options)

    def await_listeners(self, count: int) -> None:
        """Wait until ``count`` sockets have subscribed to events of netfilter here."""
        ends = time.monotonic() + 30
        while time.monotonic() < ends:
            rows = [line.split() for line in self.run("cat", "/proc/net/netlink").stdout.splitlines()[1:]]
            if sum(row[1] == "12" and int(row[3], 16) != 0 for row in rows) >= count:
                return
            time.sleep(0.05)
        raise AssertionError(f"there are fewer than {count} listeners")

    def within(self, function: Callable[[], T]) -> T:
        """Call ``function`` in a thread that is in the namespace; return what it returns."""

        results: list[T] = []
        errors: list[BaseException] = []

        def body() -> None:
            try:
                netns.enter(self.name)
                results.append(function())
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=body)
        thread.start()
        thread.join()
        if errors:
            raise errors[0]
        return results[0]


@contextmanager
def space(rules: str = RULES) -> Iterator[Space]:
    """Make the namespace, and remove it with all that runs in it."""
    global _count  # noqa: PLW0603 - makes names unique within the run
    _count += 1
    made = Space(f"ct-{os.getpid()}-{_count}")
    subprocess.run(["ip", "netns", "add", made.name], check=True)
    try:
        made.run("ip", "link", "set", "lo", "up")
        for address in ADDRESSES:
            made.run("ip", "addr", "add", address, "dev", "lo")
        for setting in ("acct", "timestamp"):
            made.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_{setting}=1")
        made.run("nft", "-f", "-", input=rules)
        yield made
    finally:
        pids = subprocess.run(
            ["ip", "netns", "pids", made.name], check=False, capture_output=True, text=True
        ).stdout.split()
        for pid in pids:
            if int(pid) != os.getpid():
                subprocess.run(["kill", "-9", pid], check=False, capture_output=True)
        subprocess.run(["ip", "netns", "del", made.name], check=True)
