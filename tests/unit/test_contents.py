"""What our table holds, from libnftables' JSON: of 1.0.6 (1.1.3 prints it alike), and of the kernel here."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.config import HelperKind, parse
from nftrtsp.errors import MalformedError, PrivilegeError, UnsupportedError
from nftrtsp.ruleset import contents
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.contents import Contents
from nftrtsp.ruleset.kernel import Nft
from nftrtsp.ruleset.render import render
from nftrtsp.ruleset.scratch import Scratch

HEAD = '{"metainfo": {"version": "1.0.6", "release_name": "Lester Gooch #5", "json_schema_version": 1}}'
PAUSE = (
    '{"ct timeout": {"family": "inet", "name": "pause", "table": "nftrtsp", "handle": 3, "protocol": "udp", '
    '"l3proto": "ip", "policy": {"unreplied": 3600, "replied": 93630}}}'
)
PINHOLES = (
    '{"map": {"family": "inet", "name": "pinholes", "table": "nftrtsp", "type": "inet_service", "handle": 5, '
    '"map": "ipv4_addr . inet_service", "flags": ["timeout"]}}'
)


def rule(comment: str, *expr: str) -> str:
    return (
        '{"rule": {"family": "inet", "table": "nftrtsp", "chain": "c", "handle": 6, '
        f'"comment": "{comment}", "expr": [{", ".join(expr)}]}}}}'
    )


def listing(*items: str) -> str:
    return f'{{"nftables": [{", ".join((HEAD, *items))}]}}\n'


@pytest.mark.parametrize("protocol", ['"udp"', "17"], ids=["named", "without /etc/protocols"])
def test_the_timeout_of_films_is_that_of_flows_with_answers(protocol: str) -> None:
    assert contents.decode(listing(PAUSE.replace('"udp"', protocol))).film_timeout == 93630


def test_another_timeout_is_not_that_of_films() -> None:
    assert contents.decode(listing(PAUSE.replace("pause", "other"))).film_timeout is None


def test_rules_of_ours_that_count_are_known_by_their_ids() -> None:
    counter = '{"counter": {"packets": 7, "bytes": 480}}'
    held = contents.decode(
        listing(
            rule("nftrtsp:input-drop", '{"match": {}}', counter, '{"drop": null}'),
            rule("nftrtsp:pinhole", '{"dnat": {"family": "ip"}}'),
            rule("mine", counter),
            rule("nftrtsp:named", '{"counter": "films"}', '"notrack"'),
        )
    )
    assert held == Contents(packets={"input-drop": 7})


def test_maps_are_known_by_their_names() -> None:
    assert contents.decode(listing(PAUSE, PINHOLES)).maps == {"pinholes"}


@pytest.mark.parametrize("printed", ["", "{}", '{"nftables": 1}', listing(PAUSE)[:-9]])
def test_what_libnftables_does_not_print_is_malformed(printed: str) -> None:
    with pytest.raises(MalformedError):
        contents.decode(printed)


@given(st.text(alphabet='[]{},:"a1 ', max_size=200))
def test_garbage_is_read_or_malformed_and_nothing_else(text: str) -> None:
    with suppress(MalformedError):
        contents.decode(f'{{"nftables": [{text}]}}')


class _WithoutJson(Nft):
    """A libnftables that was built without JSON: it prints text whatever it is asked for."""

    def __init__(self) -> None:
        pass

    def run(self, text: str, **_: object) -> str:
        return "table inet nftrtsp {\n}\n"


def test_a_libnftables_without_json_is_one_sentence() -> None:
    with pytest.raises(UnsupportedError, match="speaks no JSON; install one"):
        contents.read(_WithoutJson())


@pytest.mark.parametrize("kind", [HelperKind.PINHOLE, HelperKind.USERSPACE])
def test_what_was_built_is_found_in_the_kernel(kind: HelperKind) -> None:
    config = parse(
        {
            "iptv": {"interface": "vlan2"},
            "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
            "rtsp": {"pause": "90m"},
        }
    )
    table = build(config, kind)
    try:
        scratch = Scratch()
    except PrivilegeError as error:
        pytest.skip(f"no scratch namespace here: {error}")
    with scratch:
        scratch.load(render(table))
        held = contents.decode(scratch.run(contents.LIST, json=True))
        assert "inet nftrtsp {" in scratch.run(contents.LIST)  # the next answer is text again
    assert held.film_timeout == 5400
    assert ("pinholes" in held.maps) == (kind is HelperKind.PINHOLE)
    assert held.packets == {rule.id: 0 for rule in table.rules().values() if rule.counter}
