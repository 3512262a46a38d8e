"""The helper as its service runs it: not root, with CAP_NET_ADMIN alone, in a run directory of its own."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest

from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab

pytestmark = pytest.mark.root

USER = 65533
AS_SERVICE = [
    *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "--no-new-privs"),
    *("--inh-caps=-all,+net_admin", "--ambient-caps=-all,+net_admin", "--bounding-set=-all,+net_admin"),
]
HELPER = [sys.executable, "-c", "from nftrtsp.cli.daemon import main; main()"]


def may_run_it() -> bool:
    """Whether that user may read this checkout: one below /root it may not."""
    words = [*AS_SERVICE, sys.executable, "-c", "import nftrtsp.cli.daemon"]
    return subprocess.run(words, check=False, capture_output=True, cwd="/").returncode == 0


def test_films_come_with_a_helper_that_is_not_root() -> None:
    if not may_run_it():
        pytest.skip("a user that is not root may not read this checkout")
    with Lab.build(stbs=1, helper="pinhole") as lab, lab.provider():
        lab.state_dir.chmod(0o700)
        os.chown(lab.run_dir, USER, USER)
        lab.router.nftrtsp("apply", "--yes")
        process = lab.router.popen([*AS_SERVICE, *HELPER, "-c", str(lab.config_path)])
        end = time.monotonic() + 10 * registry.patience()
        while not (lab.run_dir / "helper.sock").exists():
            assert process.poll() is None
            assert time.monotonic() < end, "the helper does not publish"
            time.sleep(0.05)
        with lab.stbs[0].player() as player:
            film = player.watch(27336)
            film.wait(20)
            film.teardown()
        made = {
            path.name: path.stat().st_uid for path in lab.run_dir.iterdir() if path.name.startswith("helper")
        }
        assert made == dict.fromkeys(("helper.lock", "helper.pid", "helper.sock"), USER)
        process.terminate()
        assert process.wait(10 * registry.patience()) == 0
