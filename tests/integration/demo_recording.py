"""Makes the recording that `nftrtsp monitor --demo` plays: an evening in the lab, in a minute and a half.

Run ``.venv/bin/python -m tests.integration.demo_recording [FILE]`` as root. Without FILE it replaces the one
in the package.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import nftrtsp.monitor
from nftrtsp.errors import LabError
from nftrtsp.lab.network import Lab

DEMO = Path(nftrtsp.monitor.__file__).parent / "demo.nftr"

_RECORDER = """
import sys
from pathlib import Path
from nftrtsp import config
from nftrtsp.monitor.reader import LiveFeed
path = Path(sys.argv[1])
feed = LiveFeed(config.load(path), path, record=Path(sys.argv[2]), router="router")
feed.start()
sys.stdin.read()
feed.stop()
"""


def record(lab: Lab, file: Path) -> subprocess.Popen[bytes]:
    """Start to record the lab's router; closing its stdin ends it."""
    command: list[str | Path] = [sys.executable, "-c", _RECORDER, lab.config_path, file]
    return lab.router.popen(command, stdin=subprocess.PIPE)


def prepare(lab: Lab) -> None:
    """Make the lab's router work: settings, ruleset, helper."""
    lab.router.set_sysctl("net/netfilter/nf_conntrack_acct", 1)
    lab.router.set_sysctl("net/netfilter/nf_conntrack_timestamp", 1)
    lab.router.nftrtsp("apply", "--yes")
    lab.router.popen_nftrtsp("helper", stderr=subprocess.DEVNULL)


def evening(lab: Lab) -> None:
    """What the family does."""
    living, bedroom, kitchen = (stb.player() for stb in lab.stbs[:3])
    time.sleep(3)
    film = living.watch(27336, mbps=6.4)
    time.sleep(8)
    silent = bedroom.watch(27400, mute=1)  # the provider answers, and the film never comes
    time.sleep(9)
    silent.teardown()
    time.sleep(3)
    second = bedroom.watch(27402, mbps=4.1)
    time.sleep(6)
    film.pause()
    time.sleep(9)
    film.play()
    time.sleep(5)
    try:
        kitchen.watch(27402, mbps=3.2)  # the bedroom has that port
    except LabError as error:
        print(f"kitchen: {error}")
    time.sleep(8)
    second.seek(600)
    time.sleep(6)
    gone = kitchen.watch(27500, mbps=3.2, stop=7)  # the media server dies
    time.sleep(16)
    gone.teardown()
    second.teardown()
    time.sleep(3)
    film.teardown()
    time.sleep(3)
    for player in (living, bedroom, kitchen):
        player.close()


def main(file: Path) -> None:
    """Build the lab, live the evening, keep the recording."""
    with Lab.build(stbs=3, media_servers=3, helper="pinhole") as lab:
        prepare(lab)
        with lab.provider():
            time.sleep(1)
            fresh = lab.folder / "demo.nftr"
            recorder = record(lab, fresh)
            evening(lab)
            assert recorder.stdin is not None
            recorder.stdin.close()
            recorder.wait(10)
            file.write_bytes(fresh.read_bytes())
    print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else DEMO)
