"""The table is right: from the middle of traffic, after losses, and for flows that send no events."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from nftrtsp import config
from nftrtsp.config import Config
from nftrtsp.conntrack.dump_filter import DumpFilter, Match
from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.expectation import Expectation
from nftrtsp.conntrack.flow import Flow
from nftrtsp.conntrack.flow_table import FlowTable
from nftrtsp.conntrack.role import Role
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.subscription import Subscription
from nftrtsp.conntrack.tuple import Tuple
from tests.bench.populate import fill
from tests.integration.conntrack_space import PYTHON, Space, space

pytestmark = pytest.mark.root

BOX, ROUTER, MEDIA, SERVER = "192.168.1.200", "10.214.0.2", "172.26.83.137", "172.26.83.10"
TRAFFIC = """
import time
from tests.bench.populate import fill
from nftrtsp.conntrack.socket import Conntrack
from nftrtsp.conntrack.dump_filter import DumpFilter, Match
print("going", flush=True)
first = 100_000
with Conntrack() as conntrack:
    for _ in range(3000):
        fill(200, first)
        first += 200
        port = 1024 + first % 50
        for flow in list(conntrack.dump_flows(DumpFilter(orig=Match(proto=17, sport=port))))[:150]:
            conntrack.delete_flow(flow)
        time.sleep(0.01)
