"""Apply on a real kernel: what changes, what stays, and what is said."""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.stand import NFTRTSP, SECOND_BOX, Stand, config, stand

pytestmark = pytest.mark.root


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        yield built


def test_apply_asks_and_without_a_terminal_wants_yes(router: Stand) -> None:
    text = router.nftrtsp("apply", code=2)
    assert "add --yes" in text
    assert router.nft("list", "ruleset") == ""


def test_a_no_at_the_prompt_changes_nothing(router: Stand) -> None:
    shell = " ".join(f"'{word}'" for word in [*NFTRTSP, "apply"])
    done = router.run("sh", "-c", f'echo n | script -qec "{shell}" /dev/null', check=False)
    assert "Apply this?" in done.stdout
    assert router.nft("list", "ruleset") == ""


def test_diff_tells_same_from_different_by_its_exit_code(router: Stand) -> None:
    router.nftrtsp("diff", code=1)
    router.nftrtsp("apply", "--yes")
    assert router.nftrtsp("diff") == "no difference\n"
    router.nftrtsp("diff", "-c", "/nowhere.toml", code=2)


def test_nothing_to_do_touches_nothing(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    before, good = router.nft("-a", "list", "ruleset"), (router.state / "good.nft").read_bytes()
    assert "nothing to do" in router.nftrtsp("apply", "--yes")
    assert router.nft("-a", "list", "ruleset") == before
    assert (router.state / "good.nft").read_bytes() == good


def test_a_new_box_changes_one_set_and_no_rule(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    rules = re.findall(r"# handle .*", router.nft("-a", "list", "table", "inet", "nftrtsp"))
    router.config.write_text(config(more=SECOND_BOX))
    text = router.nftrtsp("apply", "--yes")
    assert "set stbs" in text
    assert "+       192.168.1.201" in text
    assert "0 to add, 1 to change, 0 to remove" in text
    assert re.findall(r"# handle .*", router.nft("-a", "list", "table", "inet", "nftrtsp")) == rules


def test_drift_is_noticed_and_mended(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    router.nft("insert rule inet nftrtsp from-iptv counter accept")
    router.nft("add element inet nftrtsp rtsp_ports { 8554 }")
    lines = [json.loads(line) for line in router.nftrtsp("diff", "--json", code=1).splitlines()]
    assert [(line["op"], line["kind"], line["name"]) for line in lines if "op" in line] == [
        ("change", "set", "rtsp_ports"),
        ("remove", "rule", "counter accept"),
    ]
    router.nftrtsp("apply", "--yes")
    router.nftrtsp("diff")


def test_counters_of_rules_that_stay_go_on(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    router.send(router.isp, "10.214.0.2", 9999, count=7)
    assert router.packets("input-drop") == 7
    router.config.write_text(config(iptv='services = ["igmp", "dhcp"]'))  # writes the chain input anew
    router.nftrtsp("apply", "--yes")
    assert router.packets("input-drop") == 7
    router.send(router.isp, "10.214.0.2", 9999, count=2)
    assert router.packets("input-drop") == 9


def test_ways_open_stay_open_through_an_apply_and_through_a_rollback(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    router.nft("add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }")
    router.config.write_text(config(rtsp="ports = [554, 1554]\nmark = '0x1/0x1'", iptv='services = ["igmp"]'))
    router.nftrtsp("apply", "--yes", "--confirm-within", "60")
    assert "27336 timeout 1h expires 59m" in router.nft("list map inet nftrtsp pinholes")
    router.nftrtsp("rollback", "--yes")
    assert "27336 timeout 1h expires 59m" in router.nft("list map inet nftrtsp pinholes")


def media_timeout(router: Stand) -> int:
    text = router.run("conntrack", "-L", "-p", "udp", "--orig-port-dst", "27336").stdout
    match = re.search(r"^udp +17 (\d+) ", text, re.M)
    assert match, text
    return int(match[1])


def test_a_film_that_plays_keeps_its_pause_timeout_through_an_apply(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    router.nft("add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }")
    router.send(router.isp, "10.214.0.2", 27336)
    assert media_timeout(router) > 3500
    router.config.write_text(config(rtsp="ports = [554, 1554]", more=SECOND_BOX, iptv='services = ["igmp"]'))
    router.nftrtsp("apply", "--yes")
    router.send(router.isp, "10.214.0.2", 27336)
    assert media_timeout(router) > 3500


@pytest.mark.parametrize(
    ("helper", "before_apply", "said", "remedy"),
    [
        ("kernel", "modprobe nf_nat_rtsp", "knows no conntrack helper of type 'rtsp'", "nftrtsp helper"),
        ("userspace", "registers it", "takes no conntrack helpers from userspace", "helper = 'pinhole'"),
    ],
)
def test_a_helper_that_this_kernel_lacks_is_stood_in_for_in_diff_and_named_by_apply(
    router: Stand, helper: str, before_apply: str, said: str, remedy: str
) -> None:
    router.nftrtsp("apply", "--yes")
    before = router.nft("-a", "list", "ruleset")
    router.config.write_text(config(helper=helper))
    told = router.nftrtsp("diff", code=1)
    assert "stood in" in told
    assert before_apply in told
    text = router.nftrtsp("apply", "--yes", code=2)
    assert said in text
    assert remedy in text
    assert router.nft("-a", "list", "ruleset") == before
    assert not list(router.state.glob("trial.*"))
    assert "nothing waits" in router.nftrtsp("status")


def test_an_absent_interface_is_named_and_nothing_changes(router: Stand) -> None:
    router.config.write_text(config().replace("vlan2", "vlan7"))
    assert "iptv.interface: this machine has no interface 'vlan7'" in router.nftrtsp("apply", "--yes", code=2)
    assert "there is no IPTV interface vlan7" in router.nftrtsp("diff", code=1)
    assert router.nft("list", "ruleset") == ""


def test_not_root_is_one_sentence(router: Stand) -> None:
    done = router.run("setpriv", "--bounding-set=-net_admin", *NFTRTSP, "apply", "--yes", check=False)
    assert done.returncode == 2
    assert done.stderr.strip() == "nftrtsp: the kernel shows its ruleset to root only; run it as root"


def test_diff_against_a_saved_ruleset_needs_no_table_in_the_kernel(router: Stand, tmp_path: Path) -> None:
    saved = tmp_path / "saved.nft"
    saved.write_text(router.run(*NFTRTSP, "generate").stdout)
    assert router.nftrtsp("diff", "--against", str(saved)) == "no difference\n"
    router.config.write_text(config(more=SECOND_BOX))
    assert "192.168.1.201" in router.nftrtsp("diff", "--against", str(saved), code=1)
    saved.write_text("table inet other {\n}\n")
    assert "holds no table inet nftrtsp" in router.nftrtsp("diff", "--against", str(saved), code=2)
    assert router.nft("list", "ruleset") == ""


def test_what_the_kernel_made_otherwise_is_put_back(router: Stand) -> None:
    """The load is made to yield another ruleset, as no config does."""
    router.nftrtsp("apply", "--yes")
    before = router.table()
    router.config.write_text(config(rtsp="ports = [554, 1554]"))
    code = (
        "from nftrtsp.ruleset import transition as t\n"
        "real = t.transition\n"
        "t.transition = lambda *a: real(*a) + 'add rule inet nftrtsp input counter\\n'\n"
        "import sys; sys.argv = ['nftrtsp', 'apply', '--yes']\n"
        "from nftrtsp.cli import main; main()\n"
    )
    done = router.run(sys.executable, "-c", code, check=False)
    assert done.returncode == 2
    assert "the old one is back" in done.stderr
    assert router.table() == before


def test_where_the_kernel_refuses_the_short_way_the_whole_table_is_loaded(router: Stand) -> None:
    """The transaction is spoilt, as no config does; timed elements and counters still go along."""
    router.nftrtsp("apply", "--yes")
    router.send(router.isp, "10.214.0.2", 9999, count=4)
    router.nft("add element inet nftrtsp pinholes { 27336 timeout 1h : 192.168.1.200 . 27336 }")
    router.config.write_text(config(rtsp="ports = [554, 1554]"))
    code = (
        "from nftrtsp.ruleset import transition as t\n"
        "real = t.transition\n"
        "t.transition = lambda *a: real(*a) + 'delete chain inet nftrtsp to-iptv\\n'\n"
        "import sys; sys.argv = ['nftrtsp', 'apply', '--yes']\n"
        "from nftrtsp.cli import main; main()\n"
    )
    router.run(sys.executable, "-c", code)
    router.nftrtsp("diff")
    assert router.packets("input-drop") == 4
    assert "27336 timeout 1h expires 59m" in router.nft("list map inet nftrtsp pinholes")


def test_remove_goes_back_to_nothing_and_boot_loads_nothing(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    router.nftrtsp("remove", code=2)
    router.nftrtsp("remove", "--yes")
    assert router.nft("list", "ruleset") == ""
    assert "none to load" in router.nftrtsp("restore")
    assert "no table of ours" in router.nftrtsp("remove", "--yes")


def test_remove_puts_back_a_table_of_our_name_that_was_there_before_us(router: Stand) -> None:
    router.nft('table inet nftrtsp { chain own { counter comment "mine"; }; }')
    before = router.table()
    router.nftrtsp("apply", "--yes")
    router.config.write_text(config(more=SECOND_BOX))
    router.nftrtsp("apply", "--yes")
    router.nftrtsp("remove", "--yes")
    assert router.table() == before


def test_open_rtsp_connections_without_a_helper_are_picked_up_again(router: Stand) -> None:
    router.nft("add table ip other; add chain ip other nat { type nat hook postrouting priority 100; }")
    router.nft('add rule ip other nat oifname "vlan2" masquerade')  # what served them before us
    server = router.popen(
        sys.executable,
        "-c",
        "import socket;s=socket.socket();s.setsockopt(1,2,1);s.bind(('',554));s.listen()\n"
        "print('up',flush=True);c,_=s.accept()\nwhile d:=c.recv(99): c.send(d)",
        inside=router.isp,
    )
    assert server.stdout is not None
    assert server.stdout.readline() == "up\n"
    client = router.popen(
        sys.executable,
        "-c",
        "import socket,sys,time;s=socket.create_connection(('10.128.0.1',554));s.send(b'a');s.recv(9);"
        "print('open',flush=True);time.sleep(1.5);s.settimeout(5);s.send(b'b');print(s.recv(9).decode())",
        inside=router.stb,
    )
    try:
        assert client.stdout is not None
        assert client.stdout.readline() == "open\n"
        router.nftrtsp("apply", "--yes")
        code = (
            "from nftrtsp import config, paths\nfrom nftrtsp.ruleset.adoption import adopt\n"
            "print(adopt(config.load(paths.config_file())))"
        )
        assert router.run(sys.executable, "-c", code).stdout == "1\n"
        assert client.stdout.read().strip() == "b"
    finally:
        for process in (client, server):
            process.kill()
            process.communicate()


def test_what_a_plan_does_to_films_that_play_is_said(router: Stand) -> None:
    router.nftrtsp("apply", "--yes")
    router.config.write_text(config(rtsp="pause = '10m'"))
    assert "note: films that play now go on" in router.nftrtsp("diff", code=1)
    router.config.write_text(config(helper="userspace"))
    assert "note: pinholes that are open now close" in router.nftrtsp("diff", code=1)


def test_status_says_where_things_stand(router: Stand) -> None:
    assert json.loads(router.nftrtsp("status", "--json"))["live"] is False
    router.nftrtsp("apply", "--yes")
    facts = json.loads(router.nftrtsp("status", "--json"))
    assert facts["config"]["same"]
    assert facts["good"]["live"]
    assert facts["last"]["by"] == "tester"
    assert abs(facts["last"]["time"] - time.time()) < 60
    router.config.write_text(config(more=SECOND_BOX))
    assert "config differs: 0 to add, 1 to change, 0 to remove" in router.nftrtsp("status")
