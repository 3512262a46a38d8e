"""Real packets of each kind, sent from one process within a namespace (conntrack_space.py).

usage: python -m tests.integration.conntrack_traffic
"""

from __future__ import annotations

import ftplib
import io
import socket
import struct
import threading
import time

BOX, ROUTER, MEDIA, SERVER = "192.168.1.200", "10.214.0.2", "172.26.83.137", "172.26.83.10"


def udp(source: tuple[str, int], goal: tuple[str, int], answer: bool = False) -> None:
    """Send a datagram; with ``answer`` one comes back and another goes out."""
    family = socket.AF_INET6 if ":" in goal[0] else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as one, socket.socket(family, socket.SOCK_DGRAM) as other:
        one.bind(source)
        other.bind(goal if goal[0] != ROUTER else (BOX, goal[1]))
        other.settimeout(2)
        one.sendto(b"question", goal)
        _, who = other.recvfrom(100)
        if answer:
            other.sendto(b"answer", who)
            time.sleep(0.01)
            one.sendto(b"thanks", goal)
            other.recvfrom(100)


def tcp(source: str, goal: tuple[str, int]) -> None:
    """Open a connection, say something, close it."""
    with socket.create_server(goal) as server, socket.socket() as client:
        client.bind((source, 0))
        client.connect(goal)
        accepted, _ = server.accept()
        client.sendall(b"hello")
        accepted.recv(100)
        client.close()
        time.sleep(0.02)
        accepted.close()
        time.sleep(0.02)


def raw(protocol: int, payload: bytes, goal: str = "127.0.0.1") -> None:
    """Send an IP packet of ``protocol``."""
    family = socket.AF_INET6 if ":" in goal else socket.AF_INET
    with socket.socket(family, socket.SOCK_RAW, protocol) as opened:
        opened.sendto(payload, (goal, 0))
    time.sleep(0.02)


class FtpServer(threading.Thread):
    """As much of an FTP server as ftplib asks for: RETR over PORT and PASV. Source: RFC 959."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.listener = socket.create_server((SERVER, 21))

    def run(self) -> None:
        control, _ = self.listener.accept()
        lines = control.makefile("rb")
        passive: socket.socket | None = None
        port: tuple[str, int] | None = None

        def say(text: str) -> None:
            control.sendall(text.encode() + b"\r\n")

        say("220 ready")
        while line := lines.readline():
            word, _, rest = line.decode().strip().partition(" ")
            if word == "PORT":
                numbers = rest.split(",")
                port = (".".join(numbers[:4]), int(numbers[4]) * 256 + int(numbers[5]))
                say("200 ok")
            elif word == "PASV":
                passive = socket.create_server((SERVER, 0))
                number = passive.getsockname()[1]
                say(f"227 ok ({SERVER.replace('.', ',')},{number // 256},{number % 256})")
            elif word == "RETR":
                say("150 here it comes")
                if passive is not None:
                    data, _ = passive.accept()
                    passive.close()
                    passive = None
                else:
                    assert port is not None
                    data = socket.socket()
                    data.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    data.bind((SERVER, 20))
                    data.connect(port)
                data.sendall(b"film" * 100)
                data.close()
                say("226 done")
            elif word == "QUIT":
                say("221 bye")
                break
            else:
                say("331 more" if word == "USER" else "230 ok" if word == "PASS" else "200 ok")
        lines.close()
        control.close()
        self.listener.close()


def ftp() -> None:
    """A real FTP session: one file with an active, one with a passive data connection."""
    server = FtpServer()
    server.start()
    with ftplib.FTP() as client:
        client.connect(SERVER, 21, timeout=5, source_address=(BOX, 0))
        client.login("box", "secret")
        for passive in (False, True):
            client.set_pasv(passive)
            got = io.BytesIO()
            client.retrbinary("RETR film", got.write)
            assert got.getvalue() == b"film" * 100
        client.quit()
    server.join(5)
    time.sleep(0.05)


def main() -> None:
    """Send everything, in order."""
    udp(("127.0.0.1", 4001), ("127.0.0.1", 5001))
    udp(("127.0.0.1", 4101), ("127.0.0.1", 5101), answer=True)
    udp(("127.0.0.1", 4002), ("127.0.0.1", 5002))
    udp(("127.0.0.1", 4005), ("127.0.0.1", 5005))
    udp(("127.0.0.1", 4006), ("127.0.0.1", 5006))
    udp(("127.0.0.1", 4007), ("127.0.0.1", 5007))
    udp(("::1", 4001), ("::1", 5001), answer=True)
    udp((MEDIA, 4001), (ROUTER, 27336))
    udp((BOX, 4601), (MEDIA, 6001), answer=True)
    udp((BOX, 4602), (MEDIA, 6002), answer=True)
    tcp(BOX, (SERVER, 8554))
    raw(1, bytes.fromhex("0800f7ff00000000"))
    raw(58, bytes.fromhex("8000000000010001"), "::1")
    raw(2, b"\x16" + bytes(7))
    raw(47, bytes.fromhex("2081880b0004000100000000") + bytes(8))
    init = struct.pack(">HHII", 1000, 2000, 0, 0) + bytes.fromhex("0100001400000001") + bytes(12)
    raw(132, init)
    ftp()


if __name__ == "__main__":
    main()
