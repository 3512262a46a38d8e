"""SIGKILL at every step of an apply: it leaves the old ruleset or the new one, and unconfirmed means back.

usage (as root): python -m tests.integration.kills [COUNT]

The kills are spread evenly over the whole course of `nftrtsp apply`, which is measured again and again, in
turn with and without --confirm-within, with the watchdog's own death in every fifth. COUNT (300) are those
that found it running. Prints the counts.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from nftrtsp import netns
from tests.integration.stand import NFTRTSP, SECOND_BOX, Stand, config, stand

SECONDS = 1  # --confirm-within
RUNNING = "killed while it ran"
_PATIENCE = 60.0
_ROUND = 20  # kills between two measurements of the course
_STRIDE = 37


def course(router: Stand) -> float:
    """Return how long a whole apply takes here, in seconds."""
    begun = time.monotonic()
    router.nftrtsp("apply", "--yes", "--confirm-within", "30")
    took = time.monotonic() - begun
    router.nftrtsp("rollback", "--yes")
    return took


def killed(router: Stand, after: float, *words: str) -> bool:
    """Run apply and kill it ``after`` seconds; return whether it was still running."""
    process = subprocess.Popen(
        [*netns.words(router.name), *NFTRTSP, "apply", "--yes", *words],
        env=router.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        process.wait(after)
    except subprocess.TimeoutExpired:
        process.send_signal(signal.SIGKILL)
        process.wait()
        return True
    return False


def watchdogs(router: Stand) -> list[int]:
    """Return the processes that wait to take the way back."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                line = (folder / "cmdline").read_bytes()
            except OSError:
                continue
            if b"back.sh" in line and str(router.state).encode() in line:
                found.append(int(folder.name))
    return found


def run(count: int, folder: Path) -> Counter[str]:
    """Kill ``count`` applies; return what was found. AssertionError: a half state, or no way back."""
    found: Counter[str] = Counter()
    with stand(folder) as router:
        router.nftrtsp("apply", "--yes")
        old = router.table()
        others = router.others()
        new_config = config(
            more=SECOND_BOX, rtsp="ports = [554, 1554]\npause = '10m'", iptv="policy = 'accept'"
        )
        router.config.write_text(new_config)
        router.nftrtsp("apply", "--yes", "--confirm-within", "60")
        new = router.table()
        router.nftrtsp("rollback", "--yes")
        for number in range(3 * count):
            if found[RUNNING] >= count:
                break
            if number % _ROUND == 0:
                whole = course(router)
            # A stride prime to the count visits every place once, and no part of the course all at one time.
            after = whole * ((number * _STRIDE) % count + 0.5) / count
            trial = number % 2 == 0
            words = ("--confirm-within", str(SECONDS)) if trial else ()
            found[RUNNING if killed(router, after, *words) else "had ended before the kill"] += 1
            left = router.table()
            assert left in (old, new), f"a half state after {after:.3f} s:\n{left}"
            found["left the new ruleset" if left == new else "left the old ruleset"] += 1
            if trial:
                _expect_way_back(router, old, found, kill_it=number % 10 == 0)
            else:
                _settle(router, old, new, found)
            assert router.others() == others
            _reset(router, old)
    return found


def _expect_way_back(router: Stand, old: str, found: Counter[str], *, kill_it: bool) -> None:
    """Unconfirmed: the old ruleset comes back by itself, or with the next command if the watchdog died."""
    if kill_it:
        for pid in watchdogs(router):
            os.kill(pid, signal.SIGKILL)
            found["watchdogs killed too"] += 1
        time.sleep(SECONDS + 0.2)
        router.run(*NFTRTSP, "restore", check=False)
    end = time.monotonic() + SECONDS + _PATIENCE
    while router.table() != old or (watchdogs(router) and not kill_it):
        assert time.monotonic() < end, "unconfirmed, and not back"
        time.sleep(0.05)
    found["unconfirmed, and back"] += 1
    if (router.state / "trial.armed").exists():  # killed before the watchdog was started, or with it
        time.sleep(SECONDS)
        router.run(*NFTRTSP, "restore", check=False)
        assert not (router.state / "trial.armed").exists()
        found["pending ones settled by the next command"] += 1


def _settle(router: Stand, old: str, new: str, found: Counter[str]) -> None:
    """Not on trial: what boot would load now is the old ruleset or the new one, whole."""
    router.run("nft", "delete table inet nftrtsp")
    router.nftrtsp("restore")
    loaded = router.table()
    assert loaded in (old, new)
    found["boot loads the new one" if loaded == new else "boot loads the old one"] += 1


def _reset(router: Stand, old: str) -> None:
    """Bring back the old ruleset as the good one."""
    wanted = router.config.read_text()
    router.config.write_text(config())
    router.nftrtsp("apply", "--yes")
    assert router.table() == old
    router.config.write_text(wanted)


def main() -> None:
    """Kill as many as asked for, 300 if not said."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 300
    with tempfile.TemporaryDirectory() as folder:
        found = run(count, Path(folder))
    print(f"{count} killed applies, no half state, every unconfirmed one went back:")
    for what, number in sorted(found.items()):
        print(f"  {number:5}  {what}")


if __name__ == "__main__":
    main()
