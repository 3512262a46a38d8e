"""The goldens and the command line against this machine's kernel: what is generated loads."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from nftrtsp.ruleset.scratch import Scratch
from tests.integration.stand import needs_mounts
from tests.unit import goldens

pytestmark = pytest.mark.root

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
FILES = sorted(goldens.FOLDER.glob("*.nft"), key=lambda path: path.name)


@pytest.fixture(scope="module")
def scratch() -> Iterator[Scratch]:
    with Scratch() as opened:
        yield opened


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_golden_ruleset_loads_and_loads_again(path: Path, scratch: Scratch) -> None:
    text = path.read_text()
    scratch.load(text)
    first = scratch.list_table()
    scratch.load(text)
    assert scratch.list_table() == first
    # Every rule of the file is in the kernel, by its id.
    assert first.count('comment "nftrtsp:') == text.count('comment "nftrtsp:')


def test_what_another_ruleset_left_hooked_is_gone(scratch: Scratch) -> None:
    scratch.load((goldens.FOLDER / "movistar.pinhole.nft").read_text())
    assert "hook input" in scratch.list_table()
    scratch.load((goldens.FOLDER / "freebox.nft").read_text())  # has no input chain, no pinholes
    assert "hook input" not in scratch.list_table()
    assert "pinholes" not in scratch.list_table()


def test_other_tables_are_left_alone(scratch: Scratch) -> None:
    other = "table ip filter {\n chain c {\n  type filter hook forward priority 0; policy drop;\n }\n}\n"
    scratch.run(other)
    before = scratch.run("list table ip filter")
    scratch.load((goldens.FOLDER / "movistar.nft").read_text())
    assert scratch.run("list table ip filter") == before
    scratch.run("delete table ip filter")


def check(folder: Path, *options: str, unprivileged: bool = False) -> subprocess.CompletedProcess[str]:
    config = folder / "nftrtsp.toml"
    config.write_text(
        "[iptv]\ninterface = 'vlan2'\n[lan]\ninterfaces = ['br0']\nnetworks = ['192.168.1.0/24']\n"
    )
    folder.chmod(0o755)
    command = [sys.executable, "-c", "from nftrtsp.cli import main; main()", "check", "-c", str(config)]
    become = NOBODY if unprivileged else []
    return subprocess.run(
        [*become, *command, "--elsewhere", *options],
        capture_output=True,
        text=True,
        check=False,
        env=os.environ,
    )


def test_check_says_that_the_ruleset_is_valid(tmp_path: Path) -> None:
    run = check(tmp_path, "--helper", "pinhole")
    assert (run.returncode, run.stderr) == (0, "")
    assert run.stdout == "valid on this kernel, for the pinhole helper\n"


def test_check_says_what_stood_in_for_a_helper_that_nobody_registered(tmp_path: Path) -> None:
    run = check(tmp_path, "--helper", "userspace", "--json")
    assert run.returncode == 0
    told = json.loads(run.stdout)
    assert (told["valid"], told["kind"]) == (True, "userspace")
    run = check(tmp_path, "--helper", "userspace")
    assert ("stood in for it" in run.stderr) == (told["stand_in"] is not None)


def test_check_needs_no_root_where_user_namespaces_are_allowed() -> None:
    reachable = [*NOBODY, sys.executable, "-c", "import nftrtsp"]
    if subprocess.run(reachable, capture_output=True, check=False).returncode:
        pytest.skip("another user may not read this checkout")
    with tempfile.TemporaryDirectory() as folder:  # not below pytest's own, which is root's alone
        run = check(Path(folder), "--helper", "pinhole", unprivileged=True)
    assert (run.returncode, run.stdout) == (0, "valid on this kernel, for the pinhole helper\n"), run.stderr


_AGAIN = """
import sys
from nftrtsp.ruleset.scratch import Scratch
with Scratch() as scratch:
    scratch.load(sys.stdin.read())
    listing = scratch.list_table()
    scratch.load("delete table inet nftrtsp\\n" + listing)
    assert scratch.list_table() == listing
print(listing)
"""


@needs_mounts
def test_what_the_kernel_prints_loads_again_on_a_machine_without_etc_protocols() -> None:
    # Debian's netbase has that file, and a small Debian has no netbase; a rollback must work there too.
    script = 'mount --bind /dev/null /etc/protocols && exec "$0" -c "$1"'
    run = subprocess.run(
        ["unshare", "-m", "sh", "-c", script, sys.executable, _AGAIN],
        input=(goldens.FOLDER / "movistar.nft").read_text(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "meta l4proto { 1, 58 }" in run.stdout  # so that file was away indeed
    assert "\t\tprotocol udp\n" in run.stdout
