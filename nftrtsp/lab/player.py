"""Set-top boxes and the provider, as tests and commands drive them.

::

    with Lab.build() as lab, lab.provider() as provider, lab.stbs[0].player() as player:
        film = player.watch(port=27336)          # OPTIONS, DESCRIBE, SETUP, PLAY
        film.wait(packets=1000)
        report = film.teardown()
        assert report.packets == provider.sent(film).packets
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from nftrtsp.errors import LabError
from nftrtsp.lab import registry
from nftrtsp.lab.namespace import Home, Host, Namespace, package_path

#: What a Movistar set-top box sends; ``{port}`` is filled in.
MOVISTAR = "MP2T/H2221/UDP;unicast;client_port={port}"
RTP_PAIR = "RTP/AVP;unicast;client_port={port}-{next}"
INTERLEAVED = "RTP/AVP/TCP;unicast;interleaved=0-1"

_DRAIN = 0.3  # seconds after TEARDOWN in which datagrams still on the way arrive


@dataclass(frozen=True, slots=True)
class LabResponse:
    """An RTSP response; ``headers`` have lower-case names, ``took`` is in seconds."""

    status: int
    headers: dict[str, str]
    body: str
    took: float

    @property
    def session(self) -> str:
        """The session id, without its parameters."""
        return self.headers.get("session", "").partition(";")[0].strip()


@dataclass(frozen=True, slots=True)
class Report:
    """What a set-top box got of a film. Times in seconds after SETUP was sent, None if nothing came.

    ``lost`` are datagrams proved missing by later ones; ``foreign`` are datagrams of another's film;
    ``silent`` is how long nothing has come; ``sources`` are datagrams by ``address:port``; ``rtcp`` its RTCP.
    """

    film: int
    datagrams: int
    packets: int
    bytes: int
    lost: int
    duplicates: int
    foreign: int
    continuity_errors: int
    first: float | None
    last: float | None
    silent: float | None
    sources: dict[str, int]
    rtcp: int


@dataclass(frozen=True, slots=True)
class Sent:
    """What the provider sent of a film; ``peer`` is who it believes the set-top box to be."""

    session: str
    film: int
    peer: str
    playing: bool
    closed: bool
    datagrams: int
    packets: int
    bytes: int
    seconds: float
    sources: list[str]


class Player:
    """One set-top box program, running in its namespace. Use it as a context manager."""

    def __init__(self, stb: Host) -> None:
        self.stb = stb
        self._process = _start(stb, "nftrtsp.lab.box", stdin=subprocess.PIPE)
        self._ids = itertools.count(1)
        self._names = itertools.count(1)
        self._answers: dict[int, queue.SimpleQueue[dict[str, Any]]] = {}
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Player:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the program; its connections close with it."""
        _end(self._process)

    def kill(self) -> None:
        """End the program at once, as a box that crashes."""
        self._process.kill()
        _end(self._process)

    def tell(self, do: str, **words: Any) -> dict[str, Any]:
        """Have the box do one command; return its answer. Raises :class:`LabError` if it could not."""
        number = next(self._ids)
        answer: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        with self._lock:
            self._answers[number] = answer
            assert self._process.stdin is not None  # noqa: S101 - started with a pipe
            try:
                self._process.stdin.write(json.dumps({"id": number, "do": do, **words}) + "\n")
                self._process.stdin.flush()
            except (OSError, ValueError):
                raise LabError(f"the set-top box {self.stb.address} is not running", place="lab") from None
        try:
            result = answer.get(timeout=30 * registry.patience())
        except queue.Empty:
            result = {"error": f"it did not answer to {do}"}
        if "error" in result:
            raise LabError(f"the set-top box {self.stb.address}: {result['error']}", place="lab")
        return result

    def wait_until_ready(self) -> None:
        """Return when the program runs."""
        self.tell("ready")

    def connect(
        self, connection: str = "main", *, server: str | None = None, port: int = 554, source_port: int = 0
    ) -> int:
        """Open a control connection; return its source port."""
        server = server or self.stb.home.rtsp_server
        words = {"connection": connection, "server": server, "port": port, "source_port": source_port}
        return int(self.tell("connect", **words)["port"])

    def request(
        self,
        method: str,
        uri: str,
        headers: Mapping[str, str] | None = None,
        *,
        connection: str = "main",
        film: str = "",
        wait: float | None = None,
    ) -> LabResponse:
        """Send one RTSP request on an open connection and return the answer; ``wait`` is in seconds."""
        answer = self.tell(
            "request",
            connection=connection,
            method=method,
            uri=uri,
            headers=dict(headers or {}),
            film=film,
            wait=wait,
        )
        return LabResponse(answer["status"], answer["headers"], answer["body"], answer["took"])

    def send(
        self, data: bytes, *, pieces: list[int] | None = None, pause: float = 0.0, connection: str = "main"
    ) -> None:
        """Send raw bytes on an open connection, cut into ``pieces`` with ``pause`` seconds between them."""
        self.tell("send", connection=connection, data=data.hex(), pieces=pieces or [], pause=pause)

    def listen(self, port: int, *, rtcp_port: int | None = None, number: int | None = None) -> PlayedFilm:
        """Bind UDP ports and count what comes there, without asking anybody for it."""
        film = PlayedFilm(self, number)
        self.tell("listen", film=film.name, number=film.number, port=port, rtcp_port=rtcp_port)
        return film

    def watch(
        self,
        port: int = 27336,
        *,
        transport: str = MOVISTAR,
        connection: str | None = None,
        server: str | None = None,
        rtsp_port: int = 554,
        headers: Mapping[str, str] | None = None,
        play: bool = True,
        **behaviour: object,
    ) -> PlayedFilm:
        """Ask for a film and begin to play it: OPTIONS, DESCRIBE, SETUP and, unless told not to, PLAY.

        ``behaviour`` are fields of :class:`nftrtsp.lab.behaviour.Behaviour`. A ``connection`` must be open
        (:meth:`connect`); without one, a fresh one is opened, and closed by :meth:`Film.teardown`. The
        ``headers`` go with SETUP. Raises :class:`LabError` if the server refuses or does not answer.
        """
        film = PlayedFilm(self, None)
        film.connection = connection or f"connection of {film.name}"
        film.opens = connection is None
        if connection is None:
            self.connect(film.connection, server=server, port=rtsp_port)
        options = "&".join(f"{name.replace('_', '-')}={value}" for name, value in behaviour.items())
        host = f"{server or self.stb.home.rtsp_server}:{rtsp_port}"
        film.uri = f"rtsp://{host}/film/{film.number}" + (f"?{options}" if options else "")
        film.describe()
        film.setup(transport, port, headers or {})
        if play:
            film.play()
        return film

    def disconnect(self, connection: str = "main", *, reset: bool = False) -> None:
        """Close a control connection, with FIN or RST."""
        self.tell("close", connection=connection, reset=reset)

    def connection(self, connection: str = "main") -> tuple[bool, list[str]]:
        """Return whether a connection has ended, and the methods of what the server asked on it."""
        answer = self.tell("connection", connection=connection)
        return bool(answer["ended"]), list(answer["server_requests"])

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101 - started with a pipe
        with contextlib.suppress(ValueError):
            for line in self._process.stdout:
                answer = json.loads(line)
                waiting = self._answers.pop(answer["id"], None)
                if waiting:
                    waiting.put(answer)
        for waiting in self._answers.values():
            waiting.put({"error": "its program ended"})


