"""Why does VoD not work here? Each check judges some of the facts; the first fault is the verdict.

``gather`` does all of the I/O; ``checks`` and ``verdict`` are pure.
"""

from __future__ import annotations

from nftrtsp.doctor.checks import diagnose
from nftrtsp.doctor.facts import Facts
from nftrtsp.doctor.finding import Finding, State
from nftrtsp.doctor.gather import gather
from nftrtsp.doctor.verdict import Verdict, conclude

__all__ = ["Facts", "Finding", "State", "Verdict", "conclude", "diagnose", "gather"]
