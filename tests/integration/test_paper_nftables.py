"""The ruleset on paper answers as the kernel does: what is asked of the one is asked of the other."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings

from nftrtsp import config
from nftrtsp.config import HelperKind
from nftrtsp.errors import KernelError
from nftrtsp.ruleset import transition
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.listing import read_table
from nftrtsp.ruleset.model import Table
from nftrtsp.ruleset.render import render
from nftrtsp.ruleset.scratch import Scratch
from tests.integration.test_diff_property import CONFIGS, Toml, valid
from tests.unit.paper_nftables import Paper
from tests.unit.paper_router import PaperNft

pytestmark = pytest.mark.root

LIST = "list table inet nftrtsp"
BEGUN = """\
table inet nftrtsp {
	counter seen {
		packets 5 bytes 6
	}
	ct helper files {
		type "ftp" protocol tcp
		l3proto ip
	}
	map pinholes {
		type inet_service : ipv4_addr . inet_service
		flags timeout
		elements = { 27336 timeout 1h comment "a, b" : 192.168.1.200 . 27336,
			27340 timeout 2h expires 30m : 192.168.1.201 . 1 }
	}
	set boxes {
		type ipv4_addr
		elements = { 192.168.1.201, 192.168.1.20, 10.0.0.1, 192.168.1.9 }
	}
	set networks {
		type ipv4_addr
		flags interval
		elements = { 192.168.1.0/24 }
	}
	chain late {
		counter drop comment "counter"
		ip saddr @boxes counter packets 4 bytes 5 accept comment "kept"
	}
	chain judge {
		comment "what passes"
		type filter hook forward priority filter - 1; policy accept;
		jump late comment "to late"
		tcp dport 21 ct helper set "files"
	}
}
"""


def _block(what: str, *lines: str) -> str:
    body = "".join(f"\t\t{line}\n" for line in lines)
    return f"table inet nftrtsp {{\n\t{what} {{\n{body}\t}}\n}}\n"


UNKNOWN_HELPER = _block("ct helper films", 'type "nobody" protocol tcp', "l3proto ip")

#: Commands to a table as begun, each a transaction.
COMMANDS = (
    "table inet nftrtsp",
    "table inet nftrtsp\ndelete table inet nftrtsp",
    f"table inet nftrtsp\ndelete table inet nftrtsp\n{BEGUN}",
    BEGUN,
    "delete table inet nowhere",
    "flush table inet nftrtsp",
    "flush chain inet nftrtsp late",
    "flush chain inet nftrtsp nowhere",
    "delete chain inet nftrtsp late",
    "delete chain inet nftrtsp judge",
    "flush chain inet nftrtsp judge\ndelete chain inet nftrtsp late",
    "delete chain inet nftrtsp nowhere",
    "delete set inet nftrtsp boxes",
    "flush chain inet nftrtsp late\ndelete set inet nftrtsp boxes",
    "delete set inet nftrtsp networks",
    "delete ct helper inet nftrtsp files",
    "flush chain inet nftrtsp judge\ndelete ct helper inet nftrtsp files",
    "delete counter inet nftrtsp seen",
    "flush set inet nftrtsp boxes\nadd element inet nftrtsp boxes { 10.0.0.2, 10.0.0.1 }",
    "flush map inet nftrtsp pinholes",
    "flush set inet nftrtsp nowhere",
    "add element inet nftrtsp boxes { 10.0.0.1 }",
    "add element inet nftrtsp boxes { 10.0.0.7, 10.0.0.8 }",
    "delete element inet nftrtsp boxes { 10.0.0.1 }",
    "delete element inet nftrtsp boxes { 10.0.0.99 }",
    "add element inet nftrtsp pinholes { 27336 : 10.0.0.1 . 4 }",
    "add element inet nftrtsp pinholes { 4000 timeout 1h : 192.168.1.200 . 4000 }",
    'add rule inet nftrtsp late counter accept comment "mine"',
    "insert rule inet nftrtsp late counter packets 7 bytes 8 accept",
    "add rule inet nftrtsp nowhere accept",
    "add rule inet nftrtsp late jump nowhere",
    "add rule inet nftrtsp late ip saddr @nowhere accept",
    'add rule inet nftrtsp late tcp dport 4 ct helper set "nowhere"',
    "add rule inet nowhere late accept",
    _block("chain judge", "type filter hook input priority filter; policy accept;"),
    _block("chain judge", "type filter hook forward priority filter - 1; policy drop;"),
    _block("chain late", "type filter hook input priority filter; policy accept;"),
    _block("chain first", "jump second") + _block("chain second", "drop"),
    "table inet nftrtsp {\n\tchain first {\n\t\tjump second\n\t}\n\tchain second {\n\t\tdrop\n\t}\n}",
    _block("set boxes", "type inet_service"),
    _block("set boxes", "type ipv4_addr", "elements = { 10.0.0.77 }"),
    _block("set pinholes", "type inet_service"),
    UNKNOWN_HELPER,
    _block("ct helper files", 'type "irc" protocol tcp', "l3proto ip"),
    _block("chain late", "counter accept") + "add rule inet nftrtsp nowhere accept\n",
    "this is no command",
)


class Two:
    """The kernel, in a scratch namespace, and the paper."""

    def __init__(self, stack: ExitStack, folder: Path) -> None:
        self.kernel = stack.enter_context(Scratch())
        self.paper = PaperNft(Paper(folder / "kernel.nft"))

    def carry_out(self, text: str) -> tuple[str, str]:
        """Return what became of it in the kernel and on paper: ``done``, or the kind of error."""
        return _outcome(lambda: self.kernel.run(text)), _outcome(lambda: self.paper.run(text))

    def listed(self, *, stateless: bool) -> tuple[Table | None, Table | None]:
        """Return what both hold now, with or without counters and elements that are timed."""
        texts = []
        for one in (self.kernel, self.paper):
            try:
                texts.append(one.run(LIST, stateless=stateless))
            except KernelError:
                texts.append("")
        kernel, paper = (_ordered(read_table(text, timed=not stateless)) for text in texts)
        return kernel, paper


def _outcome(act: Callable[[], object]) -> str:
    try:
        act()
    except KernelError as error:
        return type(error).__name__
    return "done"


def _ordered(table: Table | None) -> Table | None:
    """Return the table with its objects by name, for the kernel has an order of its own; no clocks."""
    if table is None:
        return None
    objects = tuple(
        msgspec.structs.replace(item, elements=tuple(re.sub(r" expires \S+", "", e) for e in item.elements))
        for item in sorted(table.objects, key=lambda item: (item.kind, item.name))
    )
    return msgspec.structs.replace(table, objects=objects)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    with ExitStack() as stack:
        yield Two(stack, tmp_path_factory.mktemp("paper"))


@pytest.fixture
def begun(two: Two) -> Two:
    assert two.carry_out(f"table inet nftrtsp\ndelete table inet nftrtsp\n{BEGUN}") == ("done", "done")
    return two


@pytest.mark.parametrize("stateless", [False, True], ids=["with state", "stateless"])
def test_both_list_the_same(begun: Two, stateless: bool) -> None:
    kernel, paper = begun.listed(stateless=stateless)
    assert paper is not None
    assert paper == kernel


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_ends_alike_in_both(begun: Two, command: str) -> None:
    kernel, paper = begun.carry_out(command)
    assert paper == kernel
    kernel_has, paper_has = begun.listed(stateless=False)
    assert paper_has == kernel_has


def test_errors_are_the_same_sentences(begun: Two) -> None:
    for command in (
        "delete chain inet nftrtsp late",
        "delete chain inet nftrtsp nowhere",
        "add element inet nftrtsp pinholes { 27336 : 10.0.0.1 . 4 }",
        UNKNOWN_HELPER,
        "table inet nftrtsp\nadd rule inet nftrtsp nowhere accept",
    ):
        told = []
        for one in (begun.kernel, begun.paper):
            with pytest.raises(KernelError) as caught:
                one.run(command)
            told.append((type(caught.value), str(caught.value), caught.value.errno))
        assert told[1] == told[0], command


def test_a_refused_transaction_leaves_nothing(begun: Two) -> None:
    before = begun.listed(stateless=False)
    begun.carry_out(f"flush chain inet nftrtsp late\n{LIST}\nadd rule inet nftrtsp nowhere accept")
    assert begun.listed(stateless=False) == before
    assert begun.paper.list_table() == begun.paper.list_table()


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=CONFIGS)
def test_from_any_ruleset_of_ours_to_any_other_both_arrive_at_the_same(two: Two, data: Toml) -> None:
    """From whatever the example before left there; the ways: what differs, and all of it anew.

    Both are given what the kernel lists: paper does not put a rule into the kernel's words.
    """
    assume(valid(data))
    text = render(build(config.parse(data), HelperKind.PINHOLE))
    before, _ = two.listed(stateless=True)
    with Scratch() as scratch:
        scratch.load(text)
        wanted = read_table(scratch.list_table())
    for command in (transition.transition(before, wanted), transition.replacement(wanted)):
        assert two.carry_out(command) == ("done", "done")
        kernel, paper = two.listed(stateless=True)
        assert paper == kernel
