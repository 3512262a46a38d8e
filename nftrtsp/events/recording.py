"""Recordings: news in a file that is small, can be appended to, and survives a kill.

The file is a row of blocks, one a second: ``NFTR`` or ``nftr``, a length and a CRC-32 (network order), then
many bytes of zlib data. A block ``NFTR`` starts a compression stream, a block ``nftr`` goes on with it:
what repeats every second costs next to nothing; a new stream starts every minute and with each append,
which is where a reader may begin. Inside are MessagePack values, each after its length (4 bytes). A block cut
short by a kill ends the file for a reader, and is cut off when something is appended.
"""

from __future__ import annotations

import os
import struct
import time
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import msgspec

from nftrtsp.config import Config
from nftrtsp.errors import StateError
from nftrtsp.events.news import Began, Checked, Kept, News, Told
from nftrtsp.helper.note import Hello

START, MORE = b"NFTR", b"nftr"
_HEAD = struct.Struct("!4sII")
_LENGTH = struct.Struct("!I")
_LARGEST = 64 << 20  # bytes of a block, packed or not: more is damage
_STREAM = 60.0  # seconds until a new stream starts

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(News)


class _Tag(msgspec.Struct):
    type: str


def config_data(config: Config) -> dict[str, object]:
    """Return a configuration as the TOML data that make it again, whatever profiles say by then."""
    data = msgspec.json.decode(msgspec.json.encode(config, enc_hook=str))
    data["profile"] = "generic"
    data["rtsp"]["mark"] = str(config.rtsp.mark)
    data["rtsp"]["pause"] = str(config.rtsp.pause)
    return data  # type: ignore[no-any-return] # a Struct becomes a dict


class Recorder:
    """Appends news to a file. Raises :class:`StateError` if it cannot be written or is no recording."""

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.path = path
        self._clock = clock
        self._buffer = bytearray()
        self._packer: zlib._Compress | None = None
        self._flushed = self._started = clock()
        self._kept: Kept | None = None
        self._first = 0.0
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file: BinaryIO = os.fdopen(fd, "r+b", buffering=0)
            end = _sound_length(self._file)
            self._file.truncate(end)
            self._file.seek(end)
        except OSError as error:
            raise _trouble(path, error) from None

    def write(self, news: News) -> None:
        """Take one piece of news; it is in the file within a second or with the next call after that."""
        if isinstance(news, Began):
            self._kept = Kept(news.time, news)
        elif isinstance(news, Checked) and self._kept:
            self._kept = msgspec.structs.replace(self._kept, checked=news)
        elif isinstance(news, Told) and self._kept and isinstance(news.line, Hello):
            self._kept = msgspec.structs.replace(self._kept, hello=news)
        if not self._buffer:
            self._first = news.time
        self._buffer += _frame(news)
        if self._clock() - self._flushed >= 1.0:
            self.flush()

    def flush(self) -> None:
        """Write what has gathered as one block."""
        now = self._clock()
        self._flushed = now
        if not self._buffer:
            return
        kind = MORE
        if self._packer is None or now - self._started > _STREAM:
            if self._packer is not None and self._kept is not None:
                kept = _frame(msgspec.structs.replace(self._kept, time=self._first))
                self._buffer = bytearray(kept) + self._buffer
            kind, self._packer, self._started = START, zlib.compressobj(9), now
        data = self._packer.compress(bytes(self._buffer)) + self._packer.flush(zlib.Z_SYNC_FLUSH)
        self._buffer.clear()
        try:
            self._file.write(_HEAD.pack(kind, len(data), zlib.crc32(data)) + data)
        except OSError as error:
            raise _trouble(self.path, error) from None

    def close(self) -> None:
        """Write the rest and close."""
        self.flush()
        self._file.close()


def _frame(news: News) -> bytes:
    frame = _encoder.encode(news)
    return _LENGTH.pack(len(frame)) + frame


def _trouble(path: Path, error: OSError) -> StateError:
    return StateError(
        f"the recording cannot be opened or written: {error.strerror}",
        place=str(path),
        remedy="choose another file",
    )


