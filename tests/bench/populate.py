"""Fill the conntrack table of this network namespace with UDP flows, through ctnetlink.

usage: python -m tests.bench.populate COUNT [--films N --mark MARK --first N]

Flow number N goes from 10.a.b.c to 10.129.0.1: the three bytes and the source port are made from N. This is
what `conntrack -I` does, many messages to one sendmsg().
"""

from __future__ import annotations

import argparse
import socket
import struct
import sys

from nftrtsp.conntrack import attribute
from nftrtsp.conntrack.tuple import AF_INET, IPPROTO_UDP, Tuple, encode_tuple
from nftrtsp.netlink import wire
from nftrtsp.netlink.socket import open_netlink

BATCH = 400


def creation(orig: Tuple, reply: Tuple, *, timeout: int = 3600, mark: int = 0) -> bytes:
    """Return the request that creates one flow, without acknowledgement."""
    payload = encode_tuple(attribute.CTA_TUPLE_ORIG, orig) + encode_tuple(attribute.CTA_TUPLE_REPLY, reply)
    payload += wire.be32(attribute.CTA_TIMEOUT, timeout)
    if mark:
        payload += wire.be32(attribute.CTA_MARK, mark)
    flags = wire.NLM_F_CREATE | wire.NLM_F_EXCL
    return wire.message(
        wire.NFNL_SUBSYS_CTNETLINK, attribute.IPCTNL_MSG_CT_NEW, flags, payload, family=AF_INET
    )


def template() -> tuple[bytes, list[int], list[int]]:
    """Return a creation and where its address (10.a.b.c) and its source port stand in it, both directions."""
    inside, outside = bytes([10, 0x5A, 0x5B, 0x5C]), bytes([10, 129, 0, 1])
    orig = Tuple(inside, outside, IPPROTO_UDP, 0x5D5E, 9000)
    reply = Tuple(outside, inside, IPPROTO_UDP, 9000, 0x5D5E)
    message = creation(orig, reply)
    addresses = [at for at in range(len(message) - 3) if message[at : at + 4] == inside]
    ports = [at for at in range(len(message) - 1) if message[at : at + 2] == b"\x5d\x5e"]
    return message, addresses, ports


def fill(count: int, first: int = 0) -> None:
    """Create flows number ``first`` to ``first + count``."""
    message, addresses, ports = template()
    opened = open_netlink()
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    pack_address, pack_port = struct.Struct(">I").pack_into, struct.Struct(">H").pack_into
    for start in range(first, first + count, BATCH):
        several = min(BATCH, first + count - start)
        data = bytearray(message * several)
        for index in range(several):
            serial, base = start + index, index * len(message)
            for at in addresses:
                pack_address(data, base + at, 0x0A000000 | serial // 50 & 0x7FFFFF)
            for at in ports:
                pack_port(data, base + at, 1024 + serial % 50)
        opened.send(data)
    opened.close()


def film(number: int, mark: int) -> bytes:
    """Return the creation of a marked film from 172.26.83.137 that is sent on to 192.168.1.200."""
    server, router, box = (
        socket.inet_aton(text) for text in ("172.26.83.137", "10.214.0.2", "192.168.1.200")
    )
    port = 27336 + 2 * number
    orig = Tuple(server, router, IPPROTO_UDP, 40000 + number, port)
    reply = Tuple(box, server, IPPROTO_UDP, port, 40000 + number)
    return creation(orig, reply, mark=mark)


def films(count: int, mark: int) -> None:
    """Create ``count`` marked films."""
    opened = open_netlink()
    for number in range(count):
        opened.send(film(number, mark))
    opened.close()


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("count", type=int)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--films", type=int, default=0)
    parser.add_argument("--mark", type=lambda text: int(text, 0), default=0x100000)
    asked = parser.parse_args()
    fill(asked.count, asked.first)
    films(asked.films, asked.mark)
    print(f"{asked.count + asked.films} flows", file=sys.stderr)


if __name__ == "__main__":
    main()
