"""A router under test with bare sockets around it: every byte and segment is the test's own.

For what the lab's players do not do: SETUPs cut at any byte, clashes, helpers killed and stopped, floods.
"""

from __future__ import annotations

import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from nftrtsp.helper import note
from nftrtsp.helper.publish import ask
from nftrtsp.lab.network import Lab

SERVER = "172.26.83.10"
MEDIA = ("172.26.83.137", "172.26.83.138", "172.26.83.139")
ROUTER = "10.214.0.2"
#: Emulation is slow: how long anything may take before it counts as not having come.
PATIENCE = 20.0

Answer = Callable[[dict[str, str], bytes], bytes]


def setup(
    port: str, cseq: int = 1, *, more: str = "", session: str = "", uri: str = "rtsp://s/film"
) -> bytes:
    """Return a SETUP as Movistar's boxes write it; ``port`` as in ``27336`` or ``5000-5001``."""
    text = f"SETUP {uri} RTSP/1.0\r\nCSeq: {cseq}\r\nUser-Agent: MICA-IP-STB\r\n"
    text += f"Session: {session}\r\n" if session else ""
    text += f"Transport: MP2T/H2221/UDP;unicast;client_port={port}{more}\r\nx-mayNotify: \r\n\r\n"
    return text.encode()


def request(method: str, cseq: int, session: str, uri: str = "rtsp://s/film") -> bytes:
    """Return another request of a session."""
    return f"{method} {uri} RTSP/1.0\r\nCSeq: {cseq}\r\nSession: {session}\r\n\r\n".encode()


def fields(head: bytes) -> dict[str, str]:
    """Return the fields of a message by lower-case name, and its first line as ``""``."""
    first, *lines = head.decode("latin-1").split("\r\n")
    found = {"": first}
    for line in lines:
        name, colon, value = line.partition(":")
        if colon:
            found[name.strip().lower()] = value.strip()
    return found


class Server:
    """An RTSP server that says what the test wants. ``heads`` are the requests as they arrived."""

    def __init__(self, lab: Lab, address: str = SERVER, port: int = 554) -> None:
        self.heads: list[bytes] = []
        self.connections: list[socket.socket] = []
        self.answer: Answer = self.agree
        self.sessions = 0
        self._listener = lab.isp.call(lambda: socket.create_server((address, port), backlog=2048))
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        """Stop listening, hang up."""
        self._listener.close()
        self.hang_up()

    def hang_up(self) -> None:
        """End all connections."""
        for one in self.connections:
            with suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)  # a thread still reads: close() alone would wait for it
            one.close()
        self.connections.clear()

    def agree(self, head: dict[str, str], raw: bytes) -> bytes:
        """Answer 200 to everything, with the Transport that was asked for."""
        text = f"RTSP/1.0 200 OK\r\nCSeq: {head.get('cseq', '')}\r\n"
        if head[""].startswith("SETUP"):
            self.sessions += 1
            text += f"Session: {head.get('session') or f's{self.sessions:06}'};timeout=60\r\n"
            text += f"Transport: {head.get('transport', '')};server_port=6000\r\n"
        elif "session" in head:
            text += f"Session: {head['session']}\r\n"
        return (text + "\r\n").encode()

    def ports(self) -> list[str]:
        """Return what the SETUPs that arrived say of client_port."""
        return [
            match[1].decode() for head in self.heads if (match := re.search(rb"client_port=([\d-]+)", head))
        ]

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._listener.accept()
                self.connections.append(connection)
                threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        buffer = b""
        with suppress(OSError):
            while data := connection.recv(65536):
                buffer += data
                while b"\r\n\r\n" in buffer:
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    self.heads.append(head)
                    connection.sendall(self.answer(fields(head), head))


class Client:
    """A set-top box's control connection."""

    def __init__(self, lab: Lab, stb: int = 0, server: str = SERVER, port: int = 554) -> None:
        self.socket = lab.stbs[stb].call(lambda: socket.create_connection((server, port), PATIENCE))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = b""

    def close(self) -> None:
        """Hang up."""
        self.socket.close()

    def send(self, data: bytes) -> None:
        """Send bytes, one segment where they fit in one."""
        self.socket.sendall(data)

    def answer(self, wait: float = PATIENCE) -> dict[str, str]:
        """Wait for the next answer and return its fields."""
        self.socket.settimeout(wait)
        while b"\r\n\r\n" not in self.buffer:
            data = self.socket.recv(65536)
            if not data:
                raise ConnectionError("the server has hung up")
            self.buffer += data
        head, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        return fields(head)

    def ask(self, data: bytes) -> dict[str, str]:
        """Send a request and return the fields of its answer."""
        self.send(data)
        return self.answer()


