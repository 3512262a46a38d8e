"""Listings of nft, of 1.0.6 and of later ones, read into values."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nftrtsp.errors import MalformedError
from nftrtsp.ruleset import transition
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.listing import read_table, stateless
from nftrtsp.ruleset.model import Hook, Table
from nftrtsp.ruleset.render import block
from tests.unit import goldens

LISTING = """\
table ip other {
	chain forward {
		type filter hook forward priority filter; policy drop;
	}
}
table inet nftrtsp {
	comment "ours"
	ct helper rtsp {
		type "rtsp" protocol tcp
		l3proto ip
	}

	ct timeout pause {
		protocol udp
		l3proto ip
		policy = { unreplied : 3600, replied : 3600 }
	}

	set stbs {
		type ipv4_addr
		elements = { 192.168.1.200, 192.168.1.201,
				192.168.1.202 comment "a, } box",
				192.168.1.203 }
	}

	map pinholes {
		type inet_service : ipv4_addr . inet_service
		size 65535	# count 1
		flags timeout
		elements = { 27336 timeout 1h expires 30m5s : 192.168.1.200 . 27336 }
	}

	chain to-iptv { # handle 7
		counter packets 1 bytes 2 accept comment "nftrtsp:to-iptv-lan" # handle 12
	}

	chain forward {
		comment "why"
		type filter hook forward priority filter - 1; policy accept;
		iifname "vlan2" ct state vmap { established : accept, new : drop } comment "nftrtsp:a"
		log prefix "x" accept
	}
}
"""


def test_a_listing_is_read_whole() -> None:
    table = read_table(LISTING)
    assert table is not None
    assert table.extra == ('comment "ours"',)
    assert [(item.kind, item.name) for item in table.objects] == [
        ("ct helper", "rtsp"),
        ("ct timeout", "pause"),
        ("set", "stbs"),
        ("map", "pinholes"),
    ]
    boxes = table.object("stbs")
    assert boxes is not None
    assert boxes.elements == (
        "192.168.1.200",
        "192.168.1.201",
        '192.168.1.202 comment "a, } box"',
        "192.168.1.203",
    )
    forward = table.chain("forward")
    assert forward is not None
    assert forward.hook == Hook("filter", "forward", "filter - 1", "accept")
    assert forward.comment == 'comment "why"'
    assert [rule.id for rule in forward.rules] == ["a", 'log prefix "x" accept']


def test_elements_that_come_and_go_are_no_part_of_it_unless_asked_for() -> None:
    table, kept = read_table(LISTING), read_table(LISTING, timed=True)
    assert table is not None
    assert kept is not None
    pinholes, with_elements = table.object("pinholes"), kept.object("pinholes")
    assert pinholes is not None
    assert with_elements is not None
    assert (pinholes.timed, pinholes.elements) == (True, ())
    assert with_elements.elements == ("27336 timeout 1h expires 30m5s : 192.168.1.200 . 27336",)
    assert pinholes.body == (
        "type inet_service : ipv4_addr . inet_service",
        "size 65535",
        "flags timeout",
    )


def test_handles_are_no_part_of_it() -> None:
    table = read_table(LISTING)
    assert table is not None
    chain = table.chain("to-iptv")
    assert chain is not None
    assert chain.rules[0].comment == "nftrtsp:to-iptv-lan"
    assert "handle" not in chain.rules[0].text


def test_no_table_of_ours_is_none() -> None:
    assert read_table(None) is None
    assert read_table("") is None
    assert read_table("table ip nftrtsp {\n}\n") is None


@pytest.mark.parametrize("cut", [200, 400, 700, len(LISTING) - 3])
def test_a_listing_that_was_cut_off_is_malformed(cut: int) -> None:
    with pytest.raises(MalformedError):
        read_table(LISTING[:cut].removesuffix("}\n"))


@given(st.text(alphabet='ab \t\n{},"#', max_size=300))
def test_garbage_is_read_or_malformed_and_nothing_else(text: str) -> None:
    with suppress(MalformedError):
        read_table(f"table inet nftrtsp {{\n{text}\n}}\n")


def test_what_is_read_is_written_again() -> None:
    table = read_table(LISTING, timed=True)
    commands = transition.replacement(table)
    assert (
        read_table(commands.replace("table inet nftrtsp\ndelete table inet nftrtsp\n", ""), timed=True)
        == table
    )


@pytest.mark.parametrize(
    ("text", "bare"),
    [
        ("tcp dport 554 counter packets 12 bytes 345 accept", "tcp dport 554 counter accept"),
        ("quota over 25 mbytes used 3 mbytes drop", "quota over 25 mbytes drop"),
        ("counter accept", "counter accept"),
    ],
)
def test_state_is_not_part_of_a_rule(text: str, bare: str) -> None:
    assert stateless(text) == bare


@pytest.mark.parametrize("path", sorted(goldens.goldens()), ids=lambda path: path.name)
def test_what_is_built_and_what_is_read_are_values_of_one_kind(path: Path) -> None:
    profile, _, form = path.name.partition(".")
    built = build(goldens.example(profile), goldens.FORMS[f".{form}"])
    read = read_table("\n".join(block(built, built.objects, built.chains)))
    assert read is not None

    def told(table: Table) -> list[object]:
        objects = [(item.definition, item.timed, sorted(item.elements)) for item in table.objects]
        chains = [(chain.name, chain.hook, [rule.line for rule in chain.rules]) for chain in table.chains]
        return [*objects, *chains, list(table.rules())]

    assert told(read) == told(built)
