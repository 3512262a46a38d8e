"""Marks that say what a test needs, and how hypothesis runs."""

from __future__ import annotations

import os
import signal

import pytest
from hypothesis import HealthCheck, settings

# Time is no verdict here: these machines are shared and slow at times. In CI the examples are the same at
# each run, so that a red run can be run again; elsewhere they are new each time.
settings.register_profile(
    "nftrtsp",
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=bool(os.environ.get("CI")),
    print_blob=True,
)
settings.load_profile("nftrtsp")


def pytest_configure() -> None:
    """Make Ctrl-C and TERM mean something to the programs under test.

    A shell without job control starts what it puts in the background with SIGINT ignored, and children
    inherit that. TERM is that of a terminal which can do something: CI has none, and tests that want another
    one say so.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if os.environ.get("TERM", "dumb") == "dumb":
        os.environ["TERM"] = "xterm-256color"


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in this hook too
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what needs root where we are not, with that reason; keep together what shares a fixture."""
    skip = pytest.mark.skip(reason="needs root: network namespaces and nftables")
    for item in items:
        if os.geteuid() != 0 and item.get_closest_marker("root"):
            item.add_marker(skip)
        if item.get_closest_marker("xdist_group") is None and _shares_a_fixture(item):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


def _shares_a_fixture(item: pytest.Item) -> bool:
    """Whether a test uses a fixture of its whole module: a lab, say, which is built once in each process."""
    known = getattr(item, "_fixtureinfo", None)
    fixtures = known.name2fixturedefs.values() if known else ()
    return any(fixture.scope == "module" for same_name in fixtures for fixture in same_name)