class Rig:
    """The lab, its ruleset, its helper."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.helper: subprocess.Popen[Any] | None = None

    def configure(self, rtsp: str = "", *, stbs: bool = True, iptv: str = "") -> None:
        """Write the router's config with more lines for ``[rtsp]`` and ``[iptv]``."""
        boxes = "".join(f'\n[[stb]]\naddress = "{stb.address}"\n' for stb in self.lab.stbs) if stbs else ""
        self.lab.write_config(
            'profile = "movistar"\n[iptv]\ninterface = "vlan2"\n' + iptv + "\n"
            '[lan]\ninterfaces = ["br0"]\nnetworks = ["192.168.1.0/24"]\n'
            '[rtsp]\nhelper = "userspace"\n' + rtsp + boxes
        )

    def start(self) -> None:
        """Start the helper and wait until it serves."""
        self.helper = self.lab.router.popen_nftrtsp("helper")
        self.wait_for(lambda: self.hello() is not None, "the helper to serve")

    def load(self) -> None:
        """Load the ruleset; the helper must have registered."""
        text = self.lab.router.nftrtsp("generate").stdout
        self.lab.router.run(["nft", "-f", "-"], input=text)

    def kill(self, signal: int = 9) -> None:
        """End the helper and wait for it."""
        assert self.helper is not None
        self.helper.send_signal(signal)
        self.helper.wait(PATIENCE)
        self.helper = None

    def hello(self) -> dict[str, Any] | None:
        """Return the greeting of the running helper."""
        said = ask(self.lab.run_dir / "helper.sock")
        if said is None or self.helper is None or said.pid != self.helper.pid:
            return None
        return note.record(said)

    def ways(self) -> list[dict[str, Any]]:
        """Return the ways that the helper says are open."""
        said = self.hello()
        assert said is not None
        ways: list[dict[str, Any]] = said["ways"]
        return ways

    def expectations(self) -> list[str]:
        """Return the expectations in the kernel, as conntrack(8) shows them."""
        out = self.lab.router.run(["conntrack", "-L", "expect"], check=False).stdout
        return [line for line in out.splitlines() if "proto=17" in line]

    def media_flows(self) -> list[str]:
        """Return the UDP flows in the kernel, as conntrack(8) shows them."""
        return self.lab.router.run(["conntrack", "-L", "-p", "udp"], check=False).stdout.splitlines()

    def listen(self, stb: int, port: int) -> socket.socket:
        """Open a UDP port of a set-top box."""
        opened = self.lab.stbs[stb].call(lambda: _udp(self.lab.stbs[stb].address, port))
        opened.settimeout(PATIENCE)
        return opened

    def film(self, port: int, text: bytes = b"film", media: int = 0, sport: int = 0) -> socket.socket:
        """Send one packet of a film to the router's port; return the socket it came from."""
        opened = self.lab.isp.call(lambda: _udp(MEDIA[media], sport))
        opened.sendto(text, (ROUTER, port))
        return opened

    def wait_for(self, what: Callable[[], object], name: str, patience: float = PATIENCE) -> None:
        """Wait until ``what`` is true."""
        until = time.monotonic() + patience
        while not what():
            assert time.monotonic() < until, f"waited {patience} s for {name}"
            assert self.helper is None or self.helper.poll() is None, "the helper has ended"
            time.sleep(0.05)


def _udp(address: str, port: int) -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    opened.bind((address, port))
    return opened


@contextmanager
def rig(stbs: int = 3, rtsp: str = "", iptv: str = "") -> Iterator[Rig]:
    """Build a lab whose router runs the userspace helper under its ruleset."""
    with Lab.build(stbs=stbs) as lab:
        one = Rig(lab)
        one.configure(rtsp, iptv=iptv)
        one.start()
        one.load()
        try:
            yield one
        finally:
            if one.helper is not None:
                one.kill(15)
