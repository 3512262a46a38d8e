"""Video on demand through a Linux router: ruleset, RTSP conntrack helper, dashboard."""

__version__ = "0.1.0"
