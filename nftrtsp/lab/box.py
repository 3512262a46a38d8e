"""A set-top box: asks RTSP servers for films, receives them and counts what comes.

Run as ``python -m nftrtsp.lab.box`` in a set-top box's namespace. It does what its standard input says, one
JSON object a line, and answers each with one on standard output: ``{"id": 1, "do": "request", …}`` gives
``{"id": 1, …}`` or ``{"id": 1, "error": "…"}``. :mod:`nftrtsp.lab.player` speaks with it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
import time
from collections.abc import Awaitable, Callable
from typing import Any

from nftrtsp.lab import dialogue, program, registry
from nftrtsp.lab.dialogue import Frame, LabMessage
from nftrtsp.lab.registry import Record
from nftrtsp.lab.transport_stream import Tally
from nftrtsp.netlink.socket import widen

_RECEIVE_BUFFER = 8 << 20
_AT_ONCE = 128  # datagrams read before other work has its turn
_LARGEST_DATAGRAM = 65536

Command = dict[str, Any]


class Listener:
    """One film's UDP ports, or its frames within a control connection, and what came in by them."""

    def __init__(self, film: int) -> None:
        self.tally = Tally(film)
        self.since = time.monotonic()
        self.asked: float | None = None  # when SETUP was sent
        self.first: float | None = None
        self.last: float | None = None
        self.sources: dict[str, int] = {}
        self.reports = 0  # RTCP datagrams
        self._sockets: list[socket.socket] = []
        self._buffer = bytearray(_LARGEST_DATAGRAM)

    def listen(self, address: str, port: int, rtcp_port: int | None) -> None:
        """Bind the ports; raises OSError."""
        self._bind(address, port, self._media)
        if rtcp_port is not None:
            self._bind(address, rtcp_port, self._rtcp)

    def close(self) -> None:
        """Give the ports back."""
        for sock in self._sockets:
            asyncio.get_running_loop().remove_reader(sock)
            sock.close()
        self._sockets.clear()

    def count(self, data: memoryview | bytes, source: str) -> None:
        """Count one datagram of media."""
        now = time.monotonic()
        if self.tally.count(data):
            if self.first is None:
                self.first = now
            self.last = now
        self.sources[source] = self.sources.get(source, 0) + 1

    def report(self) -> dict[str, Any]:
        """Return what came, as JSON has it; times in seconds after SETUP was sent."""
        tally, asked = self.tally, self.asked or self.since
        return {
            "film": tally.film,
            "datagrams": tally.datagrams,
            "packets": tally.packets,
            "bytes": tally.octets,
            "lost": tally.lost,
            "duplicates": tally.duplicates,
            "foreign": tally.foreign,
            "continuity_errors": tally.continuity_errors,
            "first": None if self.first is None else self.first - asked,
            "last": None if self.last is None else self.last - asked,
            "silent": None if self.last is None else time.monotonic() - self.last,
            "sources": self.sources,
            "rtcp": self.reports,
        }

    def _bind(self, address: str, port: int, reader: Callable[[socket.socket], None]) -> None:
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        sock.setblocking(False)
        widen(sock, _RECEIVE_BUFFER)
        try:
            sock.bind((address, port))
        except OSError:
            sock.close()
            raise
        self._sockets.append(sock)
        asyncio.get_running_loop().add_reader(sock, reader, sock)

    def _media(self, sock: socket.socket) -> None:
        view = memoryview(self._buffer)
        for _ in range(_AT_ONCE):
            try:
                size, source = sock.recvfrom_into(self._buffer)
            except OSError:
                return
            self.count(view[:size], f"{source[0]}:{source[1]}")

    def _rtcp(self, sock: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock.recv(2048)
                self.reports += 1


class ControlConnection:
    """One control connection: requests go out, answers come back by their CSeq."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, box: SetTopBox) -> None:
        self.reader = reader
        self.writer = writer
        self.box = box
        self.cseq = 0
        self.server_requests: list[str] = []  # what the server asked of us: ANNOUNCE
        self.channels: dict[int, Listener] = {}
        self.ended = False
        self._waiting: dict[int, asyncio.Future[LabMessage]] = {}
        self._reading = asyncio.create_task(self._read())
        self._keeping: list[asyncio.Task[None]] = []

    async def request(self, method: str, uri: str, headers: dict[str, str], wait: float) -> LabMessage:
        """Send a request and return its answer; raises TimeoutError and ConnectionError."""
        if self.ended:
            raise ConnectionError("the connection is closed")
        self.cseq += 1
        number = self.cseq
        answer: asyncio.Future[LabMessage] = asyncio.get_running_loop().create_future()
        self._waiting[number] = answer
        self.writer.write(dialogue.request(method, uri, {"CSeq": str(number), **headers}))
        try:
            return await asyncio.wait_for(answer, wait)
        finally:
            self._waiting.pop(number, None)

    def keep_alive(self, uri: str, session: str, every: float) -> None:
        """Send GET_PARAMETER every so many seconds, until the connection ends."""
        self._keeping.append(asyncio.create_task(self._keep_alive(uri, session, every)))

    def close(self, *, reset: bool) -> None:
        """Close with FIN, or with RST."""
        self.ended = True
        for task in self._keeping:
            task.cancel()
        if reset:
            sock = self.writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            self.writer.transport.abort()
        else:
            self.writer.close()

    async def _keep_alive(self, uri: str, session: str, every: float) -> None:
        with contextlib.suppress(OSError, TimeoutError):
            while not self.ended:
                await asyncio.sleep(every)
                await self.request("GET_PARAMETER", uri, {"Session": session}, 10 * registry.patience())

    async def _read(self) -> None:
        try:
            while True:
                self._take(await dialogue.read(self.reader))
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, OSError):
            self.ended = True
            for answer in self._waiting.values():
                if not answer.done():
                    answer.set_exception(ConnectionError("the server closed the connection"))

    def _take(self, message: LabMessage | Frame) -> None:
        if isinstance(message, Frame):
            listener = self.channels.get(message.channel)
            if listener:
                listener.count(message.data, "interleaved")
        elif message.is_response:
            answer = self._waiting.get(message.cseq)
            if answer and not answer.done():
                answer.set_result(message)
        else:
            self.server_requests.append(message.method)
            self.writer.write(dialogue.response(200, {"CSeq": str(message.cseq)}))


class SetTopBox:
    """The set-top box and the commands it obeys."""

    def __init__(self, _record: Record) -> None:
        self.connections: dict[str, ControlConnection] = {}
        self.listeners: dict[str, Listener] = {}
        self._wait = 10 * registry.patience()

    async def run(self) -> None:
        """Obey standard input until it ends. Commands run side by side, as a box's films do."""
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=1 << 20)
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        tasks: set[asyncio.Task[None]] = set()
        while line := await reader.readline():
            task = asyncio.create_task(self._obey(json.loads(line)))
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def _obey(self, command: Command) -> None:
        obey: Callable[[Command], Awaitable[dict[str, Any]]] = getattr(self, f"_do_{command['do']}")
        try:
            answer = await obey(command)
        except (OSError, TimeoutError, KeyError, ValueError) as error:
            answer = {"error": str(error) or type(error).__name__}
        sys.stdout.write(json.dumps({"id": command["id"], **answer}) + "\n")
        sys.stdout.flush()

    async def _do_ready(self, _command: Command) -> dict[str, Any]:
        return {}

    async def _do_connect(self, command: Command) -> dict[str, Any]:
        address = (command.get("address") or "0.0.0.0", command.get("source_port") or 0)  # noqa: S104
        opening = asyncio.open_connection(command["server"], command["port"], local_addr=address)
        try:
            reader, writer = await asyncio.wait_for(opening, self._wait)
        except (OSError, TimeoutError):  # its text would name errno and a tuple
            raise ConnectionError(f"no connection to {command['server']}:{command['port']}") from None
        writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections[command["connection"]] = ControlConnection(reader, writer, self)
        return {"port": writer.get_extra_info("sockname")[1]}

    async def _do_listen(self, command: Command) -> dict[str, Any]:
        listener = Listener(command["number"])
        if "channel" in command:
            self.connections[command["connection"]].channels[command["channel"]] = listener
        else:
            address = command.get("address") or "0.0.0.0"  # noqa: S104 - inside the lab only
            listener.listen(address, command["port"], command.get("rtcp_port"))
        self.listeners[command["film"]] = listener
        return {}

    async def _do_request(self, command: Command) -> dict[str, Any]:
        connection = self.connections[command["connection"]]
        listener = self.listeners.get(command.get("film", ""))
        if listener and command["method"] == "SETUP":
            listener.asked = time.monotonic()
        begun = time.monotonic()
        wait = command.get("wait") or self._wait
        try:
            message = await connection.request(command["method"], command["uri"], command["headers"], wait)
        except TimeoutError:
            raise TimeoutError(f"no answer to {command['method']} within {wait:.0f} s") from None
        took = time.monotonic() - begun
        return {"status": message.status, "headers": message.headers, "body": message.body, "took": took}

    async def _do_send(self, command: Command) -> dict[str, Any]:
        """Raw bytes, cut at will: what splits a SETUP over segments."""
        connection = self.connections[command["connection"]]
        data = bytes.fromhex(command["data"])
        for cut in [*command.get("pieces", []), len(data)]:
            connection.writer.write(data[:cut])
            data = data[cut:]
            await asyncio.sleep(command.get("pause", 0.0))
        return {}

    async def _do_keep_alive(self, command: Command) -> dict[str, Any]:
        connection = self.connections[command["connection"]]
        connection.keep_alive(command["uri"], command["session"], command["every"])
        return {}

    async def _do_report(self, command: Command) -> dict[str, Any]:
        return self.listeners[command["film"]].report()

    async def _do_connection(self, command: Command) -> dict[str, Any]:
        connection = self.connections[command["connection"]]
        return {"ended": connection.ended, "server_requests": connection.server_requests}

    async def _do_unlisten(self, command: Command) -> dict[str, Any]:
        self.listeners[command["film"]].close()
        return {}

    async def _do_close(self, command: Command) -> dict[str, Any]:
        self.connections.pop(command["connection"]).close(reset=command.get("reset", False))
        return {}


def main() -> None:
    """Run a set-top box of the lab this process stands in."""
    program.run(lambda record: SetTopBox(record).run())


if __name__ == "__main__":
    main()
