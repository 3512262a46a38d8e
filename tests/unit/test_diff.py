"""The plan: what is added, removed, changed inside, moved; and how it reads."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from nftrtsp.ruleset import diff, review, transition
from nftrtsp.ruleset.diff import Change, Op
from nftrtsp.ruleset.model import Chain, Hook, ListedObject, Object, Rule, Table

FORWARD = Hook("filter", "forward", "filter")


def chain(*rules: str, name: str = "forward", hook: Hook | None = FORWARD) -> Chain:
    """A chain of rules written ``id: text``, or only text."""
    made = []
    for rule in rules:
        name_of, _, text = rule.rpartition(": ")
        made.append(Rule(text, f"nftrtsp:{name_of}" if name_of else ""))
    return Chain(name, tuple(made), hook)


def table(*things: Chain | Object) -> Table:
    objects = tuple(thing for thing in things if isinstance(thing, Object))
    return Table("inet", "nftrtsp", objects, tuple(thing for thing in things if isinstance(thing, Chain)))


def ops(old: Table | None, new: Table | None) -> list[tuple[str, str, str]]:
    return [(str(c.op), c.kind, c.name) for c in diff.compare(old, new).changes]


def test_the_same_is_no_plan() -> None:
    one = table(chain("a: accept", "b: drop"))
    assert not diff.compare(one, one)
    assert diff.compare(one, one).summary == "0 to add, 0 to change, 0 to remove"
    assert not diff.compare(None, None)


def test_a_rule_is_known_by_its_id_and_changed_inside() -> None:
    plan = diff.compare(table(chain("a: tcp dport 554 accept")), table(chain("a: tcp dport 555 accept")))
    (change,) = plan.changes
    assert (change.op, change.kind, change.name, change.chain) == (Op.CHANGE, "rule", "a", "forward")
    assert change.old == 'tcp dport 554 accept comment "nftrtsp:a"'
    assert plan.summary == "0 to add, 1 to change, 0 to remove"


def test_a_new_rule_in_the_middle_moves_no_other() -> None:
    plan = diff.compare(table(chain("a: x", "c: z")), table(chain("a: x", "b: y", "c: z")))
    (change,) = plan.changes
    assert (change.op, change.name, change.after) == (Op.ADD, "b", "a")


def test_the_fewest_rules_have_moved() -> None:
    old, new = chain("a: 1", "b: 2", "c: 3", "d: 4"), chain("d: 4", "a: 1", "b: 2", "c: 3")
    assert ops(table(old), table(new)) == [("move", "rule", "d")]
    assert diff.compare(table(old), table(new)).summary.endswith("1 to move")


def test_a_rule_may_move_and_change_at_once() -> None:
    old, new = chain("a: 1", "b: 2", "c: 3"), chain("c: 9", "a: 1", "b: 2")
    assert ops(table(old), table(new)) == [("move", "rule", "c"), ("change", "rule", "c")]


def test_rules_without_an_id_are_known_by_their_text() -> None:
    assert ops(table(chain("x accept")), table(chain("y accept"))) == [
        ("remove", "rule", "x accept"),
        ("add", "rule", "y accept"),
    ]


def test_a_rule_that_is_there_twice_counts_twice() -> None:
    assert ops(table(chain("drop", "drop")), table(chain("drop"))) == [("remove", "rule", "drop")]


def test_sets_are_unordered_and_differ_by_elements() -> None:
    def boxes(*elements: str) -> Object:
        return ListedObject("stbs", "set", ("type ipv4_addr",), tuple(sorted(elements)))

    assert not diff.compare(table(boxes("1.1.1.1", "2.2.2.2")), table(boxes("2.2.2.2", "1.1.1.1")))
    (change,) = diff.compare(table(boxes("1.1.1.1")), table(boxes("2.2.2.2"))).changes
    assert (change.op, change.added, change.removed) == (Op.CHANGE, ("2.2.2.2",), ("1.1.1.1",))


def test_hook_priority_and_policy_belong_to_the_chain() -> None:
    old = table(chain("a: x"))
    assert ops(old, table(chain("a: x", hook=replace(FORWARD, policy="drop")))) == [
        ("change", "chain", "forward")
    ]
    moved = chain("a: x", hook=replace(FORWARD, priority="filter - 1"))
    assert ops(old, table(moved)) == [("change", "chain", "forward")]


def test_a_table_that_is_absent_is_added_whole() -> None:
    assert ops(None, table(chain("a: x"))) == [
        ("add", "table", "inet nftrtsp"),
        ("add", "chain", "forward"),
        ("add", "rule", "a"),
    ]
    assert ops(table(chain("a: x")), None)[0] == ("remove", "table", "inet nftrtsp")


def test_json_leaves_out_what_does_not_apply() -> None:
    (change,) = diff.compare(table(chain("drop")), table(chain())).changes
    assert msgspec.json.decode(msgspec.json.encode(change)) == {
        "op": "remove",
        "kind": "rule",
        "name": "drop",
        "chain": "forward",
        "old": "drop",
    }
    assert msgspec.json.decode(msgspec.json.encode(change), type=Change) == change


def test_it_reads_like_a_review() -> None:
    old = table(chain("a: tcp dport 554 accept", "b: drop", "c: 3"))
    new = table(chain("a: tcp dport { 554, 1554 } accept", "c: 3", "n: counter"))
    text = "\n".join(review.plain(line) for line in review.review(diff.compare(old, new)))
    assert text.splitlines() == [
        "    chain forward",
        "-     b: drop",
        "~     a:",
        "-       tcp dport 554 accept",
        "+       tcp dport { 554, 1554 } accept",
        "                  ^    ^^^^^^^^",
        "+     n: counter   (after c)",
    ]


def test_a_transition_mentions_only_what_differs() -> None:
    boxes = ListedObject("stbs", "set", ("type ipv4_addr",), ("1.1.1.1",))
    more = ListedObject("stbs", "set", ("type ipv4_addr",), ("1.1.1.1", "1.1.1.2"))
    same = chain("a: ip saddr @stbs accept", name="other", hook=None)
    old, new = table(boxes, same, chain("b: drop")), table(more, same, chain("b: accept"))
    commands = transition.transition(old, new)
    assert "other" not in commands
    assert commands.splitlines() == [
        "flush chain inet nftrtsp forward",
        "table inet nftrtsp {",
        "}",
        "flush set inet nftrtsp stbs",
        "add element inet nftrtsp stbs { 1.1.1.1, 1.1.1.2 }",
        'add rule inet nftrtsp forward accept comment "nftrtsp:b"',
    ]


def test_who_refers_to_a_chain_that_is_made_anew_lets_go_of_it_first() -> None:
    def with_comment(text: str) -> Table:
        return table(
            Chain("inner", (Rule("accept"),), comment=text),
            chain("a: jump inner"),
            chain("b: drop", name="x"),
        )

    lines = transition.transition(with_comment('comment "1"'), with_comment('comment "2"')).splitlines()
    assert lines.index("flush chain inet nftrtsp forward") < lines.index("delete chain inet nftrtsp inner")
    assert 'add rule inet nftrtsp forward jump inner comment "nftrtsp:a"' in lines


def test_counters_go_along_with_rules_that_stay() -> None:
    old, new = table(chain("a: counter accept", "b: counter drop")), table(chain("b: counter drop"))
    counted = table(chain("a: counter packets 3 bytes 9 accept", "b: counter packets 5 bytes 20 drop"))
    commands = transition.transition(old, new, counted)
    assert 'add rule inet nftrtsp forward counter packets 5 bytes 20 drop comment "nftrtsp:b"' in commands
    assert "packets 3" not in commands
