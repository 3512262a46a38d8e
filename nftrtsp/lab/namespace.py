"""A network namespace of a lab and what runs in it: as much of the network as players need."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from nftrtsp import netns
from nftrtsp.lab import links
from nftrtsp.lab.registry import Record

T = TypeVar("T")


class Home:
    """Where a lab lives: its directories, the environment of its programs, and the processes it started."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.id = record.id
        self.folder = Path(record.folder)
        self.config_path = self.folder / "nftrtsp.toml"
        self.state_dir = self.folder / "state"
        self.run_dir = self.folder / "run"
        self.rtsp_server = record.rtsp_servers[0]
        self.media_servers = list(record.media_servers)
        self._processes: list[subprocess.Popen[Any]] = []

    def track(self, process: subprocess.Popen[Any]) -> None:
        """Remember a child process, to end and reap it at :meth:`close`."""
        self._processes = [known for known in self._processes if known.poll() is None]
        self._processes.append(process)

    def environment(self, more: Mapping[str, str] | None = None) -> dict[str, str]:
        """Return the environment of the lab's programs: this one's, with the lab's own directories."""
        return {**os.environ, **self.variables(), **(more or {})}

    def variables(self) -> dict[str, str]:
        """Return the environment variables that make a shell one of this lab's router."""
        return {
            "NFTRTSP_CONFIG": str(self.config_path),
            "NFTRTSP_STATE_DIR": str(self.state_dir),
            "NFTRTSP_RUN_DIR": str(self.run_dir),
            "NFTRTSP_LAB": self.id,
            "PATH": f"{self.folder / 'bin'}:{os.environ.get('PATH', os.defpath)}",
        }


class Namespace:
    """One network namespace of a lab, and what runs in it."""

    def __init__(self, home: Home, name: str) -> None:
        self.home = home
        self.name = name

    def run(
        self,
        command: Sequence[str | Path],
        *,
        check: bool = True,
        capture_output: bool = True,
        text: bool = True,
        input: str | None = None,  # noqa: A002 - the name subprocess.run() has
        timeout: float | None = None,
        env: Mapping[str, str] | None = None,
    ) -> subprocess.CompletedProcess[str]:
        """Run ``command`` in this namespace, to its end, as :func:`subprocess.run` does.

        ``nftrtsp`` is the one of this Python; its config, state and run directories are the lab's. Raises
        :class:`subprocess.CalledProcessError` (``check``) and :class:`subprocess.TimeoutExpired`.
        """
        completed: subprocess.CompletedProcess[str] = subprocess.run(
            self.words(command),
            check=check,
            capture_output=capture_output,
            text=text,
            input=input,
            timeout=timeout,
            env=self.home.environment(env),
        )
        return completed

    def popen(
        self, command: Sequence[str | Path], *, env: Mapping[str, str] | None = None, **options: Any
    ) -> subprocess.Popen[Any]:
        """Start ``command`` in this namespace, as :class:`subprocess.Popen` does.

        The process id is the command's own. What still runs when the lab closes is ended then.
        """
        process: subprocess.Popen[Any] = subprocess.Popen(
            self.words(command), env=self.home.environment(env), **options
        )
        self.home.track(process)
        return process

    def call(self, function: Callable[[], T]) -> T:
        """Run a Python function in a thread that stands in this namespace; return what it returns."""
        return links.inside(self.name, function)

    def words(self, command: Sequence[str | Path]) -> list[str]:
        """Return ``command`` with the words before it that have it run here."""
        return [*netns.words(self.name), *(str(word) for word in command)]


class Host(Namespace):
    """A namespace with an address on the router's LAN: ``address``, and ``title`` as the config names it."""

    def __init__(self, home: Home, name: str, address: str, title: str) -> None:
        super().__init__(home, name)
        self.address = address
        self.title = title


def package_path() -> str:
    """Return PYTHONPATH with the place this package was imported from first."""
    own = str(Path(__file__).resolve().parents[2])
    return os.pathsep.join([own, *filter(None, [os.environ.get("PYTHONPATH")])])
