"""Names of the objects in our table, shared by the generator, the helpers and the lists."""

from __future__ import annotations

from nftrtsp.config import TABLE_FAMILY, TABLE_NAME

__all__ = [
    "CONE_MAP",
    "CT_HELPER",
    "CT_HELPER_TYPE",
    "LAN_NETWORKS_SET",
    "LAN_SET",
    "LOG_PREFIX",
    "MULTICAST_SET",
    "PAUSE_TIMEOUT",
    "PINHOLE_MAP",
    "RTSP_PORTS_SET",
    "SERVERS_SET",
    "STBS_SET",
    "TABLE_FAMILY",
    "TABLE_NAME",
]

CT_HELPER = "rtsp"  # the ct helper object
CT_HELPER_TYPE = "rtsp"  # the helper's name in the kernel: the module's, or ours over nfnetlink_cthelper
PAUSE_TIMEOUT = "pause"  # the ct timeout object of media flows
PINHOLE_MAP = "pinholes"  # inet_service : ipv4_addr . inet_service, flags timeout
CONE_MAP = "cone"  # full_cone: the same type, filled by the packet path
LOG_PREFIX = "nftrtsp-rtsp"  # NFLOG prefix of the RTSP copies for the pinhole helper

LAN_SET = "lan"  # interfaces of the LAN
LAN_NETWORKS_SET = "lan_networks"  # networks of the LAN
STBS_SET = "stbs"  # configured set-top boxes; absent where none is
RTSP_PORTS_SET = "rtsp_ports"  # TCP ports of RTSP servers
SERVERS_SET = "servers"  # networks that films may come from; absent without iptv.strict_sources
MULTICAST_SET = "multicast"  # groups of live TV; absent where none is
