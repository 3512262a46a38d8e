"""Marks that say what a test needs; what is absent is skipped with its reason."""

from __future__ import annotations

import os

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if os.geteuid() == 0:
        return
    skip = pytest.mark.skip(reason="needs root: network namespaces and nftables")
    for item in items:
        if item.get_closest_marker("root"):
            item.add_marker(skip)
