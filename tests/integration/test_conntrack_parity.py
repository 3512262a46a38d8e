"""What we say of events, flows and expectations is what conntrack(8) says, field by field."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration import conntrack_xml as xml
from tests.integration.conntrack_space import PYTHON, Space, space

pytestmark = pytest.mark.root

LISTENER = """
import json, select
from nftrtsp import config
from nftrtsp.conntrack.record import of_event
from nftrtsp.conntrack.role import Roles
from nftrtsp.conntrack.subscription import Subscription
lan = {"interfaces": ["b"], "networks": ["192.168.1.0/24"]}
roles = Roles(config.parse({"iptv": {"interface": "a"}, "lan": lan}))
with Subscription() as subscription:
    print("ready", flush=True)
    ending = False
    while True:
        events = subscription.receive(0.2)
        for event in events:
            print(json.dumps(of_event(event, roles)), flush=True)
        if ending and not events:
            break
        ending = ending or bool(select.select([0], [], [], 0)[0])
"""

LISTER = """
import json
from nftrtsp import config
from nftrtsp.conntrack.record import of_flow
from nftrtsp.conntrack.role import Roles
from nftrtsp.conntrack.socket import Conntrack
lan = {"interfaces": ["b"], "networks": ["192.168.1.0/24"]}
roles = Roles(config.parse({"iptv": {"interface": "a"}, "lan": lan}))
with Conntrack() as conntrack:
    for flow in conntrack.dump_flows():
        print(json.dumps(of_flow(flow, roles)))
"""

Said = dict[str, Any]


class Witnesses:
    """conntrack -E twice (flows, expectations) and we, all hearing the same."""

    def __init__(self, where: Space, folder: Path) -> None:
        self.files = {name: (folder / name).open("w+") for name in ("flows", "expectations", "ours")}
        event = ("conntrack", "-E", "-b", str(16 << 20))
        flows, expectations = self.files["flows"], self.files["expectations"]
        quiet = subprocess.DEVNULL
        self.theirs = [
            where.popen(*event, "-o", "xml,timestamp,id", stdout=flows, stderr=quiet),
            where.popen(
                "conntrack", "-E", "expect", "-o", "xml,timestamp", stdout=expectations, stderr=quiet
            ),
        ]
        self.we = where.popen(
            PYTHON, "-c", LISTENER, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        )
        assert self.we.stdout is not None
        assert self.we.stdout.readline() == "ready\n"
        where.await_listeners(3)

    def end(self) -> tuple[list[Said], list[Said], list[Said]]:
        """Return the flows and expectations they told, and the events we told."""
        ours, complaint = self.we.communicate("\n", timeout=20)
        assert not complaint
        time.sleep(0.3)
        texts = []
        for name, process in zip(("flows", "expectations"), self.theirs, strict=True):
            process.send_signal(signal.SIGINT)
            process.wait(10)
            self.files[name].seek(0)
            texts.append(self.files[name].read())
        for file in self.files.values():
            file.close()
        return (
            xml.flows(texts[0]),
            xml.expectations(texts[1]),
            [json.loads(line) for line in ours.splitlines()],
        )


@pytest.fixture(scope="module")
def told(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[list[Said], list[Said], list[Said], Space]]:
    with space() as where:
        witnesses = Witnesses(where, tmp_path_factory.mktemp("witnesses"))
        where.run(PYTHON, "-m", "tests.integration.conntrack_traffic")
        ends = "-s 10.1.1.1 -d 10.1.1.2 --sport 7 --dport 8"
        where.run("conntrack", "-I", "-p", "udp", *ends.split(), "-t", "120", "-m", "5")
        where.run("conntrack", "-U", "-p", "udp", "-s", "10.1.1.1", "-m", "6")
        where.run("conntrack", "-D", "-p", "udp", "-s", "10.1.1.1")
        where.run("conntrack", "-F")
        flows, expectations, ours = witnesses.end()
        yield flows, expectations, ours, where


def test_the_sequence_of_flow_events_is_equal_field_by_field(
    told: tuple[list[Said], list[Said], list[Said], Space],
) -> None:
    theirs, _, events, _ = told
    ours = [xml.our_flow(event["flow"], event["event"]) for event in events if "flow" in event]
    assert len(theirs) > 60
    assert ours == theirs


def test_the_sequence_of_expectation_events_is_equal_field_by_field(
    told: tuple[list[Said], list[Said], list[Said], Space],
) -> None:
    _, theirs, events, _ = told
    ours = [
        xml.our_expectation(event["expectation"], event["event"].removeprefix("expect-"))
        for event in events
        if "expectation" in event
    ]
    assert len(theirs) >= 4
    assert {said["event"] for said in theirs} == {"new", "destroy"}
    assert ours == theirs


def test_nothing_was_lost(told: tuple[list[Said], list[Said], list[Said], Space]) -> None:
    assert not [event for event in told[2] if event["event"] == "overrun"]


def test_the_data_connections_of_ftp_name_their_master(
    told: tuple[list[Said], list[Said], list[Said], Space],
) -> None:
    related = [event["flow"] for event in told[2] if event.get("flow", {}).get("master")]
    assert {flow["orig"]["sport"] == 20 for flow in related} == {True, False}  # active and passive
    assert all(flow["master"]["dport"] == 21 and "expected" in flow["status"] for flow in related)


def test_every_kind_of_traffic_was_seen(told: tuple[list[Said], list[Said], list[Said], Space]) -> None:
    flows = [event["flow"] for event in told[2] if event["event"] == "new"]
    assert {flow["proto"] for flow in flows} >= {"udp", "tcp", "icmp", "icmpv6", "gre", "sctp", "2"}
    assert {flow["family"] for flow in flows} == {"ipv4", "ipv6"}
    statuses = {name for flow in flows for name in flow["status"]}
    assert statuses >= {"src-nat", "dst-nat", "expected"}
    assert any(flow["zone"] == 7 for flow in flows)
    assert any(flow["orig"].get("zone") == 9 for flow in flows)
    assert any(flow["mark"] == 0x100000 for flow in flows)
    assert any(flow["labels"] for flow in flows)


SHORT = ("udp", "icmp", "icmpv6", "generic", "gre", "sctp_closed", "sctp_cookie_wait", "tcp_close")


def test_a_dump_is_equal_field_by_field() -> None:
    with space() as where:
        for name in SHORT:  # none may end between the two lists
            where.run("sysctl", "-qw", f"net.netfilter.nf_conntrack_{_setting(name)}=600")
        where.run(PYTHON, "-m", "tests.integration.conntrack_traffic")
        started = time.monotonic()
        theirs = xml.flows(where.run("conntrack", "-L", "-o", "xml,extended,id").stdout)
        ours = [
            xml.our_flow(json.loads(line)) for line in where.run(PYTHON, "-c", LISTER).stdout.splitlines()
        ]
        between = time.monotonic() - started + 1
    assert len(theirs) > 15
    by_id = {said["id"]: said for said in theirs}
    for said in ours:  # timeouts run on between the two lists
        assert 0 <= by_id[said["id"]]["timeout"] - said["timeout"] <= between
        said["timeout"] = by_id[said["id"]]["timeout"]
    assert sorted(ours, key=lambda said: said["id"]) == sorted(theirs, key=lambda said: said["id"])


def _setting(name: str) -> str:
    protocol, _, state = name.partition("_")
    return f"{protocol}_timeout_{state}" if state else f"{protocol}_timeout"
