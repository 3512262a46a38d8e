"""A router's systemd: Debian's own, in the network namespace of a lab's router, with its own PIDs."""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab

from .conftest import until

HELPER = "nftrtsp-helper"
RESTORE = "nftrtsp-restore"

USER = "nftrtsp"

_UNITS = Path("contrib/systemd").absolute()
#: The units of the version before: the helper was root, and both had the state directory.
BEFORE = Path(__file__).parent / "before"
#: `nftrtsp` and `nftrtsp-helper` as pip installs them, where the units expect them.
_COMMAND = """\
#!/usr/bin/python3
import sys
sys.path[:0] = ["/checkout", "/opt/nftrtsp/python"]
if sys.argv[0].endswith("nftrtsp-helper"):
    from nftrtsp.cli.daemon import main
else:
    from nftrtsp.cli import main
main()
"""
#: A boot with our units enabled, without what a machine starts for its devices and users: 20 s in emulation.
_BOOT = """\
mount --make-rprivate /
mountpoint -q /sys/fs/cgroup || mount -t cgroup2 cgroup2 /sys/fs/cgroup
cp -a /etc /run/etc
mount --bind /run/etc /etc
for place in /etc/nftrtsp /var/lib/nftrtsp /usr/local/bin /etc/systemd/system \
    /lib/systemd/system/{{sysinit,sockets,timers,multi-user}}.target.wants; do
  mkdir -p $place
  mount -t tmpfs tmpfs $place
done
mkdir -p /run/nftrtsp
mount --bind {state} /var/lib/nftrtsp
mount --bind {run} /run/nftrtsp
cp {config} /etc/nftrtsp/nftrtsp.toml
cat >/usr/local/bin/nftrtsp
chmod +x /usr/local/bin/nftrtsp
cp /usr/local/bin/nftrtsp /usr/local/bin/nftrtsp-helper
cp {units}/*.service /etc/systemd/system
systemd-sysusers {units}/nftrtsp.sysusers
systemctl --quiet add-wants sockets.target systemd-journald.socket
systemctl --quiet enable {helper} {restore}
exec env -i container=lab PATH=$PATH /lib/systemd/systemd --system --unit=multi-user.target </dev/null
"""


def _let_it_work() -> None:
    """Wait before asking: it would take the one processor that units start on."""
    time.sleep(0.2 * registry.patience())


class Systemd:
    """A booted systemd, whose first process is ``pid`` for us."""

    def __init__(self, pid: int) -> None:
        self._words = ["nsenter", f"--target={pid}", "--mount", "--pid", "--net"]

    def run(self, command: str, *, check: bool = True, stdin: str | None = None) -> str:
        """Run ``command`` beside systemd; return what it printed."""
        words = [*self._words, *shlex.split(command)]
        done = subprocess.run(words, check=check, capture_output=True, text=True, input=stdin)
        return done.stdout.strip()

    def show(self, unit: str = HELPER) -> dict[str, str]:
        """Return the properties of a unit, all of one moment."""
        lines = self.run(f"systemctl show {unit}").splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def has_booted(self) -> bool:
        """Whether all that a boot starts has been started."""
        _let_it_work()
        return self.run("systemctl is-system-running", check=False) in {"running", "degraded"}

    def is_active(self, unit: str = HELPER) -> bool:
        """Whether a unit runs and has said that it is ready."""
        return self.show(unit)["ActiveState"] == "active"

    def wait_for_another(self, pid: str, wait: float = 10.0) -> dict[str, str]:
        """Return the helper's properties once another process than ``pid`` is ready."""

        def another() -> dict[str, str] | None:
            _let_it_work()
            now = self.show()
            return now if now["ActiveState"] == "active" and now["MainPID"] != pid else None

        found: dict[str, str] = until(another, "it runs again", wait)
        return found

    def install(self, units: Path = _UNITS) -> None:
        """Put units in place, as an upgrade does."""
        for unit in (HELPER, RESTORE):
            self.run(f"cp {units}/{unit}.service /etc/systemd/system")
        self.run("systemctl daemon-reload")
        self.run(f"systemctl try-restart {HELPER}")

    def exposure(self, unit: str) -> float:
        """Return what systemd makes of a unit's sandbox: 0.0 safe to 10.0 none."""
        place = f"/etc/systemd/system/{unit}.service"
        told = self.run(f"systemd-analyze security --no-pager --offline=true {place}")
        (line,) = (line for line in told.splitlines() if "Overall exposure level" in line)
        return float(line.rpartition(": ")[2].split()[0])

    def journal(self) -> str:
        """Return what our units have said, and systemd of them."""
        return self.run(f"journalctl --no-pager --output=short-precise -u {HELPER} -u {RESTORE}")


@contextlib.contextmanager
def booted(lab: Lab) -> Iterator[Systemd]:
    """Boot the lab's router, our units enabled, the lab's config, state and run directories in place."""
    # Compiled, as pip leaves it: the service itself may not write where it lies.
    modules = "nftrtsp.cli.daemon, nftrtsp.helper.userspace.helper, nftrtsp.helper.pinhole.helper"
    subprocess.run([sys.executable, "-c", f"import {modules}"], check=True)
    script = _BOOT.format(
        state=lab.state_dir,
        run=lab.run_dir,
        config=lab.config_path,
        units=_UNITS,
        helper=HELPER,
        restore=RESTORE,
    )
    words = ["unshare", "--fork", "--kill-child", "--pid", "--mount-proc", "--cgroup", "bash", "-ec", script]
    process = lab.router.popen(words, stdin=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(_COMMAND.encode())
    process.stdin.close()

    def first() -> int:
        assert process.poll() is None, "the boot failed"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        at_work = children and Path(f"/proc/{children[0]}/exe").readlink().name == "systemd"
        return int(children[0]) if at_work else 0

    router = Systemd(until(first, "systemd starts"))
    try:
        until(router.has_booted, "it has booted", 30)
        yield router
    finally:
        process.kill()
        process.wait()
