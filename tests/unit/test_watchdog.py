"""The watchdog with a socket pair in the place of netlink: what it says, when."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftrtsp.helper.userspace import watchdog
from nftrtsp.helper.userspace.nfqueue import encode_verdict
from nftrtsp.helper.userspace.watchdog import Watchdog
from tests.unit.test_nfqueue import packet

WORDS = b"the helper is disabled"


@pytest.fixture
def ends() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Our end, and the kernel's."""
    ours, kernels = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    kernels.settimeout(10)
    with ours, kernels:
        yield ours, kernels


@pytest.fixture(autouse=True)
def own_lock(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(watchdog, "LOCK_FILE", str(tmp_path / "run/lock"))


def test_when_its_process_ends_it_says_its_last_words(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, kernels = ends
    Watchdog(ours.fileno(), 554, WORDS).close()
    assert kernels.recv(100) == WORDS


def test_it_outlives_the_signals_that_end_a_service(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, kernels = ends
    one = Watchdog(ours.fileno(), 554, WORDS)
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGABRT)
    ignored = f"{sum(1 << number - 1 for number in numbers):x}"
    until = time.monotonic() + 10
    while time.monotonic() < until:
        status = Path(f"/proc/{one.pid}/status").read_text()
        if int(status.partition("SigIgn:")[2].split()[0], 16) & int(ignored, 16) == int(ignored, 16):
            break
        time.sleep(0.01)
    os.kill(one.pid, signal.SIGTERM)
    one.close()
    assert kernels.recv(100) == WORDS


def test_the_helper_stays_enabled_while_another_router_of_the_machine_uses_it(
    ends: tuple[socket.socket, socket.socket],
) -> None:
    ours, kernels = ends
    first, second = Watchdog(ours.fileno(), 554, b"first"), Watchdog(ours.fileno(), 554, b"second")
    first.close()
    second.close()
    assert kernels.recv(100) == b"second"


def test_a_watchdog_that_died_is_replaced(ends: tuple[socket.socket, socket.socket]) -> None:
    ours, kernels = ends
    one = Watchdog(ours.fileno(), 554, WORDS)
    before = one.pid
    os.kill(before, signal.SIGKILL)
    until = time.monotonic() + 10
    while one.pid == before and time.monotonic() < until:
        one.beat()
        time.sleep(0.01)
    assert one.pid != before
    one.close()
    assert kernels.recv(100) == WORDS


def test_it_reads_the_queue_of_a_stopped_process_until_that_is_heard_again(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "PATIENCE", 0.05)
    ours, kernels = ends
    read, write = os.pipe()
    with subprocess.Popen(["sleep", "60"]) as process:
        watching = threading.Thread(target=watchdog.watch, args=(process.pid, read, ours.fileno(), 554))
        watching.start()
        os.write(write, b".")
        process.send_signal(signal.SIGSTOP)
        assert kernels.recv(100) == watchdog.accept_all(554)
        kernels.send(packet())
        assert kernels.recv(100) == encode_verdict(554, 9)
        process.send_signal(signal.SIGCONT)
        os.write(write, b".")
        kernels.settimeout(0.2)
        time.sleep(0.05)
        kernels.send(packet())
        with pytest.raises(TimeoutError):
            kernels.recv(100)
        os.close(write)
        watching.join(10)
        process.kill()
    os.close(read)
    assert not watching.is_alive()


def test_a_process_that_is_only_slow_keeps_its_queue(
    ends: tuple[socket.socket, socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watchdog, "PATIENCE", 0.01)
    ours, kernels = ends
    read, write = os.pipe()
    watching = threading.Thread(target=watchdog.watch, args=(os.getpid(), read, ours.fileno(), 554))
    watching.start()
    kernels.settimeout(0.3)
    with pytest.raises(TimeoutError):
        kernels.recv(100)
    os.close(write)
    watching.join(10)
    os.close(read)
