"""Why does VoD not work here? Each check judges some of the facts; the first fault is the verdict.

``gather`` does all of the I/O; ``checks`` and ``verdict`` are pure.
"""

from __future__ import annotations

from nftrtsp.health.checks import diagnose
from nftrtsp.health.facts import Facts
from nftrtsp.health.finding import Finding, State
from nftrtsp.health.gather import gather
from nftrtsp.health.verdict import Verdict, conclude

__all__ = ["Facts", "Finding", "State", "Verdict", "conclude", "diagnose", "gather"]