class PlayedFilm:
    """One film that a set-top box asked for: a session, and what came of it."""

    def __init__(self, player: Player, number: int | None) -> None:
        self.player = player
        self.number = secrets.randbits(31) if number is None else number
        self.name = f"film {next(player._names)}"
        self.connection = "main"
        self.opens = False
        self.uri = ""
        self.session = ""
        self.setup_response: LabResponse | None = None

    def describe(self) -> LabResponse:
        """OPTIONS and DESCRIBE; follows a redirect, and uses the URI that the description names."""
        self._expect("OPTIONS", self.uri)
        answer = self.player.request("DESCRIBE", self.uri, connection=self.connection)
        if answer.status == 302:
            self.uri = answer.headers["location"]
            parts = urlsplit(self.uri)
            self.player.disconnect(self.connection)
            self.player.connect(self.connection, server=parts.hostname, port=parts.port or 554)
            answer = self._expect("DESCRIBE", self.uri)
        if answer.status != 200:
            raise LabError(f"DESCRIBE was answered with {answer.status}", place="lab")
        self.uri = answer.headers.get("content-base", self.uri)
        return answer

    def setup(self, transport: str, port: int, headers: Mapping[str, str]) -> LabResponse:
        """Listen, then SETUP; raises :class:`LabError` if it is refused."""
        text = transport.format(port=port, next=port + 1)
        words: dict[str, Any] = {"film": self.name, "number": self.number}
        if "interleaved" in text:
            words |= {"connection": self.connection, "channel": 0}
        else:
            words |= {"port": port, "rtcp_port": port + 1 if "RTP" in text and "-" in text else None}
        self.player.tell("listen", **words)
        answer = self.player.request(
            "SETUP",
            self.uri,
            {"Transport": text, **headers},
            connection=self.connection,
            film=self.name,
        )
        self.setup_response = answer
        if answer.status != 200:
            raise LabError(f"SETUP was answered with {answer.status}", place="lab")
        self.session = answer.session
        return answer

    def play(self, npt: float | None = None) -> LabResponse:
        """PLAY: begin, go on, or seek to ``npt`` seconds."""
        span = {} if npt is None else {"Range": f"npt={npt:.3f}-"}
        return self._expect("PLAY", self.uri, {"Session": self.session, **span})

    def pause(self) -> LabResponse:
        """PAUSE; the server is silent when it has answered."""
        return self._expect("PAUSE", self.uri, {"Session": self.session})

    def seek(self, npt: float) -> LabResponse:
        """PAUSE, then PLAY from ``npt`` seconds, as a set-top box does."""
        self.pause()
        return self.play(npt)

    def keep_alive(self, every: float | None = None) -> LabResponse:
        """GET_PARAMETER once, and then every so many seconds where ``every`` says so."""
        answer = self._expect("GET_PARAMETER", self.uri, {"Session": self.session})
        if every:
            words = {"uri": self.uri, "session": self.session, "every": every}
            self.player.tell("keep_alive", connection=self.connection, **words)
        return answer

    def teardown(self) -> Report:
        """TEARDOWN, let what is on the way arrive, give the port back; return the final report."""
        self._expect("TEARDOWN", self.uri, {"Session": self.session})
        time.sleep(_DRAIN * registry.patience())
        report = self.report()
        self.unlisten()
        if self.opens:
            self.player.disconnect(self.connection)
        return report

    def unlisten(self) -> None:
        """Give the UDP ports back."""
        self.player.tell("unlisten", film=self.name)

    def report(self) -> Report:
        """Return what has come so far."""
        answer = self.player.tell("report", film=self.name)
        del answer["id"]
        return Report(**answer)

    def wait(self, packets: int = 7, *, wait: float = 5.0) -> Report:
        """Return when ``packets`` TS packets more than now have come; :class:`LabError` after ``wait`` s."""
        start = self.report().packets
        end = time.monotonic() + wait * registry.patience()
        while (report := self.report()).packets < start + packets:
            if time.monotonic() > end:
                got = report.packets - start
                raise LabError(f"{got} of {packets} TS packets came within {wait:.0f} s", place="lab")
            time.sleep(0.02)
        return report

    def _expect(self, method: str, uri: str, headers: Mapping[str, str] | None = None) -> LabResponse:
        answer = self.player.request(method, uri, headers, connection=self.connection, film=self.name)
        if answer.status != 200:
            raise LabError(f"{method} was answered with {answer.status}", place="lab")
        return answer


