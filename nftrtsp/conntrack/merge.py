"""What is known of a flow after another message about it. Pure."""

from __future__ import annotations

from nftrtsp.conntrack.flow import Flow


def merge(old: Flow, new: Flow) -> Flow:
    """Return ``new`` with what only ``old`` tells.

    Each message tells the tuples, the mark (absent: zero) and the zone. The master comes in a RELATED flow's
    first event only, the helper and labels only when they change, counters and times only in dumps and at the
    end. Source: nf_conntrack_netlink.c, ctnetlink_conntrack_event().
    """
    return Flow(
        new.family,
        new.orig,
        new.reply,
        new.id,
        old.status if new.status is None else new.status,
        old.timeout if new.timeout is None else new.timeout,
        new.mark,
        new.zone,
        new.labels or old.labels,
        new.helper or old.helper,
        new.helper_info or old.helper_info,
        new.master or old.master,
        new.counters_orig or old.counters_orig,
        new.counters_reply or old.counters_reply,
        new.start or old.start,
        new.stop or old.stop,
        new.protoinfo if len(new.protoinfo) >= len(old.protoinfo) else old.protoinfo,
        old.tcp_state if new.tcp_state is None else new.tcp_state,
        new.secctx or old.secctx,
        old.use if new.use is None else new.use,
    )
