"""The one reader of interfaces and addresses, beside what ip(8) says of the same namespace."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.stand import Stand, stand

pytestmark = pytest.mark.root

READ = (
    "import json; from nftrtsp.netlink import links; import msgspec;"
    "print(msgspec.json.encode(links.read(), enc_hook=str).decode())"
)


@pytest.fixture
def router(tmp_path: Path) -> Iterator[Stand]:
    with stand(tmp_path) as built:
        yield built


def read(router: Stand) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(router.run(sys.executable, "-c", READ).stdout)
    return found


def test_links_and_addresses_are_what_ip_says(router: Stand) -> None:
    for words in (
        "link add tv type veth peer name tv-far",
        "address add 10.9.8.7/29 dev tv",
        "address add 10.9.8.9/32 peer 10.0.0.1 dev tv",
        "link add lan type bridge",
        "link set br0 master lan",
        "link set lan down",
    ):
        router.run("ip", *words.split())
    ours = read(router)
    theirs = json.loads(router.run("ip", "-details", "-json", "-4", "address", "show").stdout)
    assert set(ours) == {link["ifname"] for link in json.loads(router.run("ip", "-json", "link").stdout)}
    for link in theirs:
        said = [f"{part['local']}/{part['prefixlen']}" for part in link["addr_info"]]
        assert (link["ifname"], ours[link["ifname"]]["addresses"]) == (link["ifname"], said)
    assert (ours["tv"]["kind"], ours["tv"]["vlan"]) == ("veth", None)
    assert (ours["lan"]["kind"], ours["lan"]["up"]) == ("bridge", False)
    assert ours["br0"]["bridged"]
    assert not ours["vlan2"]["bridged"]


def test_the_link_of_the_default_route_is_known_and_an_unreachable_one_is_none(router: Stand) -> None:
    assert not any(link["default_route"] for link in read(router).values())
    router.run("ip", "route", "add", "unreachable", "default", "metric", "9")
    router.run("ip", "route", "add", "0.0.0.0/1", "via", "10.128.0.1", "dev", "vlan2")
    assert not any(link["default_route"] for link in read(router).values())
    router.run("ip", "route", "add", "default", "via", "10.128.0.1", "dev", "vlan2")
    assert [name for name, link in read(router).items() if link["default_route"]] == ["vlan2"]


def test_many_links_are_read_whole(router: Stand) -> None:
    batch = "".join(f"link add d{number} type ifb\n" for number in range(300))
    (router.folder / "batch").write_text(batch)
    router.run("ip", "-batch", str(router.folder / "batch"))
    ours = read(router)
    assert len([name for name in ours if name.startswith("d")]) == 300
