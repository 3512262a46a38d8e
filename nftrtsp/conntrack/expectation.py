"""An expectation: conntrack's record that a flow is about to come."""

from __future__ import annotations

import msgspec

from nftrtsp.conntrack.flow import Tuple


class ExpectationNat(msgspec.Struct, frozen=True, gc=False):
    """The address translation that the expected flow gets: ``direction`` 0 original, 1 reply."""

    direction: int
    tuple: Tuple


class Expectation(msgspec.Struct, frozen=True, gc=False):
    """One expectation. ``tuple`` under ``mask`` is what is awaited, ``master`` the control connection.

    ``timeout`` is in seconds; ``flags`` are the NF_CT_EXPECT_* bits (1 permanent, 2 inactive, 4 userspace).
    Source: nf_conntrack_netlink.c, ctnetlink_exp_dump_expect().
    """

    family: int
    tuple: Tuple
    mask: Tuple
    master: Tuple
    timeout: int = 0
    id: int = 0
    class_: int = 0
    flags: int = 0
    nat: ExpectationNat | None = None
    function: str | None = None
    helper: str | None = None
    zone: int = 0

    @property
    def any_source(self) -> bool:
        """Whether the media may come from any address; the opposite is *pinned*."""
        return not any(self.mask.src)
