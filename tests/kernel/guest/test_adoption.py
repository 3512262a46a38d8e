"""Apply under a conntrack helper in use: connections that were open get it, films that play go on."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from nftrtsp.lab.network import RTSP_SERVER

from .conftest import Router, router

# What served the boxes before us: a plain masquerade.
BEFORE = """
table ip before {
	chain postrouting {
		type nat hook postrouting priority srcnat;
		oifname "vlan2" masquerade
	}
}
"""
CLIENT = """
import socket, sys
link = socket.create_connection((sys.argv[1], 554))
for number in (1, 2, 3):
    link.sendall(b"OPTIONS * RTSP/1.0\\r\\nCSeq: %d\\r\\n\\r\\n" % number)
    print(link.recv(4096).decode().splitlines()[0], flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def bare() -> Iterator[Router]:
    with router("userspace", apply=False) as made:
        made.script(BEFORE)
        yield made


def test_a_connection_that_was_open_gets_the_helper_and_goes_on(bare: Router) -> None:
    client = bare.lab.stbs[0].popen(
        ["python3", "-c", CLIENT, str(RTSP_SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == "RTSP/1.0 200 OK\n"
    said = bare.lab.router.nftrtsp("apply", "--yes").stdout
    assert "1 open RTSP connection will be picked up again, with the helper" in said
    print("next", file=client.stdin, flush=True)
    assert client.stdout.readline() == "RTSP/1.0 200 OK\n"
    listed = bare.lab.router.run(["conntrack", "-L", "-p", "tcp", "--dport", "554"]).stdout
    assert "helper=rtsp" in listed
    client.kill()
    client.wait()


def test_a_film_goes_on_while_everything_around_it_is_applied_anew(userspace: Router) -> None:
    """The pause timeout is another, so every chain is emptied and filled, with the helper object in use."""
    film = userspace.watch(0, 27600)
    film.wait(50)
    config = userspace.lab.config_path.read_text()
    try:
        userspace.lab.write_config(config.replace("[rtsp]\n", '[rtsp]\npause = "10m"\n'))
        assert "pause" in userspace.lab.router.nftrtsp("diff", check=False).stdout
        userspace.lab.router.nftrtsp("apply", "--yes")
        assert userspace.lab.router.nftrtsp("diff", check=False).returncode == 0
        film.wait(100)
        (way,) = userspace.ways(27600)
        assert way["any_source"] is True
    finally:
        userspace.lab.write_config(config)
        userspace.lab.router.nftrtsp("apply", "--yes")
    film.teardown()
