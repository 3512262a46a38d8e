"""The provider: RTSP servers that answer set-top boxes, and have media servers of other addresses send films.

Run as ``python -m nftrtsp.lab.provider`` in the lab's ISP namespace. It answers OPTIONS, DESCRIBE, SETUP,
PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, ANNOUNCE and TEARDOWN as RFC 2326 has them, with the transports
that the profiles name. Tests and the demo ask it over the Unix socket ``provider.sock`` in the lab's folder,
one JSON object a line: ``{"do": "sessions"}``, ``{"do": "log"}``, ``{"do": "behave", "values": {…}}``,
``{"do": "hang-up"}``.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import secrets
import socket
import time
from collections import deque
from pathlib import Path
from typing import Any

from nftrtsp.lab import behaviour, dialogue, media
from nftrtsp.lab.behaviour import Behaviour
from nftrtsp.lab.dialogue import LabMessage
from nftrtsp.lab.media import Sending
from nftrtsp.lab.registry import Record
from nftrtsp.lab.transport_stream import Writer

CONTROL_SOCKET = "provider.sock"
PORTS = (554, 1554, 8554)
_PUBLIC = "OPTIONS, DESCRIBE, SETUP, PLAY, PAUSE, GET_PARAMETER, SET_PARAMETER, ANNOUNCE, TEARDOWN"
_LOGGED = 2000
_INTERLEAVED_BACKLOG = 1 << 20  # bytes that may wait in one control connection before the film pauses


class ClientConnection:
    """One control connection of a set-top box."""

    def __init__(
        self, provider: Provider, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.provider = provider
        self.reader = reader
        self.writer = writer
        self.peer: tuple[str, int] = writer.get_extra_info("peername")
        self.server: tuple[str, int] = writer.get_extra_info("sockname")
        self.films: dict[str, Sending] = {}
        self.used: dict[str, float] = {}  # session -> when it was last asked for something
        self._cseq = itertools.count(1)

    async def serve(self) -> None:
        """Answer requests until the connection ends."""
        try:
            while True:
                message = await dialogue.read(self.reader)
                if isinstance(message, LabMessage) and not message.is_response:
                    self.provider.note(self, message)
                    self.writer.write(self.answer(message))
                    await self.writer.drain()
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError, OSError):
            pass
        finally:
            for film in self.films.values():
                asyncio.get_running_loop().call_later(film.behaviour.linger, film.close)
            self.writer.close()

    def answer(self, request: LabMessage) -> bytes:
        """Return the response to ``request``, after doing what it asks."""
        try:
            number, how = behaviour.of_uri(request.uri, self.provider.behaviour)
        except ValueError:
            number, how = 0, self.provider.behaviour
        answers = {
            "OPTIONS": self._options,
            "DESCRIBE": self._describe,
            "SETUP": self._setup,
            "PLAY": self._play,
            "PAUSE": self._pause,
            "GET_PARAMETER": self._keep_alive,
            "SET_PARAMETER": self._keep_alive,
            "ANNOUNCE": self._keep_alive,
            "TEARDOWN": self._teardown,
        }
        method = answers.get(request.method)
        status, headers, body = method(request, number, how) if method else (405, {"Allow": _PUBLIC}, "")
        return dialogue.response(status, {"CSeq": str(request.cseq), **headers}, body)

    def _options(self, _request: LabMessage, _number: int, _how: Behaviour) -> Answer:
        return 200, {"Public": _PUBLIC}, ""

    def _describe(self, request: LabMessage, number: int, how: Behaviour) -> Answer:
        if how.redirect and self.server[0] == self.provider.record.rtsp_servers[0]:
            other = self.provider.record.rtsp_servers[1]
            location = request.uri.replace(self.server[0], other).replace("redirect=1", "redirect=0")
            return 302, {"Location": location}, ""
        uri = request.uri
        if how.other_uri:
            host = f"vod{number}.svc.lab:{self.server[1]}"
            uri = uri.replace(f"{self.server[0]}:{self.server[1]}", host).replace(
                "other-uri=1", "other-uri=0"
            )
        body = (
            f"v=0\r\no=- {number} 1 IN IP4 {self.server[0]}\r\ns=Film {number}\r\n"
            f"c=IN IP4 0.0.0.0\r\nt=0 0\r\na=control:{uri}\r\nm=video 0 RTP/AVP 33\r\n"
        )
        return 200, {"Content-Type": "application/sdp", "Content-Base": uri}, body

    def _setup(self, request: LabMessage, number: int, how: Behaviour) -> Answer:
        if how.setup_status != 200:
            return how.setup_status, {}, ""
        chosen = choose_transport(request.headers.get("transport", ""))
        if chosen is None:
            return 461, {}, ""
        protocol, asked = chosen
        session = secrets.token_hex(8)
        film = self._film(session, number, how, protocol, asked)
        self.films[session] = film
        self.used[session] = time.monotonic()
        self.provider.films[session] = film
        answer = dict(asked)
        if how.server_port and film.interleave is None:
            source, port = film.bind()
            answer |= {"source": source, "server_port": f"{port}-{port + 1}" if film.rtp else str(port)}
        text = ";".join(
            [protocol, *(f"{key}={value}" if value else key for key, value in answer.items() if key)]
        )
        if how.early or "x-playnow" in request.headers:
            film.play()
            film.tick()
        if how.early:
            time.sleep(0.05)  # the first datagrams are on the wire before the answer is
            film.tick()
        return 200, {"Session": f"{session};timeout={how.timeout}", "Transport": text}, ""

    def _film(
        self, session: str, number: int, how: Behaviour, protocol: str, asked: dict[str, str]
    ) -> Sending:
        ports = asked.get("client_port") or asked.get("destination", "").partition(":")[2]
        first, _, last = ports.replace("/", "-").partition("-")
        film = Sending(
            session=session,
            peer=(self.peer[0], int(first or 0)),
            servers=self.provider.media_servers(how, self.server[0]),
            behaviour=how,
            writer=Writer(number, how.mbps),
            rtp="RTP" in protocol.upper(),
            rtcp_port=int(last) if last and "RTP" in protocol.upper() else None,
        )
        if "TCP" in protocol.upper():
            channel = int(asked.get("interleaved", "0").partition("-")[0])
            film.interleave = lambda data: self._interleave(channel, data)
        return film

    def _interleave(self, channel: int, data: bytes | bytearray) -> bool:
        if self.writer.transport.get_write_buffer_size() > _INTERLEAVED_BACKLOG:
            return False
        self.writer.write(dialogue.frame(channel, data))
        return True

    def _play(self, request: LabMessage, _number: int, how: Behaviour) -> Answer:
        film = self._session(request)
        if film is None:
            return 454, {}, ""
        if how.play_status != 200:
            return how.play_status, {}, ""
        if not how.mute and how.start:
            film.play_later(how.start)
        elif not how.mute:
            film.play()
        if how.announce:
            asyncio.get_running_loop().call_later(how.announce, self._announce, request.uri, film)
        start = request.headers.get("range", "npt=0.000-")
        return 200, {"Session": film.session, "Range": start, "Scale": "1.0"}, ""

    def _announce(self, uri: str, film: Sending) -> None:
        film.pause()
        headers = {"CSeq": str(next(self._cseq)), "Session": film.session, "Notice": "2101 End-of-Stream"}
        with contextlib.suppress(OSError):
            self.writer.write(dialogue.request("ANNOUNCE", uri, headers))

    def _pause(self, request: LabMessage, _number: int, _how: Behaviour) -> Answer:
        film = self._session(request)
        if film is None:
            return 454, {}, ""
        film.pause()
        return 200, {"Session": film.session}, ""

    def _keep_alive(self, request: LabMessage, _number: int, _how: Behaviour) -> Answer:
        film = self._session(request)
        if film is None and "session" in request.headers:
            return 454, {}, ""
        return 200, {"Session": film.session} if film else {}, ""

    def _teardown(self, request: LabMessage, _number: int, _how: Behaviour) -> Answer:
        film = self._session(request)
        if film is None:
            return 454, {}, ""
        film.close()
        del self.films[film.session]
        return 200, {"Session": film.session}, ""

    def _session(self, request: LabMessage) -> Sending | None:
        session = request.headers.get("session", "").partition(";")[0].strip()
        if session in self.used:
            self.used[session] = time.monotonic()
        return self.films.get(session)

    def expire(self) -> None:
        """End the sessions that nobody has asked anything of for their timeout."""
        now = time.monotonic()
        for session, film in list(self.films.items()):
            if now - self.used[session] > film.behaviour.timeout:
                film.close()
                del self.films[session]


Answer = tuple[int, dict[str, str], str]


class Provider:
    """All RTSP and media servers of the lab, and what they did."""

    def __init__(self, record: Record) -> None:
        self.record = record
        self.behaviour = Behaviour()
        self.films: dict[str, Sending] = {}
        self.connections: set[ClientConnection] = set()
        self.requests: deque[dict[str, Any]] = deque(maxlen=_LOGGED)
        self._turn = itertools.count()

    def media_servers(self, how: Behaviour, rtsp_server: str) -> list[str]:
        """Return the addresses that send a film, the first one first."""
        if how.servers:
            return [rtsp_server if name == "rtsp" else name for name in how.servers.split(",")]
        servers = self.record.media_servers
        turn = next(self._turn) % len(servers)
        return servers[turn:] + servers[:turn]

    def note(self, connection: ClientConnection, request: LabMessage) -> None:
        """Remember a request as it arrived, for tests of what routers rewrite."""
        self.requests.append(
            {
                "time": time.time(),
                "peer": f"{connection.peer[0]}:{connection.peer[1]}",
                "server": f"{connection.server[0]}:{connection.server[1]}",
                "method": request.method,
                "uri": request.uri,
                "headers": request.headers,
            }
        )

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one control connection."""
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection = ClientConnection(self, reader, writer)
        self.connections.add(connection)
        try:
            await connection.serve()
        finally:
            self.connections.discard(connection)

    async def control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the lab's own questions."""
        with contextlib.suppress(ConnectionError, OSError):
            while line := await reader.readline():
                try:
                    answer = self.obey(json.loads(line))
                except (ValueError, KeyError, TypeError) as error:
                    answer = {"error": str(error)}
                writer.write(json.dumps(answer).encode() + b"\n")
                await writer.drain()
        writer.close()

    def obey(self, command: dict[str, Any]) -> dict[str, Any]:
        """Do one command of the control socket; return the answer. Raises ValueError."""
        match command.get("do"):
            case "sessions":
                return {"sessions": [film.record() for film in self.films.values()]}
            case "log":
                return {"requests": list(self.requests)}
            case "behave":
                self.behaviour = Behaviour().merge(command.get("values", {}))
            case "hang-up":
                for connection in self.connections:
                    connection.writer.transport.abort()
            case "silence":
                for film in self.films.values():
                    film.close()
            case _:
                raise ValueError(f"unknown command {command.get('do')!r}")
        return {}

    async def run(self) -> None:
        """Listen, send and answer, until the process ends."""
        for server in self.record.rtsp_servers:
            for port in PORTS:
                await asyncio.start_server(self.accept, server, port, backlog=1024)
        path = Path(self.record.folder) / CONTROL_SOCKET
        path.unlink(missing_ok=True)
        await asyncio.start_unix_server(self.control, path)
        expiry = asyncio.create_task(self._expire())
        print("ready", flush=True)
        await media.send(lambda: list(self.films.values()))
        await expiry

    async def _expire(self) -> None:
        while True:
            await asyncio.sleep(0.25)
            for connection in list(self.connections):
                connection.expire()


def choose_transport(header: str) -> tuple[str, dict[str, str]] | None:
    """Return the first transport of the header that the provider can do: protocol, and its parameters."""
    for choice in header.split(","):
        asked = dialogue.parameters(choice)
        protocol = asked.pop("")
        interleaved = "interleaved" in asked and "TCP" in protocol.upper()
        ports = asked.get("client_port") or asked.get("destination", "").partition(":")[2]
        first = ports.replace("/", "-").partition("-")[0]
        if interleaved or (first.isdigit() and 0 < int(first) < 65536):
            return protocol, asked
    return None


def main() -> None:
    """Run the provider of the lab this process stands in."""
    from nftrtsp.lab import program

    program.run(lambda record: Provider(record).run())


if __name__ == "__main__":
    main()