def _blocks(file: BinaryIO, start: int = 0) -> Iterator[tuple[int, bytes, bytes]]:
    """Yield the end, kind and data of each sound block from ``start`` on."""
    file.seek(start)
    end = start
    while len(head := file.read(_HEAD.size)) == _HEAD.size:
        kind, length, check = _HEAD.unpack(head)
        if kind not in (START, MORE) or length > _LARGEST:
            return
        data = file.read(length)
        if len(data) < length or zlib.crc32(data) != check:
            return
        end += _HEAD.size + length
        yield end, kind, data


def _sound_length(file: BinaryIO) -> int:
    """Return where the last sound block ends; raise for a file that is something else."""
    end = max((end for end, _, _ in _blocks(file)), default=0)
    file.seek(0)
    if end == 0 and file.read(4) not in (b"", START[:4]):
        raise StateError(
            "is no recording of nftrtsp", place=str(getattr(file, "name", "")), remedy="name another file"
        )
    return end


class RecordedStream(msgspec.Struct, frozen=True):
    """A place where a reader may begin: its offset, and its time in seconds since the beginning."""

    offset: int
    at: float


class Recording:
    """A recording to read from. Raises :class:`StateError` if it is none or holds nothing.

    Only where streams start is kept in memory. Its own clock never goes back: where the wall clock was set,
    or where something was appended a day later, it goes on at once.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                if file.read(4) != START:
                    raise StateError(
                        "is no recording of nftrtsp", place=str(path), remedy="make one with --record FILE"
                    )
                try:
                    starts = list(_starts(file))
                except (zlib.error, msgspec.DecodeError):
                    raise _damaged(path) from None
        except OSError as error:
            raise StateError(
                f"the recording cannot be read: {error.strerror}", place=str(path), remedy="name another"
            ) from None
        if not starts:
            raise StateError("the recording is empty", place=str(path), remedy="record anew")
        at, before = 0.0, starts[0][1]
        streams = []
        for offset, time_ in starts:
            at += _step(time_ - before, 1.5 * _STREAM)
            before = time_
            streams.append(RecordedStream(offset, at))
        self.streams = tuple(streams)
        #: How long it is, in seconds of its own clock.
        self.length = max((at for at, _ in self.read(len(streams) - 1)), default=streams[-1].at)

    def read(self, stream: int = 0) -> Iterator[tuple[float, News]]:
        """Yield news from a stream's start on, each with its time on the recording's own clock."""
        clock, before = self.streams[stream].at, None
        with self.path.open("rb") as file:
            unpacker = zlib.decompressobj()
            starts = iter(self.streams[stream:])
            for _, kind, data in _blocks(file, self.streams[stream].offset):
                if kind == START:
                    unpacker = zlib.decompressobj()
                    clock, before = max(clock, next(starts).at), None
                try:
                    for news in _frames(unpacker.decompress(data, _LARGEST)):
                        clock += _step(news.time - before, 30.0) if before is not None else 0.0
                        before = news.time
                        yield clock, news
                except (zlib.error, msgspec.DecodeError):
                    raise _damaged(self.path) from None


def _damaged(path: Path) -> StateError:
    return StateError("is damaged", place=str(path), remedy="record anew")


def _step(seconds: float, most: float) -> float:
    """Return how far the recording's clock goes between two times of the wall clock."""
    return seconds if 0.0 <= seconds <= most else 0.0 if seconds > -2.0 and seconds < 0 else 1.0


def _starts(file: BinaryIO) -> Iterator[tuple[int, float]]:
    """Yield offset and time of each stream's start."""
    begin = 0
    for end, kind, data in _blocks(file):
        if kind == START:
            for news in _frames(zlib.decompressobj().decompress(data, _LARGEST)):
                yield begin, news.time
                break
        begin = end


def _frames(plain: bytes) -> Iterator[News]:
    place = 0
    while place + _LENGTH.size <= len(plain):
        (length,) = _LENGTH.unpack_from(plain, place)
        place += _LENGTH.size
        frame = plain[place : place + length]
        place += length
        try:
            yield _decoder.decode(frame)
        except msgspec.ValidationError:
            # A helper's line of a kind that is not known here, as a newer one said it: passed over, as live.
            if msgspec.msgpack.decode(frame, type=_Tag).type != Told.__struct_config__.tag:
                raise
