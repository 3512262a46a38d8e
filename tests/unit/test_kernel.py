"""What stands between us and nf_tables: absent, refused, or not understood; each is one sentence."""

from __future__ import annotations

import errno
import os
import random
import threading
from pathlib import Path

import pytest

from nftrtsp.errors import (
    HelperAbsentError,
    KernelError,
    NftrtspError,
    PrivilegeError,
    StateError,
    UnsupportedError,
)
from nftrtsp.ruleset import kernel, probe
from nftrtsp.ruleset.apply import want
from nftrtsp.ruleset.refusal import explain
from nftrtsp.ruleset.scratch import Scratch, canonical_listing

TEXT = """\
table inet nftrtsp {
	ct helper rtsp {
		type "rtsp" protocol tcp
	}
	chain a {
		tcp dport 554 accept
		meta l4proto udp socket transparent { 0, 1 } counter return
	}
}
"""


def test_without_libnftables_it_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LIBRARY", "libnowhere.so.9")
    with pytest.raises(UnsupportedError, match="libnftables is not installed; apt-get install libnftables1"):
        kernel.Nft()


@pytest.mark.parametrize(
    ("number", "kind", "words"),
    [
        (errno.EPERM, PrivilegeError, "root only"),
        (errno.EPROTONOSUPPORT, UnsupportedError, "this kernel has no nf_tables; modprobe nf_tables"),
        (errno.EINVAL, UnsupportedError, "this kernel has no nf_tables"),
        (errno.ENOBUFS, KernelError, "does not answer"),
    ],
)
def test_a_kernel_that_does_not_answer_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, number: int, kind: type[NftrtspError], words: str
) -> None:
    monkeypatch.setattr(probe, "_ask", lambda: number)
    with pytest.raises(kind, match=words):
        kernel.Nft()


@pytest.mark.parametrize(
    ("said", "kind", "words"),
    [
        (
            "/x:2:12-15: Error: Could not process rule: No such file or directory\n\tct helper rtsp {\n",
            HelperAbsentError,
            "ruleset line 2: the kernel knows no conntrack helper of type 'rtsp'",
        ),
        (
            "/x:7:38-55: Error: Could not process rule: No such file or directory\n",
            UnsupportedError,
            "this kernel has no nft match for sockets, which iptv.full_cone needs; load it",
        ),
        (
            "/x:6:3-5: Error: syntax error, unexpected newline\n",
            KernelError,
            "ruleset line 6: nft refuses it: syntax error, unexpected newline in `tcp dport 554 accept`",
        ),
        (
            "/x:6:3-5: Error: Could not process rule: Device or resource busy\n",
            KernelError,
            "it is in use",
        ),
        (
            "/x:6:3-5: Error: Could not process rule: Operation not supported\n",
            UnsupportedError,
            "not support",
        ),
        ("Error: Could not process rule: Operation not permitted\n", PrivilegeError, "root"),
        ("netlink: Error: cache initialization failed: Operation not permitted\n", PrivilegeError, "root"),
        ("netlink: Error: cache initialization failed: Invalid argument\n", UnsupportedError, "no nf_tables"),
        ("", KernelError, "without a word"),
        ("something else", KernelError, "something else"),
    ],
)
def test_what_libnftables_says_is_said_in_plain_words(
    said: str, kind: type[NftrtspError], words: str
) -> None:
    error = explain(said, TEXT)
    assert type(error) is kind
    assert words in str(error)


@pytest.mark.parametrize(
    ("said", "place"),
    [
        ("/x:6:3-5: Error: syntax error, unexpected newline\n", "saved.nft: line 6"),
        ("/x:7:38-55: Error: Could not process rule: No such file or directory\n", "saved.nft: line 7"),
        ("/x:2:12-15: Error: Could not process rule: No such file or directory\n", "saved.nft: line 2"),
        ("Error: syntax error, unexpected newline\n", "saved.nft"),
        ("something else", "saved.nft"),
        ("Error: Could not process rule: Operation not permitted\n", None),
        ("netlink: Error: cache initialization failed: Invalid argument\n", None),
    ],
)
def test_the_file_is_named_where_it_is_at_fault(said: str, place: str | None) -> None:
    assert explain(said, TEXT, "saved.nft").place == place


@pytest.mark.parametrize("seed", range(8))
def test_a_file_that_is_no_ruleset_is_named_and_cannot_steer_the_terminal(seed: int) -> None:
    scratch().close()  # or skip
    noise = random.Random(seed)
    text = noise.randbytes(noise.choice([1, 40, 4000])).decode("utf-8", "replace")
    for content in (text, f"\x1b[31mred\x1b]0;title\x07\n{text}", f"table inet x {{ }}\n\x1b[2J{text}"):
        with pytest.raises(NftrtspError) as caught:
            want(content, place="saved.nft")
        told = str(caught.value)
        assert told.startswith("saved.nft: ")
        assert told.isprintable()
        assert len(told) < 400
    assert "saved.nft: line 2: nft refuses it" in told
    assert "\\x1b[2J" in told


def test_a_file_without_our_table_is_named() -> None:
    scratch().close()  # or skip
    with pytest.raises(StateError, match=r"saved\.nft: the ruleset holds no table inet nftrtsp"):
        want("table inet other { }\n", place="saved.nft")


def scratch() -> Scratch:
    try:
        return Scratch()
    except PrivilegeError as error:
        pytest.skip(f"no scratch namespace here: {error}")


def test_a_scratch_namespace_says_what_the_kernel_makes_of_a_ruleset() -> None:
    with scratch() as made:
        made.load(TEXT.replace("tcp dport 554", "tcp dport { 555, 554 } counter"))
        assert "tcp dport { 554, 555 } counter accept" in made.list_table()
        assert 'type "rtsp" protocol tcp' in made.list_table()
        with pytest.raises(KernelError, match="ruleset line 6"):
            made.load(TEXT.replace("accept", "accept accept nonsense"))
        assert "accept" in made.list_table()  # nothing of a refused transaction stays, and nothing goes


def test_a_scratch_namespace_has_none_of_the_machines_rules_and_ends_with_its_block() -> None:
    with scratch() as made:
        assert made.run("list ruleset") == ""
        assert made.list_table() == ""
        pid = made._pid
        assert Path(f"/proc/{pid}/ns/net").readlink() != Path("/proc/self/ns/net").readlink()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_context_serves_its_own_thread_only() -> None:
    scratch().close()  # or skip
    caught: list[BaseException] = []
    try:
        nft = kernel.Nft()
    except PrivilegeError as error:
        pytest.skip(str(error))

    def use() -> None:
        try:
            nft.run("list tables")
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=use)
    thread.start()
    thread.join()
    nft.close()
    assert len(caught) == 1
    with pytest.raises(RuntimeError):
        nft.run("list tables")


def test_the_helper_that_is_not_registered_is_stood_in_for() -> None:
    scratch().close()  # or skip
    listing, stand_in = canonical_listing(TEXT)
    assert 'type "rtsp" protocol tcp' in listing
    assert stand_in in (None, "ftp", "irc", "sane")
