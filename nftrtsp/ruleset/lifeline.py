"""The way back, armed before the change and outside this process.

A shell script that needs nothing of Python: it waits, takes the lock, and loads the old ruleset with nft(8),
unless the change was confirmed meanwhile. systemd runs it where systemd runs (it outlives the SSH session and
its cgroup); elsewhere, and in other network namespaces than systemd's, a process in a session of its own.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import shutil
import signal
import subprocess
from pathlib import Path

from nftrtsp import paths
from nftrtsp.errors import StateError, UnsupportedError
from nftrtsp.ruleset import disk, lock, names, ownership, trial

LOG = "rollback.log"
_RECORD = "lifeline"
_LOCKED = "locked"  # the script's word for: do not take the lock, who starts this has it
_TOOLS = ("sh", "nft", "flock", "sleep", "cmp", "sed", "mv", "rm", "cat", "date")

_SCRIPT = """\
#!/bin/sh
# nftrtsp: back to the ruleset before, unless the change {id} was confirmed. Needs nothing of nftrtsp itself.
# usage: back.sh [SECONDS to wait | {locked}], the latter by one who holds the lock
export LC_ALL=C PATH={path}
state={state} log={log} lock={lock}
trial=$state/trial.armed
# A redirection that fails would end the shell, so it is tried out in a subshell.
(: >>"$log") 2>/dev/null || log=/dev/null
[ -z "$1" ] || [ "$1" = {locked} ] || echo armed
exec >>"$log" 2>&1 </dev/null
if [ "$1" != {locked} ]; then
  [ -z "$1" ] || sleep "$1"
  # One who holds the lock for longer than this hangs; being locked out would be worse than going on.
  (: >>"$lock") 2>/dev/null && exec 9>>"$lock" && flock -w 20 9
fi
[ "$(cat "$trial/id" 2>/dev/null)" = {id} ] || exit 0
is_back() {{ nft -s list table {table} 2>/dev/null | sed '{without_maps}' | cmp -s - "$trial/{before}"; }}
for try in 1 2 3 4 5; do
  for file in {back} {full} {plain}; do
    nft -f "$trial/$file" && is_back && break 2
  done
  echo "$(date) {id}: try $try failed"
  sleep 1
done
is_back || {{ echo "$(date) {id}: NOT back"; exit 1; }}
rm -rf "$state/trial.reverted"
mv "$trial" "$state/trial.reverted" && echo "$(date) {id}: back, with $file"
"""


def script(change: str) -> str:
    """Return the script for the change with that id. Raises UnsupportedError where a tool it needs lacks."""
    path = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/bin:/sbin:/bin".lstrip(":")
    missing = [tool for tool in _TOOLS if shutil.which(tool, path=path) is None]
    if missing:
        raise UnsupportedError(
            f"the way back needs {', '.join(missing)}",
            remedy="apt-get install nftables util-linux diffutils, or apply without --confirm-within",
        )
    return _SCRIPT.format(
        id=shlex.quote(change),
        locked=_LOCKED,
        path=shlex.quote(path),
        state=shlex.quote(str(paths.state_dir().absolute())),
        lock=shlex.quote(str((paths.state_dir() / lock.NAME).absolute())),
        log=shlex.quote(str((paths.state_dir() / LOG).absolute())),
        table=f"{names.TABLE_FAMILY} {names.TABLE_NAME}",
        before=trial.BEFORE,
        without_maps="/^\tmap /,/^\t}/d",
        back=trial.BACK,
        full=trial.FULL,
        plain=trial.PLAIN,
    )


def landmark(listing: str | None) -> str:
    """Return what the script compares to know that it is back: the listing less its maps, which are timed."""
    return re.sub(r"(?ms)^\tmap .*?^\t\}\n", "", listing or "")


def arm(folder: Path, change: str, seconds: int) -> str:
    """Start the wait of ``seconds`` for the trial in ``folder``; return how it runs, in words.

    Raises :class:`StateError` when nothing could be started: then nothing may be changed either.
    """
    how = _by_systemd(folder, change, seconds) or _by_process(folder, seconds)
    disk.write(folder / _RECORD, how)
    return how


def disarm(folder: Path) -> None:
    """End the wait of a trial that is decided. What is left over finds nothing to do."""
    kind, _, name = (disk.read(folder / _RECORD) or "").partition(" ")
    if kind == "systemd":
        subprocess.run(["systemctl", "stop", f"{name}.timer"], check=False, capture_output=True)
    elif kind == "process" and name.isdigit() and _is_waiting(int(name)):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(int(name), signal.SIGTERM)


def take(folder: Path, change: str) -> None:
    """Go the way back now, by the same script. The caller holds the lock, so it is not taken again.

    The script is written anew, not read: what lies in ``folder`` may be of a version before, or damaged.
    Raises :class:`StateError` where others than root (or this user) may have written what it loads.
    """
    ownership.require_folder(paths.state_dir(), folder)
    command = ["/bin/sh", "-c", script(change), trial.SCRIPT, _LOCKED]
    done = subprocess.run(command, check=False, cwd="/")
    if done.returncode != 0 or folder.is_dir():
        raise StateError(
            "the old ruleset could not be loaded",
            place=str(paths.state_dir() / LOG),
            remedy=f"see that file; by hand: nft -f {folder / trial.PLAIN}",
        )


def _by_systemd(folder: Path, change: str, seconds: int) -> str | None:
    """Have systemd run the script later; None where it is not PID 1, or is in another network namespace."""
    runner = shutil.which("systemd-run")
    if runner is None or not Path("/run/systemd/system").is_dir() or not _shares_namespace_with_init():
        return None
    unit = f"nftrtsp-back-{change}"
    command = [runner, "--quiet", "--collect", f"--unit={unit}", f"--on-active={seconds}s"]
    command += ["--timer-property=AccuracySec=100ms", "--description=nftrtsp: back to the ruleset before"]
    done = subprocess.run(
        [*command, "/bin/sh", str((folder / trial.SCRIPT).absolute())], check=False, capture_output=True
    )
    return f"systemd {unit}" if done.returncode == 0 else None


def _shares_namespace_with_init() -> bool:
    try:
        return Path("/proc/1/ns/net").readlink() == Path("/proc/self/ns/net").readlink()
    except OSError:
        return False


def _by_process(folder: Path, seconds: int) -> str:
    """Start the script in a session of its own; it says ``armed`` when it runs."""
    process = subprocess.Popen(
        ["/bin/sh", str((folder / trial.SCRIPT).absolute()), str(seconds)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        cwd="/",
    )
    assert process.stdout is not None  # noqa: S101 - asked for above
    with process.stdout as answers:
        if answers.readline() != b"armed\n":
            raise StateError("the way back could not be armed", remedy="apply without --confirm-within")
    process.returncode = 0  # it outlives us: Popen shall not warn that it still runs
    return f"process {process.pid}"


def _is_waiting(pid: int) -> bool:
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return trial.SCRIPT.encode() in command