"""


def configured(port: int = 554) -> Config:
    return config.parse(
        {
            "iptv": {"interface": "vlan2"},
            "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
            "rtsp": {"ports": [port]},
            "stb": [{"name": "Living room", "address": BOX}],
        }
    )


@pytest.fixture
def where() -> Iterator[Space]:
    with space() as made:
        yield made


def truth(wanted: DumpFilter | None = None) -> set[tuple[int, Tuple]]:
    with Conntrack() as conntrack:
        return {(flow.id, flow.orig) for flow in conntrack.dump_flows(wanted)}


def known(table: FlowTable) -> set[tuple[int, Tuple]]:
    return {(flow.id, flow.orig) for flow in table.flows()}


def follow(table: FlowTable, seconds: float) -> list[Event]:
    events: list[Event] = []
    ends = time.monotonic() + seconds
    while (left := ends - time.monotonic()) > 0:
        events += table.poll(left)
    return events


def settle(table: FlowTable) -> list[Event]:
    """Poll until the table equals a dump: a second or less, unless the machine is very busy."""
    events: list[Event] = []
    ends = time.monotonic() + 20
    while known(table) != truth() and time.monotonic() < ends:
        events += table.poll(0.1)
    assert known(table) == truth()
    return events


def film(port: int = 27336, source: int = 4001) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.bind((MEDIA, source))
        sender.sendto(b"x" * 1316, (ROUTER, port))


def test_a_table_begun_amid_ten_thousand_flows_and_traffic_equals_a_dump_after_a_second(where: Space) -> None:
    def body() -> None:
        fill(10_000)
        with subprocess.Popen([PYTHON, "-c", TRAFFIC], stdout=subprocess.PIPE) as traffic:
            assert traffic.stdout is not None
            assert traffic.stdout.readline() == b"going\n"
            try:
                with FlowTable(configured(), everything=True) as table:
                    kinds: set[EventType] = set()
                    ends = time.monotonic() + 20
                    while not kinds >= {EventType.NEW, EventType.DESTROY} and time.monotonic() < ends:
                        kinds |= {event.type for event in follow(table, 1.0)}
                    assert kinds >= {EventType.NEW, EventType.DESTROY}
                    traffic.terminate()
                    traffic.wait()
                    settle(table)
                    assert table.lost == 0
                    assert len(truth()) > 10_000
            finally:
                traffic.kill()

    where.within(body)


def test_overruns_are_told_and_repaired_within_a_second(where: Space) -> None:
    def body() -> None:
        fill(2_000)
        with FlowTable(configured(), everything=True, receive_buffer=1) as table:
            table.poll(0)
            fill(5_000, 50_000)
            with Conntrack() as conntrack:
                for flow in list(conntrack.dump_flows(DumpFilter(orig=Match(proto=17, sport=1030)))):
                    conntrack.delete_flow(flow)
            events = table.poll(1.0)
            events += settle(table)
            overruns = [event for event in events if event.type is EventType.OVERRUN]
            assert overruns
            assert table.lost == sum(event.lost for event in overruns) > 1000
            found = [event for event in events if event.found]
            assert {event.type for event in found} == {EventType.NEW, EventType.DESTROY}

    where.within(body)


def test_a_subscription_counts_exactly_what_was_lost(where: Space) -> None:
    def body() -> None:
        with Subscription(receive_buffer=1) as subscription:
            fill(3_000)
            heard: list[Event] = []
            while events := subscription.receive(0.2):
                heard += events
            assert subscription.overruns == 1
            assert heard[-1].type is EventType.OVERRUN
            assert len(heard) - 1 + heard[-1].lost == 3_000

    where.within(body)


def test_a_flow_born_before_anybody_listened_leaves_the_table_when_it_ends(where: Space) -> None:
    def body() -> None:
        film()
        with FlowTable(configured()) as table:
            table.poll(0)
            ((flow, part),) = table.parts()
            assert part.role is Role.MEDIA
            with Conntrack() as conntrack:
                assert conntrack.delete_flow(flow)
            events = settle(table)
            assert [event.type for event in events if event.flow] == [EventType.DESTROY]
            assert table.flows() == []

    where.within(body)


def test_counters_of_films_are_polled_and_rates_made_of_them(where: Space) -> None:
    def body() -> None:
        with FlowTable(configured()) as table:
            table.poll(0)
            ends = time.monotonic() + 3.5
            while time.monotonic() < ends:
                film()
                table.poll(0.01)
            (flow,) = table.flows()
            rate = table.rates[flow.id]
            assert flow.counters_orig is not None
            assert flow.counters_orig.packets > 20
            assert rate.packets > 5
            assert rate.bytes == pytest.approx(rate.packets * 1344)

    where.within(body)


def test_the_master_of_a_related_flow_is_remembered_through_later_events(where: Space) -> None:
    def body() -> None:
        with FlowTable(configured(21), everything=True) as table:
            table.poll(0)
            where.run(PYTHON, "-m", "tests.integration.conntrack_traffic")
            events = follow(table, 1.0)
            data = [event.flow for event in events if event.flow and event.flow.orig.sport == 20]
            assert len(data) > 3
            assert all(flow.master is not None and flow.master.dport == 21 for flow in data)

    where.within(body)


def control() -> tuple[socket.socket, socket.socket, socket.socket]:
    """Open a control connection from the box; the three sockets keep it open."""
    server = socket.create_server((SERVER, 554))
    client = socket.socket()
    client.bind((BOX, 0))
    client.connect((SERVER, 554))
    return server, client, server.accept()[0]


def expectation(master: Flow) -> Expectation:
    any_source, exact = bytes(4), b"\xff" * 4
    awaited = Tuple(any_source, socket.inet_aton(ROUTER), 17, 0, 27400)
    return Expectation(2, awaited, Tuple(any_source, exact, 17, 0, 0xFFFF), master.orig, timeout=60)


def test_only_iptv_passes_the_kernel_filter_and_all_of_it_does(where: Space) -> None:
    where.run("nft", 'add rule inet space label-flows tcp dport 554 ct helper set "ftp-here"')

    def body() -> None:
        with FlowTable(configured()) as table:
            table.poll(0)
            fill(3_000)
            film()
            sockets = control()
            with Conntrack() as conntrack:
                (master,) = conntrack.dump_flows(DumpFilter(orig=Match(proto=6, dport=554)))
                conntrack.create_expectation(expectation(master))
                events = follow(table, 0.5)
                (made,) = table.expectations()
                assert conntrack.delete_expectation(made)
            events += follow(table, 0.5)
            roles = {table.roles.of(event.flow).role for event in events if event.flow}
            assert roles == {Role.MEDIA, Role.CONTROL}
            kinds = [event.type for event in events if event.expectation]
            assert kinds == [EventType.EXPECT_NEW, EventType.EXPECT_DESTROY]
            assert len(table.flows()) == 2
            for opened in sockets:
                opened.close()

    where.within(body)


def test_a_dump_that_is_given_up_half_way_does_not_disturb_the_next_request(where: Space) -> None:
    def body() -> None:
        fill(2_000)
        with Conntrack() as conntrack:
            first = next(conntrack.dump_flows())
            same = conntrack.get_flow(first.orig)
            assert same is not None
            assert same.id == first.id
            next(conntrack.dump_flows())
            assert len(list(conntrack.dump_flows())) == 2_000

    where.within(body)


def test_dumps_filtered_by_the_kernel_give_what_filtering_here_gives(where: Space) -> None:
    def body() -> None:
        where.run(PYTHON, "-m", "tests.integration.conntrack_traffic")
        six = socket.inet_pton(socket.AF_INET6, "::1")
        filters = [
            DumpFilter(mark=(0x100000, 0x100000)),
            DumpFilter(status=(0x20, 0x20)),
            DumpFilter(zone=7),
            DumpFilter(family=10),
            DumpFilter(orig=Match(proto=6, dport=21)),
            DumpFilter(orig=Match(src=socket.inet_aton(MEDIA))),
            DumpFilter(reply=Match(src=socket.inet_aton(BOX), proto=17)),
            DumpFilter(orig=Match(dst=six)),
            DumpFilter(orig=Match(proto=17), status=(0, 0x2)),
            DumpFilter(orig=Match(proto=17, dport=5001)),
        ]
        with Conntrack() as conntrack:
            everything = list(conntrack.dump_flows())
            for wanted in filters:
                found = {flow.id for flow in conntrack.dump_flows(wanted)}
                assert found == {flow.id for flow in everything if wanted.accepts(flow)}, wanted
                assert found, wanted

    where.within(body)
