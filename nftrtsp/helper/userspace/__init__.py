"""The userspace helper: a conntrack helper over nfnetlink_cthelper and NFQUEUE."""
