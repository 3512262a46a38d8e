"""Messages that a kernel (Linux 6.18) really sent, by name: flows and expectations of every kind."""

from __future__ import annotations

import json
from pathlib import Path

_FILE = Path(__file__).with_name("captured_messages.json")

#: Name -> one whole netlink message.
MESSAGES: dict[str, bytes] = {
    name: bytes.fromhex(text) for name, text in json.loads(_FILE.read_text()).items()
}
FLOWS = {name: data for name, data in MESSAGES.items() if data[5] == 1}
EXPECTATIONS = {name: data for name, data in MESSAGES.items() if data[5] == 2}
