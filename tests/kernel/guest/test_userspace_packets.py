"""The userspace helper packet by packet: SETUPs in pieces, clashes, faults; on real conntrack and NFQUEUE."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Iterator

import pytest

from .rig import MEDIA, ROUTER, Client, Rig, Server, request, rig, setup


@pytest.fixture(scope="module")
def standing() -> Iterator[tuple[Rig, Server]]:
    with rig(stbs=3) as one:
        server = Server(one.lab)
        yield one, server
        server.close()


@pytest.fixture
def router(standing: tuple[Rig, Server]) -> Iterator[Rig]:
    """The rig without any way open; a helper that a test killed runs again."""
    one, server = standing
    server.answer = server.agree
    server.heads.clear()
    if one.helper is None:
        one.start()
    yield one
    server.hang_up()
    if one.helper is not None:
        one.wait_for(lambda: not one.ways(), "all ways to close")


@pytest.fixture
def server(standing: tuple[Rig, Server]) -> Server:
    return standing[1]


def ports(router: Rig) -> list[tuple[int, str, int]]:
    """What is expected: public port, set-top box, its port."""
    return sorted((way["tuple"]["dport"], way["nat"]["src"], way["nat"]["sport"]) for way in router.ways())


def test_a_film_arrives_from_servers_that_nobody_asked(router: Rig, server: Server) -> None:
    box, film = Client(router.lab), router.listen(0, 27336)
    assert box.ask(setup("27336"))[""] == "RTSP/1.0 200 OK"
    assert len(router.expectations()) == 1
    assert "src=0.0.0.0" in router.expectations()[0]
    assert "PERMANENT" in router.expectations()[0]
    for media, text in enumerate((b"one", b"two", b"three")):
        router.film(27336, text, media, sport=6000)
        assert film.recvfrom(100) == (text, (MEDIA[media], 6000)), "each from its own address"
    assert len([line for line in router.media_flows() if "mark=1048576" in line]) == 3


def test_the_way_is_open_before_the_server_reads_the_setup(router: Rig, server: Server) -> None:
    box, film = Client(router.lab), router.listen(0, 27000)
    agree = server.agree

    def film_first(head: dict[str, str], raw: bytes) -> bytes:
        router.film(27000, b"before the answer")
        return agree(head, raw)

    server.answer = film_first
    box.ask(setup("27000"))
    assert film.recv(100) == b"before the answer"


def test_teardown_closes_the_ways_and_flows_of_its_session_only(router: Rig, server: Server) -> None:
    box, one, two = Client(router.lab), router.listen(0, 20000), router.listen(0, 20002)
    first = box.ask(setup("20000", 1, uri="rtsp://s/1"))["session"].partition(";")[0]
    box.ask(setup("20002", 2, uri="rtsp://s/2"))
    first_source, second_source = router.film(20000, b"1"), router.film(20002, b"2")
    assert (one.recv(10), two.recv(10)) == (b"1", b"2")
    box.ask(request("TEARDOWN", 3, first, "rtsp://s/1"))
    assert ports(router) == [(20002, "192.168.1.200", 20002)]
    assert len(router.expectations()) == 1
    router.wait_for(
        lambda: not any("dport=20000" in line for line in router.media_flows()), "the flow to end"
    )
    first_source.sendto(b"late", (ROUTER, 20000))
    second_source.sendto(b"on", (ROUTER, 20002))
    assert two.recv(10) == b"on"
    one.settimeout(0.5)
    with pytest.raises(TimeoutError):
        one.recv(10)


def test_an_answer_of_error_closes_the_way(router: Rig, server: Server) -> None:
    box = Client(router.lab)
    server.answer = lambda head, raw: f"RTSP/1.0 454 No\r\nCSeq: {head['cseq']}\r\n\r\n".encode()
    assert box.ask(setup("27338"))[""] == "RTSP/1.0 454 No"
    assert (router.ways(), router.expectations()) == ([], [])


def test_a_pair_of_ports_makes_two_expectations(router: Rig, server: Server) -> None:
    box = Client(router.lab)
    box.ask(setup("5000-5001"))
    assert [port for port, _, _ in ports(router)] == [5000, 5001]
    assert len(router.expectations()) == 2


@pytest.mark.parametrize("size", [1, 7, 40, 75])
def test_a_setup_cut_anywhere_opens_its_way(router: Rig, server: Server, size: int) -> None:
    box, film = Client(router.lab), router.listen(0, 27340)
    message = setup("27340")
    for start in range(0, len(message), size):
        box.send(message[start : start + size])
        time.sleep(0.005)
    box.answer()
    router.film(27340, b"x")
    assert film.recv(10) == b"x"


def test_pipelined_requests_on_one_connection_each_open_their_way(router: Rig, server: Server) -> None:
    box = Client(router.lab)
    box.send(b"".join(setup(str(21000 + 2 * n), n, uri=f"rtsp://s/{n}") for n in range(5)))
    for _ in range(5):
        assert box.answer()[""].endswith("200 OK")
    assert [port for port, _, _ in ports(router)] == [21000, 21002, 21004, 21006, 21008]


def test_of_two_boxes_with_one_port_each_gets_its_film_and_reads_what_it_asked_for(
    router: Rig, server: Server
) -> None:
    films = [router.listen(stb, 27336) for stb in (0, 1, 2)]
    boxes = [Client(router.lab, stb) for stb in (0, 1, 2)]
    answers = [box.ask(setup("27336")) for box in boxes]
    assert all("client_port=27336;" in answer["transport"] for answer in answers)
    asked = server.ports()
    assert asked[0] == "27336"
    assert len(set(asked)) == 3
    assert all(len(port) == 5 for port in asked)
    for port, film in zip(asked, films, strict=True):
        router.film(int(port), port.encode())
        assert film.recv(10) == port.encode()
    # The connection goes on: sequence numbers and lengths are as they were.
    assert boxes[1].ask(request("OPTIONS", 2, "s"))["cseq"] == "2"


@pytest.mark.parametrize("size", [1, 9, 60, 100, 113])
def test_a_clash_is_solved_in_a_setup_that_comes_in_pieces(router: Rig, server: Server, size: int) -> None:
    first, second = Client(router.lab, 0), Client(router.lab, 1)
    first.ask(setup("27336"))
    film = router.listen(1, 27336)
    message = setup("27336")
    for start in range(0, len(message), size):
        second.send(message[start : start + size])
    assert "client_port=27336;" in second.answer()["transport"]
    assert server.ports()[1] != "27336"
    router.film(int(server.ports()[1]), b"mine")
    assert film.recv(10) == b"mine"


def test_an_answer_in_pieces_is_changed_back_too(router: Rig, server: Server) -> None:
    first, second = Client(router.lab, 0), Client(router.lab, 1)
    first.ask(setup("27336"))
    agree = server.agree

    def in_pieces(head: dict[str, str], raw: bytes) -> bytes:
        whole = agree(head, raw)
        connection = server.connections[-1]
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in range(len(whole) - 1):
            connection.sendall(whole[at : at + 1])
        return whole[-1:]

    server.answer = in_pieces
    assert "client_port=27336;" in second.ask(setup("27336"))["transport"]


def test_a_pair_that_clashes_stays_a_pair(router: Rig, server: Server) -> None:
    first, second = Client(router.lab, 0), Client(router.lab, 1)
    first.ask(setup("5000-5001"))
    assert "client_port=5000-5001;" in second.ask(setup("5000-5001"))["transport"]
    low, _, high = server.ports()[1].partition("-")
    assert (int(low) % 2, int(high)) == (0, int(low) + 1)
    assert len(router.expectations()) == 4


@pytest.mark.parametrize("port", ["80", "1023", "0", "70000"])
def test_ports_that_are_none_of_a_boxs_business_stay_closed(router: Rig, server: Server, port: str) -> None:
    box = Client(router.lab)
    assert box.ask(setup(port))[""] == "RTSP/1.0 200 OK"
    assert (router.ways(), router.expectations()) == ([], [])


def test_media_to_another_host_is_refused(router: Rig, server: Server) -> None:
    box = Client(router.lab)
    box.ask(setup("27336", more=";destination=192.168.1.1"))
    assert router.expectations() == []


def test_garbage_passes_untouched(router: Rig, server: Server) -> None:
    box = Client(router.lab)
    server.answer = lambda head, raw: raw + b"\r\n\r\n"
    box.send(b"\x16\x03\x01 no RTSP at all\r\n\r\n" + bytes(range(256)) + b"\r\n\r\n")
    box.answer()
    box.answer()
    box.send(setup("27336"))
    box.answer()
    assert router.expectations() == []


def test_a_connection_of_garbage_no_longer_comes_to_the_helper(router: Rig, server: Server) -> None:
    box = Client(router.lab)
    server.answer = lambda head, raw: raw + b"\r\n\r\n"
    box.ask(b"\x16\x03\x01 no RTSP at all\r\n\r\n")
    before = (router.hello() or {})["counters"]["packets"]
    for number in range(20):
        assert box.ask(f"{number}\r\n\r\n".encode())[""] == str(number)
    assert (router.hello() or {})["counters"]["packets"] == before


def test_without_the_helper_rtsp_and_films_go_on_and_a_new_one_takes_over(
    router: Rig, server: Server
) -> None:
    box, film, other = Client(router.lab), router.listen(0, 27336), router.listen(0, 27400)
    session = box.ask(setup("27336"))["session"].partition(";")[0]
    source = router.film(27336, b"1")
    assert film.recv(10) == b"1"
    time.sleep(0.3)  # the session is written down ten times a second
    router.kill(signal.SIGKILL)
    source.sendto(b"2", (ROUTER, 27336))
    assert film.recv(10) == b"2"
    router.film(27336, b"from another server", 1)
    assert film.recv(100) == b"from another server"
    assert box.ask(request("GET_PARAMETER", 2, session))[""] == "RTSP/1.0 200 OK"
    assert Client(router.lab).ask(request("OPTIONS", 1, ""))[""] == "RTSP/1.0 200 OK"
    began = time.monotonic()
    router.start()
    print(f"restarted in {time.monotonic() - began:.2f} s")
    assert ports(router) == [(27336, "192.168.1.200", 27336)]
    # The connection that was open meanwhile.
    box.ask(setup("27400", 3, uri="rtsp://s/other"))
    router.film(27400, b"3")
    assert other.recv(10) == b"3"
    box.ask(request("TEARDOWN", 4, session))
    assert ports(router) == [(27400, "192.168.1.200", 27400)]
    assert len(router.expectations()) == 1


def test_a_clash_survives_a_restart(router: Rig, server: Server) -> None:
    first, second = Client(router.lab, 0), Client(router.lab, 1)
    first.ask(setup("27336"))
    second.ask(setup("27336"))
    before = ports(router)
    router.kill(signal.SIGTERM)
    router.start()
    assert ports(router) == before
    third = Client(router.lab, 2)
    assert "client_port=27336;" in third.ask(setup("27336"))["transport"]
    assert len(set(server.ports())) == 3


def test_a_stopped_helper_is_not_in_the_way_and_works_again_when_it_goes_on(
    router: Rig, server: Server
) -> None:
    box, film = Client(router.lab), router.listen(0, 27336)
    session = box.ask(setup("27336"))["session"].partition(";")[0]
    source = router.film(27336, b"1")
    film.recv(10)
    assert router.helper is not None
    router.helper.send_signal(signal.SIGSTOP)
    source.sendto(b"2", (ROUTER, 27336))
    assert film.recv(10) == b"2"
    began = time.monotonic()
    assert box.ask(request("GET_PARAMETER", 2, session))[""] == "RTSP/1.0 200 OK"
    print(f"RTSP went on after {time.monotonic() - began:.2f} s")
    began = time.monotonic()
    assert Client(router.lab, 1).ask(request("OPTIONS", 1, ""))[""] == "RTSP/1.0 200 OK"
    assert time.monotonic() - began < 2, "the queue is bypassed by now"
    router.helper.send_signal(signal.SIGCONT)
    router.wait_for(
        lambda: (router.hello() or {})["counters"]["overruns"] > 0, "the helper to see that it was stopped"
    )
    box.ask(setup("27400", 3, uri="rtsp://s/other"))
    assert (27400, "192.168.1.200", 27400) in ports(router)
    other = Client(router.lab, 1)
    other.ask(setup("27500"))
    assert (27500, "192.168.1.201", 27500) in ports(router)


def test_a_connection_that_ends_takes_its_ways_along_and_lets_films_run(router: Rig, server: Server) -> None:
    box, film = Client(router.lab), router.listen(0, 27336)
    box.ask(setup("27336"))
    source = router.film(27336, b"1")
    assert film.recv(10) == b"1"
    box.close()
    router.wait_for(lambda: not router.ways(), "the way to close")
    assert router.expectations() == []
    source.sendto(b"2", (ROUTER, 27336))
    assert film.recv(10) == b"2"


def test_a_connection_that_conntrack_forgot_is_picked_up_with_its_ways(router: Rig, server: Server) -> None:
    box, film = Client(router.lab), router.listen(0, 27336)
    session = box.ask(setup("27336"))["session"].partition(";")[0]
    router.lab.router.run(["conntrack", "-D", "-p", "tcp", "--dport", "554"])
    assert router.expectations() == []
    box.ask(request("GET_PARAMETER", 2, session))
    # An unconfirmed master takes no expectation: it is made once the packet has gone on.
    router.wait_for(lambda: len(router.expectations()) == 1, "its way")
    router.film(27336, b"x", 1)
    assert film.recv(10) == b"x"


def test_a_setup_that_conntrack_takes_for_a_connections_beginning_opens_its_way(
    router: Rig, server: Server
) -> None:
    box, film = Client(router.lab), router.listen(0, 27336)
    router.lab.router.run(["conntrack", "-D", "-p", "tcp", "--dport", "554"])
    box.ask(setup("27336"))
    router.wait_for(lambda: len(router.expectations()) == 1, "its way")
    router.film(27336, b"x", 1)
    assert film.recv(10) == b"x"


def test_a_destination_is_rewritten_where_the_profile_asks_for_it() -> None:
    with rig(stbs=1, rtsp="rewrite_destination = true\n") as router:
        server = Server(router.lab)
        box, film = Client(router.lab), router.listen(0, 27336)
        box.ask(setup("27336", more=";destination=192.168.1.200"))
        assert b"destination=10.214.0.2\r\n" in server.heads[0]
        assert box.ask(request("OPTIONS", 2, "s"))["cseq"] == "2", "the connection goes on"
        router.film(27336, b"x")
        assert film.recv(10) == b"x"
        server.close()