class ProviderControl:
    """The lab's provider, running or to be started. Use it as a context manager to end it too."""

    def __init__(self, lab: Home, process: subprocess.Popen[Any] | None = None) -> None:
        self.lab = lab
        self._process = process

    @classmethod
    def start(cls, lab: Home, isp: Namespace, *, detached: bool = False) -> ProviderControl:
        """Start the provider in ``isp`` and wait until it listens; ``detached``: it outlives this process."""
        quiet = {"stderr": subprocess.DEVNULL, "stdin": subprocess.DEVNULL} if detached else {}
        process = _start(isp, "nftrtsp.lab.provider", start_new_session=detached, **quiet)
        assert process.stdout is not None  # noqa: S101 - started with a pipe
        if process.stdout.readline().strip() != "ready":
            raise LabError("the lab's provider did not start", place="lab", remedy="see above")
        return cls(lab, process)

    def __enter__(self) -> ProviderControl:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """End the provider if it was started here."""
        if self._process is not None:
            _end(self._process)

    def ask(self, do: str, **words: Any) -> dict[str, Any]:
        """Send one command to the provider's control socket and return the answer."""
        from nftrtsp.lab.provider import CONTROL_SOCKET

        with socket.socket(socket.AF_UNIX) as sock:
            sock.settimeout(10 * registry.patience())
            try:
                sock.connect(str(self.lab.folder / CONTROL_SOCKET))
                sock.sendall(json.dumps({"do": do, **words}).encode() + b"\n")
                with sock.makefile("r") as lines:
                    answer: dict[str, Any] = json.loads(lines.readline())
            except (OSError, ValueError):
                raise LabError("the lab's provider does not answer", place="lab") from None
        if "error" in answer:
            raise LabError(str(answer["error"]), place="lab")
        return answer

    def sessions(self) -> list[Sent]:
        """Return all films since the provider started, those that ended too."""
        return [Sent(**record) for record in self.ask("sessions")["sessions"]]

    def sent(self, film: PlayedFilm) -> Sent:
        """Return what was sent of ``film``."""
        for sent in self.sessions():
            if sent.session == film.session:
                return sent
        raise LabError(f"the provider knows no session {film.session!r}", place="lab")

    def requests(self) -> list[dict[str, Any]]:
        """Return the last requests as they arrived at the provider, oldest first."""
        return list(self.ask("log")["requests"])

    def behave(self, **values: object) -> None:
        """Set how films without wishes of their own are treated from now on; nothing: well-bred again."""
        self.ask("behave", values={name: str(value) for name, value in values.items()})

    def hang_up(self) -> None:
        """Cut all control connections, as a server that restarts."""
        self.ask("hang-up")

    def silence(self) -> None:
        """End all films without a word, as media servers that break down."""
        self.ask("silence")


def _start(space: Namespace, module: str, **options: Any) -> subprocess.Popen[Any]:
    return space.popen(
        [sys.executable, "-m", module],
        env={"PYTHONPATH": package_path()},
        stdout=subprocess.PIPE,
        text=True,
        # Ctrl-C is for us, who end it: while it starts, it would print a traceback. The leader of a session
        # of its own is that of a group already, and may not become one.
        process_group=None if options.get("start_new_session") else 0,
        **options,
    )


def _end(process: subprocess.Popen[Any]) -> None:
    process.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(5 * registry.patience())
    if process.poll() is None:
        process.kill()
        process.wait()
    for stream in (process.stdin, process.stdout):
        if stream is not None:
            with contextlib.suppress(OSError):
                stream.close()
