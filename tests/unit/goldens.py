"""The golden rulesets beside each profile. ``make goldens`` writes them anew; review the difference.

A profile says nothing of a site, so each is joined with the same example site.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nftrtsp.config import Config, HelperKind, load_profile, parse, profiles
from nftrtsp.ruleset.build import build
from nftrtsp.ruleset.render import render

FOLDER = Path(__file__).parents[2] / "rulesets"

#: Suffix of the golden file -> a helper kind of that form. kernel and userspace share theirs.
FORMS = {".nft": HelperKind.USERSPACE, ".pinhole.nft": HelperKind.PINHOLE}

#: For profiles that leave the interface to the user.
INTERFACES = {"freebox": "eth0", "china-unicom": "vlan45", "generic": "vlan2"}


def example(profile: str) -> Config:
    """Return ``profile`` at the example site: one LAN, two set-top boxes."""
    iptv: dict[str, Any] = dict(load_profile(profile).get("iptv", {}))
    iptv.setdefault("interface", INTERFACES.get(profile))
    return parse(
        {
            "profile": profile,
            "iptv": iptv,
            "lan": {"interfaces": ["br0"], "networks": ["192.168.1.0/24"]},
            "stb": [
                {"name": "Living room", "address": "192.168.1.200"},
                {"name": "Bedroom", "address": "192.168.1.201"},
            ],
        }
    )


def goldens() -> dict[Path, str]:
    """Return what each golden file should hold."""
    return {
        FOLDER / f"{profile}{suffix}": render(build(example(profile), kind))
        for profile in profiles()
        for suffix, kind in FORMS.items()
    }


def main() -> None:
    """Write all of them, and remove those that no profile has any more."""
    wanted = goldens()
    for path in FOLDER.glob("*.nft"):
        if path not in wanted:
            path.unlink()
            print(f"removed {path.name}")
    for path, text in wanted.items():
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
            print(f"wrote {path.name}")


if __name__ == "__main__":
    main()
