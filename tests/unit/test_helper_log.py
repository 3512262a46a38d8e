"""What the helper's log gets of what others cause, and with which priority."""

from __future__ import annotations

import os
import subprocess
import sys
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from nftrtsp import config as configuration
from nftrtsp.helper.note import NOTES
from nftrtsp.helper.service import Service

ROOT = Path(__file__).parents[2]
CONFIG = configuration.parse(
    {"iptv": {"interface": "lo"}, "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]}}
)
KINDS = {
    "response": {"server": "172.26.83.10:554", "status": 404, "reason": "Not Found"},
    "way-open": {"port": 27336},
    "way-closed": {"port": 27336, "reason": "TEARDOWN"},
    "way-refused": {"port": 80, "reason": "port 80 is below 1024"},
    "garbage": {"server": "172.26.83.10:554", "reason": "no head"},
    "rewrite": {"reason": "27336 to 27338"},
    "overrun": {"reason": "NFQUEUE"},
}


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Service:
    monkeypatch.setenv("NFTRTSP_RUN_DIR", str(tmp_path))
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    return Service(CONFIG, "pinhole", "a test", list)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("askers", [1, 20000])
def test_a_flood_of_any_kind_fills_no_log(
    service: Service, capfd: pytest.CaptureFixture[str], kind: str, askers: int
) -> None:
    count = 20000 if kind == "response" else 2000
    first = int(IPv4Address("192.168.0.0"))
    with service:
        for number in range(count):
            stb = str(IPv4Address(first + number % askers))
            service.tell(NOTES[kind](stb=stb, **KINDS[kind]))  # type: ignore[arg-type]
    said = capfd.readouterr().err.splitlines()
    assert len(said) <= 150
    assert "lines of the last" in said[-1]
    assert "were left out of the log" in said[-1]
    left_out = int(said[-1].split()[3].replace(",", ""))
    assert left_out + len(said) - 1 == count


PROGRAM = """
import os, sys
from nftrtsp.helper.note import Answered, WayOpen, WayRefused
from nftrtsp.helper.service import Service
from tests.unit.test_helper_log import CONFIG
there = os.fstat(2)
if sys.argv[1] == "journal":
    os.environ["JOURNAL_STREAM"] = f"{there.st_dev}:{there.st_ino}"
with Service(CONFIG, "pinhole", "a test", list) as service:
    service.say("took over 1 port")
    service.warn("the pinhole map cannot be listed")
    service.tell(WayOpen(stb="192.168.1.200", port=27336))
    service.tell(WayRefused(stb="192.168.1.200", port=80, reason="port 80 is below 1024"))
    service.tell(Answered(stb="192.168.1.200", server="s", status=404, reason="Not Found"))
"""


def run(tmp_path: Path, words: list[str], **environment: str) -> list[str]:
    done = subprocess.run(
        [sys.executable, *words],
        env={**os.environ, "NFTRTSP_RUN_DIR": str(tmp_path), "PYTHONPATH": str(ROOT), **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr.splitlines()


def test_the_journal_gets_priorities_and_no_name_that_it_has_already(tmp_path: Path) -> None:
    assert run(tmp_path, ["-c", PROGRAM, "journal"]) == [
        "<6>took over 1 port",
        "<4>the pinhole map cannot be listed",
        "<6>192.168.1.200: UDP port 27336 is open",
        "<4>192.168.1.200: refused: port 80 is below 1024",
        "<5>192.168.1.200: s answered 404 Not Found",
    ]


def test_people_get_words(tmp_path: Path) -> None:
    assert run(tmp_path, ["-c", PROGRAM, "terminal"]) == [
        "nftrtsp helper: took over 1 port",
        "nftrtsp helper: warning: the pinhole map cannot be listed",
        "nftrtsp helper: 192.168.1.200: UDP port 27336 is open",
        "nftrtsp helper: warning: 192.168.1.200: refused: port 80 is below 1024",
        "nftrtsp helper: 192.168.1.200: s answered 404 Not Found",
    ]


def test_a_stream_that_is_another_s_is_not_taken_for_the_journal(tmp_path: Path) -> None:
    """As for what a service starts, with its environment and a standard error of its own."""
    said = run(tmp_path, ["-c", PROGRAM, "terminal"], JOURNAL_STREAM="1:1")
    assert said[0] == "nftrtsp helper: took over 1 port"


def test_what_ends_a_service_is_an_error_to_the_journal(tmp_path: Path) -> None:
    program = (
        "import os, sys; there = os.fstat(2)\n"
        "os.environ['JOURNAL_STREAM'] = f'{there.st_dev}:{there.st_ino}'\n"
        f"sys.argv = ['nftrtsp-helper', '-c', {str(tmp_path / 'absent')!r}]\n"
        "from nftrtsp.cli.daemon import main; main()"
    )
    (said,) = run(tmp_path, ["-c", program])
    assert said.startswith("<3>")
    assert "absent: there is no such file" in said
