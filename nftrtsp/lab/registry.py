"""Which labs are on this machine: a folder a lab, a lock that says whether its owner lives, and the broom.

Every lab has a folder below ``/run/nftrtsp-lab`` (or ``$NFTRTSP_LAB_DIR``) with its record ``lab.json``. The
process that built it holds ``flock(2)`` on ``alive`` for as long as it lives; the kernel drops the lock
however that process ends. So "may be swept away" needs no pid, and no pid that came round again can fool it.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import signal
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from nftrtsp.errors import LabError, PrivilegeError
from nftrtsp.netns import NETNS_DIR

DEFAULT_LABS_DIR = Path("/run/nftrtsp-lab")
_RECORD = "lab.json"
_LOCK = "alive"


def labs_dir() -> Path:
    """Return where the folders of labs lie: ``$NFTRTSP_LAB_DIR`` or ``/run/nftrtsp-lab``."""
    return Path(os.environ.get("NFTRTSP_LAB_DIR") or DEFAULT_LABS_DIR)


def patience() -> float:
    """Return by how much waits are stretched: ``$NFTRTSP_LAB_PATIENCE``, 1.0 without it.

    An emulated machine is three to five times slower than a real one; set 5 there.
    """
    try:
        return max(1.0, float(os.environ.get("NFTRTSP_LAB_PATIENCE", "1")))
    except ValueError:
        return 1.0


@dataclass(slots=True)
class Record:
    """What is known about one lab, as ``lab.json`` has it.

    ``namespaces`` maps each name to the (device, inode) of its ``/proc/PID/ns/net``, ``links`` to the links
    that may be in it. ``stbs`` are (name, address) pairs. A ``persistent`` lab stays when its builder ends.
    """

    id: str
    folder: str
    persistent: bool = False
    namespaces: dict[str, tuple[int, int] | None] = field(default_factory=dict)
    links: dict[str, list[str]] = field(default_factory=dict)
    router: str = ""
    isp: str = ""
    stbs: list[tuple[str, str]] = field(default_factory=list)
    rtsp_servers: list[str] = field(default_factory=list)
    media_servers: list[str] = field(default_factory=list)

    def save(self) -> None:
        """Write the record; a reader sees the old one or the new one, never half."""
        path = Path(self.folder) / _RECORD
        fresh = path.with_suffix(".new")
        fresh.write_text(json.dumps(asdict(self)))
        fresh.replace(path)


def load(lab_id: str) -> Record:
    """Return the record of the lab ``lab_id``; raises :class:`LabError` if there is none."""
    path = labs_dir() / Path(lab_id).name / _RECORD
    try:
        data: dict[str, Any] = json.loads(path.read_text())
    except (OSError, ValueError):
        raise LabError(
            f"there is no lab {lab_id!r}", place="lab", remedy="build one with `nftrtsp lab up`"
        ) from None
    data["namespaces"] = {name: tuple(ns) if ns else None for name, ns in data["namespaces"].items()}
    data["stbs"] = [(name, address) for name, address in data["stbs"]]
    return Record(**data)


def labs() -> list[Record]:
    """Return the records of all labs of this machine, dead ones too, oldest first."""
    found: list[tuple[float, Record]] = []
    for folder in labs_dir().glob("*"):
        # A lab may go, or not have its record yet, while we look.
        with contextlib.suppress(LabError, OSError):
            found.append((folder.stat().st_mtime, load(folder.name)))
    return [record for _time, record in sorted(found, key=lambda pair: pair[0])]


def create_folder(lab_id: str) -> Path:
    """Make and return the folder of a new lab."""
    folder = labs_dir() / lab_id
    why: OSError | None = None
    for _ in range(100):
        try:
            folder.mkdir(mode=0o755, parents=True)
            return folder
        except FileNotFoundError as error:  # just now the last lab took the folder of all labs with it
            why = error
        except PermissionError:
            raise PrivilegeError(
                "a lab needs network namespaces", place="lab", remedy="run it as root or with sudo"
            ) from None
        except OSError as error:
            why = error
            break
    reason = why.strerror if why else "it goes again and again"
    raise LabError(f"cannot make {folder}: {reason}", place="lab", remedy="set NFTRTSP_LAB_DIR")


def hold(folder: Path) -> int:
    """Take the lock that says *the owner of this lab lives*; return its file descriptor."""
    fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd


def wait_for_owner(folder: Path) -> None:
    """Return when the owner of the lab in ``folder`` has ended or let go."""
    with contextlib.suppress(FileNotFoundError):
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
        fcntl.flock(fd, fcntl.LOCK_EX)
        os.close(fd)


def owner_lives(folder: Path) -> bool:
    """Whether somebody holds the lab's lock."""
    try:
        fd = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(fd)
    return False


def sweep() -> list[str]:
    """Remove labs whose builder died without removing them; return their ids."""
    dead = [record for record in labs() if not record.persistent and not owner_lives(Path(record.folder))]
    for record in dead:
        remove(record)
    return [record.id for record in dead]


def remove(record: Record) -> None:
    """End what runs in the lab's namespaces, remove them and the lab's folder. Safe to repeat."""
    _end_processes(processes(record))
    for name in record.namespaces:
        _remove_namespace(name)
    shutil.rmtree(record.folder, ignore_errors=True)
    with contextlib.suppress(OSError):  # other labs are in it
        labs_dir().rmdir()


def processes(record: Record) -> list[int]:
    """Return the pids that stand in one of the lab's namespaces, but for this process."""
    inodes = set()
    for name, known in record.namespaces.items():
        with contextlib.suppress(OSError):
            now = (NETNS_DIR / name).stat()
            # A record that says otherwise is of a namespace that is gone: its number may be another's now.
            if known is None or known == (now.st_dev, now.st_ino):
                inodes.add((now.st_dev, now.st_ino))
    own = _own_namespace()
    inodes.discard(own)
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                space = (entry / "ns/net").stat()
                if (space.st_dev, space.st_ino) in inodes:
                    found.append(int(entry.name))
    return found


def _own_namespace() -> tuple[int, int]:
    space = Path("/proc/self/ns/net").stat()
    return space.st_dev, space.st_ino


def _end_processes(pids: Iterable[int]) -> None:
    """SIGTERM, a moment, SIGKILL. A pidfd names the process itself: its number cannot become another's."""
    fds = []
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            fds.append(os.pidfd_open(pid))
    for number, wait in ((signal.SIGTERM, 2.0), (signal.SIGKILL, 5.0)):
        for fd in fds:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(fd, number)
        fds = _still_running(fds, wait * patience())
    for fd in fds:
        os.close(fd)


def _still_running(fds: list[int], wait: float) -> list[int]:
    """Close and drop the pidfds whose process has ended, waiting up to ``wait`` seconds for all of them."""
    import select

    end = time.monotonic() + wait
    left = list(fds)
    while left:
        ready, _, _ = select.select(left, [], [], max(0.0, end - time.monotonic()))
        for fd in ready:
            os.close(fd)
            left.remove(fd)
        if not ready:
            break
    return left


def _remove_namespace(name: str) -> None:
    from pyroute2 import netns

    if (NETNS_DIR / name).exists():
        with contextlib.suppress(OSError):
            netns.remove(name)
