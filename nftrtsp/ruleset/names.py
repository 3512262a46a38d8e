"""Names of the objects in our table, shared by the generator, the helpers and the lists."""

from __future__ import annotations

from nftrtsp.config import TABLE_FAMILY, TABLE_NAME

__all__ = [
    "CONE_MAP",
    "CT_HELPER",
    "CT_HELPER_TYPE",
    "LOG_PREFIX",
    "PAUSE_TIMEOUT",
    "PINHOLE_MAP",
    "TABLE_FAMILY",
    "TABLE_NAME",
]

CT_HELPER = "rtsp"  # the ct helper object
CT_HELPER_TYPE = "rtsp"  # the helper's name in the kernel: the module's, or ours over nfnetlink_cthelper
PAUSE_TIMEOUT = "pause"  # the ct timeout object of media flows
PINHOLE_MAP = "pinholes"  # inet_service : ipv4_addr . inet_service, flags timeout
CONE_MAP = "cone"  # full_cone: the same type, filled by the packet path
LOG_PREFIX = "nftrtsp-rtsp"  # NFLOG prefix of the RTSP copies for the pinhole helper
