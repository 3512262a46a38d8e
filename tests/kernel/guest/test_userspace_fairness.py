"""One box floods the userspace helper's queue; what others ask for goes on, read, as if it were not there.

Emulation decides how long anything takes: the bar is what the same router needs without the flood.
"""

from __future__ import annotations

import contextlib
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from .rig import Client, Rig, Server, rig, setup

FLOODED = 26000
FILMS = 15
SLACK = 0.5  # seconds beyond four times as long: two programs share one emulated processor


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[Rig, Server]]:
    with rig(stbs=3) as one:
        server = Server(one.lab)
        yield one, server
        server.close()


@contextlib.contextmanager
def flooding(router: Rig, flood: Callable[[socket.socket, threading.Event], None]) -> Iterator[None]:
    """Let the first box flood on a connection of its own; answers are read and thrown away."""
    box, stop = Client(router.lab, 0), threading.Event()
    box.ask(setup(str(FLOODED)))
    box.socket.settimeout(None)

    def sink() -> None:
        with contextlib.suppress(OSError):
            while box.socket.recv(1 << 18):
                pass

    def run() -> None:
        with contextlib.suppress(OSError):
            flood(box.socket, stop)

    threads = [threading.Thread(target=one, daemon=True) for one in (sink, run)]
    for one in threads:
        one.start()
    try:
        yield
    finally:
        stop.set()
        box.socket.shutdown(socket.SHUT_RDWR)
        box.close()


def pipelined(connection: socket.socket, stop: threading.Event) -> None:
    for number in range(3000):
        if stop.is_set():
            return
        connection.sendall(setup(str(FLOODED), 10 + number))


def sustained(connection: socket.socket, stop: threading.Event) -> None:
    began, sent = time.monotonic(), 0
    while not stop.wait(max(0.0, began + sent / 500 - time.monotonic())):
        connection.sendall(setup(str(FLOODED), 10 + sent))
        sent += 1


def delays(router: Rig) -> list[float]:
    """Return the seconds from SETUP to its answer, with the way open by then, of film after film."""
    boxes, found = [Client(router.lab, 1), Client(router.lab, 2)], []
    for number in range(FILMS):
        box, port = boxes[number % 2], 20000 + 2 * (number % 8) + 100 * (number % 2)
        began = time.monotonic()
        box.send(setup(str(port), number, uri=f"rtsp://s/{number}"))
        box.answer()
        found.append(time.monotonic() - began)
    opened = {way["tuple"]["dport"] for way in router.ways()}
    assert {20000 + 2 * (number % 8) + 100 * (number % 2) for number in range(FILMS)} <= opened
    for box in boxes:
        box.close()
    return found


@pytest.mark.parametrize("flood", [pipelined, sustained])
def test_who_floods_holds_up_nobody(
    standing: tuple[Rig, Server], flood: Callable[[socket.socket, threading.Event], None]
) -> None:
    router, server = standing
    router.wait_for(lambda: not router.ways(), "all ways to close")
    quiet = delays(router)
    router.wait_for(lambda: not router.ways(), "all ways to close")
    with flooding(router, flood):
        time.sleep(0.5)
        loud = delays(router)
    print(
        f"{flood.__name__}: SETUP to answer without flood {statistics.median(quiet) * 1000:.1f} ms "
        f"(longest {max(quiet) * 1000:.1f}), with it {statistics.median(loud) * 1000:.1f} "
        f"(longest {max(loud) * 1000:.1f}); {len(server.heads)} requests reached the server"
    )
    assert max(loud) < 4 * max(quiet) + SLACK
    server.hang_up()
