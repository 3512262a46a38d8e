"""Coverage-guided fuzzing of the ctnetlink codec: any bytes are decoded or are a MalformedError.

The learned layouts and the plain walk must say the same of every message.
usage: python tests/fuzz/fuzz_conntrack.py [libFuzzer options] [corpus folder]
"""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path

import atheris

from nftrtsp.conntrack.expectation import EXPECT_DELETE, EXPECT_NEW
from nftrtsp.conntrack.flow import FLOW_DELETE, FLOW_NEW, decode_flow

with atheris.instrument_imports(include=["nftrtsp.conntrack", "nftrtsp.netlink.elements"]):
    from nftrtsp.conntrack.decoder import Decoder
    from nftrtsp.conntrack.flow import Flow
    from nftrtsp.errors import MalformedError
    from nftrtsp.netlink import wire
    from nftrtsp.netlink.elements import decode_elements

NEW = wire.NLM_F_CREATE | wire.NLM_F_EXCL
#: What the first byte of an input chooses: nlmsg_type, nlmsg_flags and family of the message around the rest.
HEADS = [
    (FLOW_NEW, NEW, 2),
    (FLOW_NEW, 0, 2),
    (FLOW_NEW, NEW, 10),
    (FLOW_DELETE, 0, 2),
    (EXPECT_NEW, NEW, 2),
    (EXPECT_DELETE, 0, 10),
]
WHOLE = len(HEADS)  # the rest is a whole datagram
ELEMENTS = WHOLE + 1  # the rest is elements of the pinhole map

_decoder = Decoder()


def plain(data: bytes) -> Flow | None:
    """Return what the plain walk says, None for malformed."""
    try:
        return decode_flow(data, data[16], wire.HEADER_SIZE, len(data))
    except MalformedError:
        return None


def one_input(fuzzed: bytes) -> None:
    """Decode one input in each way there is."""
    global _decoder  # noqa: PLW0603 - a full decoder learns nothing: begin anew
    if not fuzzed:
        return
    choice, rest = fuzzed[0] % (ELEMENTS + 1), fuzzed[1:]
    if choice == ELEMENTS:
        with contextlib.suppress(MalformedError):
            decode_elements(rest, 0, len(rest))
        return
    if choice == WHOLE:
        _decoder.events([rest], 0.0, [])
        return
    kind, flags, family = HEADS[choice]
    data = wire.HEADER.pack(wire.HEADER_SIZE + len(rest), kind, flags, 0, 0, family, 0, 0) + rest
    if kind >> 8 == wire.NFNL_SUBSYS_CTNETLINK_EXP:
        _decoder.events([data], 0.0, [])
        return
    if _decoder.layouts > 400:
        _decoder = Decoder()
    expected = plain(data)
    for _ in range(2):
        try:
            told: Flow | None = _decoder.flow(data)
        except MalformedError:
            told = None
        if told != expected:
            raise AssertionError(f"fast {told} but plain {expected} for {data.hex()}")


def write_seeds(folder: Path) -> None:
    """Write real messages of the kernel as a first corpus."""
    sys.path.insert(0, str(Path(__file__).parents[2]))
    from tests.unit.captured import MESSAGES

    for name, data in MESSAGES.items():
        kind, flags = wire.ATTRIBUTE.unpack_from(data, 4)
        head = (kind, flags & NEW, data[16])
        choice = HEADS.index(head) if head in HEADS else HEADS.index((FLOW_NEW, 0, 2))
        (folder / name).write_bytes(bytes([choice]) + data[wire.HEADER_SIZE :])


def main() -> None:
    """Run libFuzzer; an empty corpus folder gets the seeds first."""
    for argument in sys.argv[1:]:
        folder = Path(argument)
        if not argument.startswith("-") and folder.is_dir() and not any(folder.iterdir()):
            write_seeds(folder)
    atheris.Setup(sys.argv, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
