"""A router of today: its ruleset is applied first, and the helper is started when that is done."""

from __future__ import annotations

from nftrtsp.lab.network import Lab
from tests.bench.userspace_guest import forget_helper

from .rig import Client, Rig, Server, setup


def test_a_ruleset_for_the_userspace_helper_loads_before_that_has_ever_run() -> None:
    forget_helper()
    with Lab.build(stbs=1) as lab:
        rig = Rig(lab)
        rig.configure()
        assert "`nftrtsp apply` registers it" in lab.router.nftrtsp("diff", check=False).stderr
        applied = lab.router.nftrtsp("apply", "--yes")
        assert "no `nftrtsp helper` runs here yet" in " ".join(applied.stderr.split())
        assert lab.router.nftrtsp("diff").returncode == 0
        server = Server(lab)
        box = Client(lab)
        assert box.ask(setup("27336"))[""] == "RTSP/1.0 200 OK", "until then nothing is in the way of RTSP"
        rig.start()
        box.ask(setup("27400", 2))
        assert [way["tuple"]["dport"] for way in rig.ways()] == [27400]
        assert len(rig.expectations()) == 1
        rig.kill(15)
        server.close()


def test_it_loads_at_boot_before_the_helper_is_there() -> None:
    with Lab.build(stbs=1) as lab:
        rig = Rig(lab)
        rig.configure()
        lab.router.nftrtsp("apply", "--yes")
        lab.router.run(["nft", "flush", "ruleset"])
        forget_helper()
        done = lab.router.nftrtsp("restore")
        assert "loaded good.nft" in done.stdout
        assert lab.router.nftrtsp("diff").returncode == 0
