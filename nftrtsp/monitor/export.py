"""Rows to a file: JSON, one object a line, or CSV."""

from __future__ import annotations

import csv
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nftrtsp.conntrack.role import Roles
from nftrtsp.monitor.fields import Record, record


def suggest(pane: str, now: float) -> str:
    """Return a file name for the rows of a pane."""
    return time.strftime(f"nftrtsp-{pane}-%Y%m%d-%H%M%S.json", time.localtime(now))


def write(rows: Sequence[object], roles: Roles, file: str) -> str:
    """Write ``rows``; return what went wrong as a sentence, or nothing."""
    path = Path(file).expanduser()
    records = [record(row, roles) for row in rows]
    if path.suffix not in (".json", ".csv"):
        return f"{file}: end the name in .json or .csv"
    try:
        with path.open("w", newline="", encoding="utf-8") as out:
            if path.suffix == ".json":
                out.writelines(json.dumps(each, ensure_ascii=False, default=str) + "\n" for each in records)
            else:
                flat = [_flatten(each) for each in records]
                names = list(dict.fromkeys(name for each in flat for name in each))
                table = csv.DictWriter(out, names)
                table.writeheader()
                table.writerows(flat)
    except OSError as error:
        return f"{file}: {error.strerror}"
    return ""


def _flatten(value: Record, prefix: str = "") -> dict[str, Any]:
    """Return a record with one level: ``orig.src`` and so on; lists joined by blanks."""
    flat: dict[str, Any] = {}
    for key, part in value.items():
        if isinstance(part, dict):
            flat.update(_flatten(part, f"{prefix}{key}."))
        elif isinstance(part, list):
            flat[prefix + key] = " ".join(str(each) for each in part)
        else:
            flat[prefix + key] = part
    return flat
