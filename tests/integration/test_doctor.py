"""Doctor on a router in the lab, with faults really made: each is found, and gone when it is mended."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import pytest

from nftrtsp.helper import publish
from nftrtsp.lab.network import Lab

pytestmark = pytest.mark.root

WAIT = 10.0


@contextmanager
def helper(lab: Lab, *options: str) -> Iterator[subprocess.Popen[Any]]:
    process = lab.router.popen_nftrtsp("helper", *options, stderr=subprocess.DEVNULL)
    try:
        wait_for((lab.run_dir / "helper.sock").exists)
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(WAIT)


def counted(lab: Lab, what: str) -> bool:
    """Whether the helper that runs there has counted one of these."""
    greeting = publish.ask(lab.run_dir / "helper.sock")
    return greeting is not None and getattr(greeting.counters, what) == 1


def wait_for(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT
    while not holds():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A router on which all is well."""
    with Lab.build(stbs=2, media_servers=1, helper="pinhole") as lab:
        lab.router.nftrtsp("apply", "--yes")
        with helper(lab):
            yield lab


def speak(lab: Lab, stb: Any) -> None:
    opened = stb.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with opened:
        opened.sendto(b"hello", ("192.168.1.1", 9))


def ask(lab: Lab) -> tuple[dict[str, Any], list[dict[str, Any]], int]:
    """Return doctor's verdict, what was not ok, and the exit code.

    The boxes speak to their router first, so that it knows them: neighbours of all namespaces share one
    table, and the kernel forgets some where others, maybe another test's, are more than gc_thresh1.
    """
    for stb in lab.stbs:
        speak(lab, stb)
    run = lab.router.nftrtsp("doctor", "--json", check=False)
    assert run.stderr == ""
    verdict, *findings = [json.loads(line) for line in run.stdout.splitlines()]
    return verdict, [finding for finding in findings if finding["state"] != "ok"], run.returncode


def test_on_a_healthy_router_nothing_is_found(lab: Lab) -> None:
    verdict, findings, code = ask(lab)
    assert findings == []
    assert (verdict["works"], code) == (True, 0)
    shown = lab.router.nftrtsp("doctor").stdout.splitlines()
    assert shown[0] == "VoD should work here: nothing found that stops a film, none plays now"
    assert "ok       helper        the pinhole helper runs" in "\n".join(shown)


def _command(*words: str) -> Callable[[Lab], object]:
    return lambda lab: lab.router.run(list(words))


_OTHER = """table inet other {
  chain forward {
    type filter hook forward priority 10; policy accept;
    iifname "vlan2" drop
  }
}
"""

