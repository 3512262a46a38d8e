"""What earlier events said of a flow, for readers that keep no table."""

from __future__ import annotations

from collections import OrderedDict

import msgspec

from nftrtsp.conntrack.event import Event, EventType
from nftrtsp.conntrack.flow import Flow, merge

#: Flows that are remembered at most, the least recently heard of are forgotten first.
LIMIT = 16384


class FlowHistory:
    """Remembers the flows of which later events say less: those with a master or a helper."""

    def __init__(self, limit: int = LIMIT) -> None:
        self._limit = limit
        self._flows: OrderedDict[int, Flow] = OrderedDict()

    def complete(self, event: Event) -> Event:
        """Return ``event`` with what was told of its flow before."""
        flow = event.flow
        if flow is None:
            return event
        known = self._flows.pop(flow.id, None)
        if known is None and flow.master is None and flow.helper is None:
            return event
        if known is not None and known.orig == flow.orig:
            flow = merge(known, flow)
            event = msgspec.structs.replace(event, flow=flow)
        if event.type is not EventType.DESTROY:
            self._flows[flow.id] = flow
            if len(self._flows) > self._limit:
                self._flows.popitem(last=False)
        return event
