"""nfnetlink: framing, attributes, sockets. It knows nothing of conntrack or of us."""