#: fault -> what makes it, what mends it, the check that finds it, words of its text
FAULTS: dict[str, tuple[Callable[[Lab], object], Callable[[Lab], object], str, str]] = {
    "strict reverse path filter": (
        lambda lab: lab.router.set_sysctl("net/ipv4/conf/vlan2/rp_filter", 1),
        lambda lab: lab.router.set_sysctl("net/ipv4/conf/vlan2/rp_filter", 0),
        "rp_filter",
        "dropped before any rule",
    ),
    "forwarding off": (
        lambda lab: lab.router.set_sysctl("net/ipv4/ip_forward", 0),
        lambda lab: lab.router.set_sysctl("net/ipv4/ip_forward", 1),
        "ip_forward",
        "net.ipv4.ip_forward is 0",
    ),
    "no route to the servers": (
        _command("ip", "route", "del", "172.26.80.0/21"),
        _command("ip", "route", "add", "172.26.80.0/21", "via", "10.128.0.1"),
        "route",
        "no route to the servers in 172.26.80.0/21",
    ),
    "ruleset absent": (
        _command("nft", "delete", "table", "inet", "nftrtsp"),
        lambda lab: lab.router.nftrtsp("apply", "--yes"),
        "ruleset",
        "not loaded",
    ),
    "another table drops": (
        lambda lab: lab.router.run(["nft", "-f", "-"], input=_OTHER),
        _command("nft", "delete", "table", "inet", "other"),
        "other rules",
        "chain inet other forward drops",
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_found_and_is_the_verdict_until_it_is_mended(lab: Lab, fault: str) -> None:
    make, mend, check, text = FAULTS[fault]
    make(lab)
    try:
        verdict, findings, code = ask(lab)
    finally:
        mend(lab)
    assert [finding["check"] for finding in findings] == [check]
    assert text in findings[0]["text"]
    assert findings[0]["state"] == "fault"
    assert (verdict["works"], code) == (False, 1)
    assert verdict["verdict"] == f"VoD does not work here: {findings[0]['text']}; {findings[0]['remedy']}"
    assert ask(lab)[1] == []


def test_an_interface_that_is_down_is_the_first_cause_of_what_follows(lab: Lab) -> None:
    lab.router.run(["ip", "link", "set", "vlan2", "down"])
    try:
        verdict, findings, _ = ask(lab)
    finally:
        lab.router.run(["ip", "link", "set", "vlan2", "up"])
        for network in ("172.26.80.0/21", "172.26.23.0/27"):  # the kernel took them away
            lab.router.run(["ip", "route", "add", network, "via", "10.128.0.1"])
    assert verdict["verdict"].startswith("VoD does not work here: the IPTV interface vlan2 is down; ")
    assert {finding["check"] for finding in findings} == {"interface", "route"}
    wait_for(lambda: ask(lab)[1] == [])


def test_a_rule_that_somebody_took_out_is_a_warning(lab: Lab) -> None:
    listing = lab.router.run(["nft", "-a", "list", "chain", "inet", "nftrtsp", "input"]).stdout
    (line,) = [line for line in listing.splitlines() if "nftrtsp:input-icmp" in line]
    handle = line.rpartition("handle ")[2]
    lab.router.run(["nft", "delete", "rule", "inet", "nftrtsp", "input", "handle", handle])
    try:
        verdict, findings, code = ask(lab)
    finally:
        lab.router.nftrtsp("apply", "--yes")
    assert [(f["check"], f["state"]) for f in findings] == [("ruleset", "warning")]
    assert "in 1 place" in findings[0]["text"]
    assert (verdict["works"], code) == (True, 0)
    assert "with 1 warning below" in verdict["verdict"]


def test_sysctls_of_conntrack_are_warnings(lab: Lab) -> None:
    for name in ("events", "acct"):
        assert lab.router.set_sysctl(f"net/netfilter/nf_conntrack_{name}", 0)
    try:
        _, findings, code = ask(lab)
    finally:
        for name in ("events", "acct"):
            lab.router.set_sysctl(f"net/netfilter/nf_conntrack_{name}", 1)
    assert [(f["check"], f["state"]) for f in findings] == [("accounting", "warning")] * 2
    assert code == 0


def test_a_film_that_plays_is_named(lab: Lab) -> None:
    stb = lab.stbs[0]
    element = f"{{ 27336 timeout 1h : {stb.address} . 27336 }}"
    lab.router.run(["nft", f"add element inet nftrtsp pinholes {element}"])
    far = lab.isp.call(lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    with far:
        far.bind((lab.media_servers[0], 48440))
        far.sendto(b"film", ("10.214.0.2", 27336))
        wait_for(lambda: ask(lab)[0]["verdict"] == f"VoD works here: a film plays at {stb.title}")
    lab.router.run(["conntrack", "-F"])
    lab.router.run(["nft", "flush", "map", "inet", "nftrtsp", "pinholes"])


def test_a_helper_that_does_not_run_is_the_verdict() -> None:
    with Lab.build(stbs=1, media_servers=1, helper="pinhole") as lab:
        speak(lab, lab.stbs[0])
        lab.router.nftrtsp("apply", "--yes")
        verdict, findings, _ = ask(lab)
        assert [f["check"] for f in findings] == ["helper"]
        assert "the pinhole helper does not run" in verdict["verdict"]
        with helper(lab):
            assert ask(lab)[1] == []
            # The config now wants the other kind: what runs and what is loaded do not.
            lab.write_config(helper="userspace")
            verdict, findings, _ = ask(lab)
            assert [f["check"] for f in findings] == ["ruleset", "helper"]
            assert "of the pinhole form, but the helper is userspace" in verdict["verdict"]


def test_a_helper_that_is_stuck_is_told_from_one_that_does_not_run() -> None:
    with Lab.build(stbs=1, media_servers=1, helper="pinhole") as lab:
        speak(lab, lab.stbs[0])
        lab.router.nftrtsp("apply", "--yes")
        with helper(lab) as process:
            process.send_signal(signal.SIGSTOP)
            try:
                verdict, findings, _ = ask(lab)
            finally:
                process.send_signal(signal.SIGCONT)
        assert [f["check"] for f in findings] == ["helper"]
        assert "the pinhole helper is there but does not answer" in verdict["verdict"]


def test_two_that_want_one_port_are_both_named() -> None:
    with Lab.build(stbs=2, media_servers=1, helper="pinhole") as lab:
        lab.router.nftrtsp("apply", "--yes")
        boxes = lab.stbs
        with helper(lab), lab.isp.call(lambda: socket.create_server((lab.rtsp_server, 554))) as server:
            asking = []
            for number, box in enumerate(boxes, 1):
                asking.append(box.call(lambda: socket.create_connection((lab.rtsp_server, 554))))
                asking.append(server.accept()[0])
                asking[-2].sendall(
                    b"SETUP rtsp://s/film RTSP/1.0\r\nCSeq: 1\r\n"
                    b"Transport: MP2T/H2221/UDP;unicast;client_port=27400\r\n\r\n"
                )
                count = "opened" if number == 1 else "refused"
                wait_for(partial(counted, lab, count))
            (told,) = [finding["text"] for finding in ask(lab)[1] if finding["check"] == "requests"]
            for opened in asking:
                opened.close()
    first, second = (f"{box.title} ({box.address})" for box in boxes)
    assert f"the last to {second}: port 27400 is in use by {first}, which asked first" in told


def test_a_connection_older_than_the_ruleset_has_no_helper() -> None:
    with Lab.build(stbs=1, media_servers=1, helper="userspace") as lab:
        # Conntrack works from the first rule that asks it; this one is there before ours.
        lab.router.run(
            ["nft", "-f", "-"],
            input="table ip nat {\n chain c {\n  type nat hook postrouting priority 100;\n"
            '  oifname "vlan2" masquerade\n }\n}\n',
        )
        listener = lab.isp.call(lambda: socket.create_server((lab.rtsp_server, 554)))
        with listener:
            near = lab.stbs[0].call(lambda: socket.create_connection((lab.rtsp_server, 554), WAIT))
            with near:
                text = lab.router.nftrtsp("generate").stdout.replace('type "rtsp"', 'type "ftp"')
                lab.router.run(["nft", "-f", "-"], input=text)
                _, findings, code = ask(lab)
    found = {finding["check"]: finding for finding in findings}
    assert "of Living room is older than the ruleset" in found["connection"]["text"]
    assert code == 1


def test_without_root_what_can_be_seen_is_said_and_the_rest_left_open(lab: Lab) -> None:
    run = lab.router.run(
        ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "nftrtsp", "doctor", "--json"],
        check=False,
    )
    if not run.stdout:
        pytest.skip("another user may not read this checkout")
    verdict, *findings = [json.loads(line) for line in run.stdout.splitlines()]
    unknown = {finding["check"] for finding in findings if finding["state"] == "unknown"}
    assert unknown == {"ruleset", "helper"}
    assert verdict["works"] is None
    assert (run.returncode, run.stderr) == (0, "")
