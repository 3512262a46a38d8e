"""contrib/dkms/install.sh in a copy of Debian 12: it installs, follows kernel upgrades, refuses, and undoes.

Runs on this machine, in a chroot on the bookworm image with a file system of its own laid over: the image
stays as it is, and there is no network (the packages are in the image). The module that DKMS built is handed
to the guest's tests, which load it, in ``$NFTRTSP_DKMS_OUT``.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.root

CHECKOUT = Path(__file__).parents[2]
INSTALL = "/checkout/contrib/dkms/install.sh"

# Everything is mounted in a mount namespace of the one command, and so gone when it ends.
ENTER = """
set -e
mount -t tmpfs none "$OVER"
mkdir "$OVER"/upper "$OVER"/work "$OVER"/root
mount -t overlay -o lowerdir="$IMAGE",upperdir="$OVER"/upper,workdir="$OVER"/work none "$OVER"/root
mount -t proc none "$OVER"/root/proc
mount --bind -o ro "$CHECKOUT" "$OVER"/root/checkout
mount --bind "$OUT" "$OVER"/root/results
exec chroot "$OVER"/root env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C bash -uc "$SCRIPT"
"""


class Debian:
    """A copy of Debian 12 that each :meth:`run` starts from anew."""

    def __init__(self, image: Path, over: Path, out: Path) -> None:
        self.image, self.over, self.out = image, over, out

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run bash commands in a fresh copy, with no network; ``kernel`` is the version of its kernel."""
        kernel = next(path.name for path in (self.image / "lib/modules").iterdir())
        environment = {
            "PATH": os.environ["PATH"],
            "IMAGE": str(self.image),
            "OVER": str(self.over),
            "OUT": str(self.out),
            "CHECKOUT": str(CHECKOUT),
            "SCRIPT": f"kernel={kernel} cloud={kernel.removesuffix('-amd64')}-cloud-amd64\n{script}",
        }
        return subprocess.run(
            ["unshare", "--mount", "--net", "--pid", "--fork", "--kill-child", "bash", "-c", ENTER],
            check=False,
            env=environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=600,
        )


@pytest.fixture(scope="module")
def debian(tmp_path_factory: pytest.TempPathFactory) -> Debian:
    built = subprocess.run(
        [CHECKOUT / "tests/kernel/images.sh", "bookworm"], check=True, stdout=subprocess.PIPE, text=True
    )
    out = Path(os.environ.get("NFTRTSP_DKMS_OUT") or tmp_path_factory.mktemp("out"))
    return Debian(Path(built.stdout.strip()) / "root", tmp_path_factory.mktemp("over"), out)


def test_install_upgrade_and_undo(debian: Debian) -> None:
    done = debian.run(f"""
        dpkg-query -W >/tmp/before
        {INSTALL} --ports 554,1554 || exit 11
        [ "$(modinfo -k $kernel -F version nf_conntrack_rtsp)" = 0.7+5.3-any-source ] || exit 12
        grep -qx nf_nat_rtsp /etc/modules-load.d/nftrtsp.conf || exit 13
        grep -qx 'options nf_conntrack_rtsp ports=554,1554' /etc/modprobe.d/nftrtsp.conf || exit 14
        cp /lib/modules/$kernel/updates/dkms/nf_*_rtsp.ko /results/ || exit 15

        # A kernel upgrade: DKMS is called by the new headers' package, with none of us about.
        apt-get install -qq -y linux-headers-$cloud || exit 21
        [ "$(modinfo -k $cloud -F version nf_conntrack_rtsp)" = 0.7+5.3-any-source ] || exit 22

        # A second run changes nothing that is right; without --ports the default ports are back.
        {INSTALL} || exit 31
        [ ! -e /etc/modprobe.d/nftrtsp.conf ] || exit 32

        {INSTALL} --undo || exit 41
        [ -z "$(find /lib/modules /etc /usr/local /usr/src /var/lib/dkms -name '*rtsp*' -print)" ] || exit 42
        apt-get purge -qq -y linux-headers-$cloud || exit 43
        dpkg-query -W | diff /tmp/before - || exit 44
    """)
    assert done.returncode == 0, done.stdout
    assert sorted(path.name for path in debian.out.iterdir()) == ["nf_conntrack_rtsp.ko", "nf_nat_rtsp.ko"]


def test_a_stock_package_that_was_there_is_stock_again_after_undo(debian: Debian) -> None:
    done = debian.run(f"""
        apt-get install -qq -y nat-rtsp-dkms || exit 11
        [ -z "$(modinfo -k $kernel -F version nf_conntrack_rtsp)" ] || exit 12
        {INSTALL} || exit 21
        {INSTALL} || exit 22
        [ "$(modinfo -k $kernel -F version nf_conntrack_rtsp)" = 0.7+5.3-any-source ] || exit 23
        {INSTALL} --undo || exit 31
        [ -e /lib/modules/$kernel/updates/dkms/nf_conntrack_rtsp.ko ] || exit 32
        [ -z "$(modinfo -k $kernel -F version nf_conntrack_rtsp)" ] || exit 33
    """)
    assert done.returncode == 0, done.stdout


def test_a_source_that_is_not_the_known_one_is_refused_and_nothing_is_built(debian: Debian) -> None:
    done = debian.run(f"""
        apt-get install -qq -y nat-rtsp-dkms >/dev/null || exit 11
        echo '/* another release */' >>/usr/src/nat-rtsp-0.7+5.3/nf_conntrack_rtsp.c
        {INSTALL} && exit 12
        dkms autoinstall -k $kernel
        [ -z "$(modinfo -k $kernel -F version nf_conntrack_rtsp)" ] || exit 13
    """)
    assert done.returncode == 0, done.stdout
    assert "is not the source of nat-rtsp-dkms 0.7+5.3-0.2" in done.stdout
    assert 'helper = "userspace"' in done.stdout


def test_where_debian_has_no_such_package_the_sentence_says_what_to_use(debian: Debian) -> None:
    done = debian.run(f"""
        rm -f /opt/nftrtsp/packages/nat-rtsp* /var/lib/apt/lists/*; : >/opt/nftrtsp/packages/Packages
        {INSTALL}; [ $? = 1 ] || exit 11
        [ -z "$(find /etc /usr/local -name '*rtsp*')" ] || exit 12
    """)
    assert done.returncode == 0, done.stdout
    assert "nat-rtsp-dkms is not to be had here" in done.stdout
    assert 'use helper = "userspace"' in done.stdout


@pytest.mark.parametrize("arguments", ["--ports 554,", "--ports 1,2,3,4,5,6,7,8,9", "--port 554"])
def test_arguments_that_make_no_sense_change_nothing(debian: Debian, arguments: str) -> None:
    done = debian.run(f"""
        {INSTALL} {arguments} && exit 11
        [ -z "$(find /etc /usr/local -name '*rtsp*')" ] || exit 12
    """)
    assert done.returncode == 0, done.stdout
