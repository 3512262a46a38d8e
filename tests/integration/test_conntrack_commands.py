"""``flows``, ``expectations`` and ``events`` as people run them."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nftrtsp.conntrack.dump_filter import DumpFilter, Match
from nftrtsp.conntrack.expectation import Expectation, ExpectationNat
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.tuple import Tuple
from tests.integration.conntrack_space import ROOT, RULES, Space, space

pytestmark = pytest.mark.root

NFTRTSP = str(ROOT / ".venv/bin/nftrtsp")
BOX, ROUTER, MEDIA, SERVER = "192.168.1.200", "10.214.0.2", "172.26.83.137", "172.26.83.10"
CONFIG = f"""
[iptv]
interface = "vlan2"
[lan]
interfaces = ["br0"]
networks = ["192.168.1.0/24"]
[[stb]]
name = "Living room"
address = "{BOX}"
"""
OUR_TABLE = """
table inet nftrtsp {
  map pinholes {
    type inet_service : ipv4_addr . inet_service
    flags timeout
    elements = { 27336 timeout 1h : 192.168.1.200 . 27336 }
  }
}
table inet space {
  ct timeout pause {
    protocol udp
    l3proto ip
    policy = { unreplied : 3600, replied : 3600 }
  }
  chain pausing {
    type filter hook output priority 5
    udp dport 27336 ct timeout set "pause"
    tcp dport 554 ct helper set "ftp-here"
  }
}
"""


@pytest.fixture
def where() -> Iterator[Space]:
    with space(RULES + OUR_TABLE) as made:
        yield made


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "nftrtsp.toml"
    path.write_text(CONFIG)
    return str(path)


def run(where: Space, config: str, *words: str, **options: Any) -> subprocess.CompletedProcess[str]:
    command, *rest = words
    return subprocess.run(
        [NFTRTSP, command, "-c", config, "--netns", where.name, *rest],
        check=False, text=True, capture_output=True, timeout=30, **options,
    )  # fmt: skip


def start(where: Space, config: str, *words: str) -> subprocess.Popen[str]:
    command, *rest = words
    return subprocess.Popen(
        [NFTRTSP, command, "-c", config, "--netns", where.name, *rest],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def film(where: Space, source: int = 4001) -> None:
    def body() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.bind((MEDIA, source))
            sender.sendto(b"x" * 1316, (ROUTER, 27336))

    where.within(body)


def control(where: Space) -> list[socket.socket]:
    def body() -> list[socket.socket]:
        server = socket.create_server((SERVER, 554))
        client = socket.socket()
        client.bind((BOX, 0))
        client.connect((SERVER, 554))
        return [client, server.accept()[0], server]

    return where.within(body)


def expect(where: Space, source: str, port: int) -> None:
    """Create the expectation that a userspace helper or the module would create."""

    def body() -> None:
        with Conntrack() as conntrack:
            (master,) = conntrack.dump_flows(DumpFilter(orig=Match(proto=6, dport=554)))
            src, dst, nothing = socket.inet_aton(source), socket.inet_aton(ROUTER), bytes(4)
            mask = b"\xff" * 4 if any(src) else nothing
            conntrack.create_expectation(
                Expectation(
                    2,
                    Tuple(src, dst, 17, 0, port),
                    Tuple(mask, b"\xff" * 4, 17, 0, 0xFFFF),
                    master.orig,
                    timeout=300,
                    flags=0 if any(src) else 1,
                    nat=ExpectationNat(1, Tuple(socket.inet_aton(BOX), nothing, 17, port, 0)),
                )
            )

    where.within(body)


def test_flows_shows_the_film_its_box_its_server_and_what_it_does(where: Space, config: str) -> None:
    film(where)
    told = run(where, config, "flows")
    assert (told.returncode, told.stderr) == (0, "")
    head, row = told.stdout.splitlines()
    assert head.split() == ["STB", "ROLE", "SERVER", "PORT", "PROTO", "BYTES", "AGE", "MEANING"]
    assert row.startswith("Living room  media  172.26.83.137:4001  27336  udp")
    assert "1.3 kB" in row
    assert re.search(r"playing, port open (1 h|59 min \d+ s), unreplied$", row)


def test_nothing_to_show_is_said_on_stderr_to_people_only(where: Space, config: str) -> None:
    where.run("nft", "delete table inet nftrtsp")
    for command, sentence in (("flows", "no film is coming"), ("expectations", "no port is open")):
        told = run(where, config, command)
        assert (told.returncode, told.stdout) == (0, "")
        assert told.stderr.startswith(sentence)
        told = run(where, config, command, "--json")
        assert (told.returncode, told.stdout, told.stderr) == (0, "", "")


def test_flows_json_is_one_object_a_line(where: Space, config: str) -> None:
    film(where, 4001)
    film(where, 4003)
    records = [json.loads(line) for line in run(where, config, "flows", "--json").stdout.splitlines()]
    assert {record["orig"]["sport"] for record in records} == {4001, 4003}
    assert {record["role"] for record in records} == {"media"}
    assert {record["stb_name"] for record in records} == {"Living room"}
    assert all(record["bytes"] == {"orig": 1344, "reply": 0} for record in records)


def test_a_film_without_a_mark_is_found_by_its_state(where: Space, config: str) -> None:
    where.run("nft", "flush chain inet space label-flows")
    film(where)
    records = [json.loads(line) for line in run(where, config, "flows", "--json").stdout.splitlines()]
    assert [(record["mark"], record["role"]) for record in records] == [(0, "media")]


def test_flows_shows_the_control_connection_that_has_a_way_open(where: Space, config: str) -> None:
    sockets = control(where)
    expect(where, "0.0.0.0", 27400)
    (row,) = run(where, config, "flows").stdout.splitlines()[1:]
    assert "control" in row
    assert "172.26.83.10:554" in row
    assert "established" in row
    for opened in sockets:
        opened.close()


def test_flows_all_shows_everything(where: Space, config: str) -> None:
    film(where)
    sockets = control(where)
    rows = run(where, config, "flows", "--all").stdout.splitlines()[1:]
    assert sorted(row.split("  ")[1].strip() for row in rows if row.startswith("Living")) == [
        "control",
        "media",
    ]
    for opened in sockets:
        opened.close()


def test_expectations_lists_pinholes_and_expectations_and_says_which_are_pinned(
    where: Space, config: str
) -> None:
    sockets = control(where)
    # The ftp helper, which stands in for rtsp here, keeps one expectation: a second takes its place.
    expect(where, "0.0.0.0", 27400)
    pinhole, free = run(where, config, "expectations").stdout.splitlines()[1:]  # by port
    expect(where, SERVER, 27402)
    _, pinned = run(where, config, "expectations").stdout.splitlines()[1:]
    assert "27336" in pinhole
    assert "any source, stays, open 5" in pinhole
    assert "27400" in free
    assert "any source, stays, open" in free
    assert "27402" in pinned
    assert "pinned to 172.26.83.10, for the first flow, open" in pinned
    assert all(line.startswith("Living room") for line in (pinhole, free, pinned))
    records = [json.loads(line) for line in run(where, config, "expectations", "--json").stdout.splitlines()]
    assert sorted(record["kind"] for record in records) == ["expectation", "pinhole"]
    assert records[0].keys() == records[1].keys()
    for opened in sockets:
        opened.close()


def test_events_streams_only_what_concerns_iptv_and_filters(where: Space, config: str) -> None:
    streams = {
        name: start(where, config, "events", "--json", *words)
        for name, words in {
            "iptv": [],
            "all": ["--all"],
            "control": ["--filter", "role=control"],
            "box": ["--filter", "stb=Living room", "--filter", "type=new,expect-new"],
        }.items()
    }
    where.await_listeners(len(streams))
    film(where)
    sockets = control(where)
    expect(where, "0.0.0.0", 27400)
    where.run("python3", "-c", "import socket; socket.socket(2, 2).sendto(b'x', ('127.0.0.1', 9))")
    time.sleep(2.0)
    told = {}
    for name, stream in streams.items():
        stream.send_signal(signal.SIGINT)
        out, complaint = stream.communicate(timeout=10)
        assert complaint.strip() == ""  # click ends the line of ^C
        assert stream.returncode == 130
        told[name] = [json.loads(line) for line in out.splitlines()]
    assert [event["event"] for event in told["box"]] == ["new", "new", "expect-new"]
    assert {event["flow"]["role"] for event in told["control"] if "flow" in event} == {"control"}
    assert {event["flow"]["role"] for event in told["iptv"] if "flow" in event} == {"control", "media"}
    assert any(event.get("flow", {}).get("orig", {}).get("dport") == 9 for event in told["all"])
    for opened in sockets:
        opened.close()


def test_a_closed_pipe_ends_a_stream_quietly(where: Space, config: str) -> None:
    for words in (["events", "--all"], ["flows", "--watch"], ["expectations", "--watch"]):
        stream = start(where, config, *words)
        assert stream.stdout is not None
        assert stream.stderr is not None
        where.await_listeners(1)
        film(where, 4100 + len(words))
        assert stream.stdout.readline()
        stream.stdout.close()
        assert stream.wait(10) == 141
        assert stream.stderr.read() == ""
        stream.stderr.close()


def test_a_list_into_a_closed_pipe_is_quiet(where: Space, config: str) -> None:
    film(where)
    reader, writer = os.pipe()
    os.close(reader)
    told = subprocess.run(
        [NFTRTSP, "flows", "-c", config, "--netns", where.name],
        check=False, stdout=writer, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    os.close(writer)
    assert told.stderr == ""
    assert told.returncode == 141


def test_help_and_events_into_a_closed_pipe_end_alike(where: Space, config: str) -> None:
    for words in (["--help"], ["events", "--all", "-c", config, "--netns", where.name]):
        reader, writer = os.pipe()
        os.close(reader)
        told = subprocess.run(
            [NFTRTSP, *words], check=False, stdout=writer, stderr=subprocess.PIPE, text=True, timeout=30
        )
        os.close(writer)
        assert (told.returncode, told.stderr) == (141, ""), words


def test_watch_shows_rates_until_ctrl_c(where: Space, config: str) -> None:
    stream = start(where, config, "flows", "--watch", "--json")
    where.await_listeners(1)
    for _ in range(35):
        film(where)
        time.sleep(0.1)
    stream.send_signal(signal.SIGINT)
    out, complaint = stream.communicate(timeout=10)
    assert (complaint.strip(), stream.returncode) == ("", 130)
    assert json.loads(out.splitlines()[-1])["rate"] > 1000


@pytest.mark.parametrize("command", ["flows", "expectations", "events"])
def test_without_the_right_to_ask_it_is_one_sentence(where: Space, config: str, command: str) -> None:
    told = subprocess.run(
        where.command(["setpriv", "--bounding-set=-net_admin", NFTRTSP, command, "-c", config]),
        check=False, capture_output=True, text=True, timeout=20,
    )  # fmt: skip
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "run it as root" in told.stderr


def test_a_namespace_that_is_not_there_is_one_sentence(config: str) -> None:
    told = run(Space("no-such-namespace"), config, "flows")
    assert told.returncode == 2
    assert told.stderr.count("\n") == 1
    assert "there is no network namespace" in told.stderr
