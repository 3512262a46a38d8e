"""RTSP programs that nobody here wrote, as set-top box and as server of a lab: ffmpeg and GStreamer.

What they are on Debian: ffmpeg, gstreamer1.0-tools, gstreamer1.0-plugins-base, gstreamer1.0-plugins-good,
gir1.2-gst-rtsp-server-1.0, python3-gi. docs/peers.md has the table of results.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from nftrtsp.lab import registry
from nftrtsp.lab.network import Lab, LabStb

PICTURES = 20  # ten a second
_DEBIANS_PYTHON = "/usr/bin/python3"  # a virtual environment has no GStreamer
_SERVER = Path(__file__).with_name("gstreamer_server.py")
_BINDINGS = 'import gi; gi.require_version("GstRtspServer", "1.0"); from gi.repository import GstRtspServer'

#: Set-top boxes have no business sending UDP to the IPTV side before they are sent any. These peers do (they
#: punch holes into NAT), and would get their film without any helper; behind this they do not.
NO_PUNCHING = """
table inet no-punching {
  chain forward {
    type filter hook forward priority filter - 10
    iifname "br0" meta l4proto udp drop
  }
}
"""


@functools.cache
def _folder() -> tempfile.TemporaryDirectory[str]:
    """Where GStreamer keeps its list of plug-ins during this run, not in anybody's home."""
    return tempfile.TemporaryDirectory(prefix="nftrtsp-peers-")


def _environment() -> dict[str, str]:
    return {"XDG_CACHE_HOME": _folder().name, "XDG_CONFIG_HOME": _folder().name}


def missing() -> str:
    """Return which of the peers is not here, or an empty string."""
    absent = [name for name in ("ffmpeg", "gst-launch-1.0") if shutil.which(name) is None]
    bindings = subprocess.run([_DEBIANS_PYTHON, "-c", _BINDINGS], capture_output=True, check=False)
    if bindings.returncode != 0:
        absent.append("gir1.2-gst-rtsp-server-1.0 with python3-gi")
    return ", ".join(absent)


@contextmanager
def server(lab: Lab) -> Iterator[str]:
    """Run GStreamer's RTSP server at the provider's address; give the URI of its film."""
    command = [_DEBIANS_PYTHON, str(_SERVER), lab.rtsp_server, "554"]
    process = lab.isp.popen(command, env=_environment(), stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        yield f"rtsp://{lab.rtsp_server}:554/jpeg"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def served(helper: str, *, running: bool = True) -> Iterator[tuple[Lab, str]]:
    """A lab whose provider is GStreamer, with ``helper`` at work unless it is not ``running``."""
    with Lab.build(stbs=2, media_servers=1, helper=helper) as lab:
        if running and helper != "kernel":
            process = lab.router.popen_nftrtsp("helper")
            end = time.monotonic() + 10 * registry.patience()
            while not (lab.run_dir / "helper.sock").exists():
                assert process.poll() is None, "the helper ended"
                assert time.monotonic() < end, "the helper does not publish"
                time.sleep(0.05)
        lab.router.nftrtsp("apply", "--yes")
        lab.router.run(["nft", "-f", "-"], input=NO_PUNCHING)
        with server(lab) as uri:
            yield lab, uri


def ffmpeg(uri: str, transport: str, *, port: int | None = None, wait: float = 20.0) -> list[str]:
    """Return the command with which ffmpeg watches :data:`PICTURES` pictures over ``udp`` or ``tcp``.

    It ends with status 0 only if it got them all within ``wait`` seconds of a real machine.
    """
    ports = [] if port is None else ["-min_port", str(port), "-max_port", str(port + 1)]
    patience = wait * registry.patience()
    words = ["timeout", f"{patience:.0f}", "ffmpeg", "-hide_banner", "-nostdin", "-xerror", *ports]
    words += ["-rtsp_transport", transport, "-i", uri, "-frames:v", str(PICTURES), "-f", "framecrc", "-"]
    return words


def gstreamer(uri: str, transport: str, *, wait: float = 20.0) -> list[str]:
    """Return the command with which GStreamer's client does the same; it prints a line for each picture."""
    patience = wait * registry.patience()
    words = ["timeout", f"{patience:.0f}", "gst-launch-1.0", "-v", "rtspsrc", f"location={uri}"]
    words += [f"protocols={transport}", "!", "rtpjpegdepay", "!"]
    return [*words, "identity", f"eos-after={PICTURES + 1}", "!", "fakesink", "silent=false"]


CLIENTS = {"ffmpeg": ffmpeg, "gstreamer": gstreamer}


def watch(stb: LabStb, command: list[str]) -> int:
    """Run a client in a set-top box; return how many pictures it got."""
    done = stb.run(command, check=False, env=_environment())
    if command[2] == "ffmpeg":
        pictures = [line for line in done.stdout.splitlines() if line and not line.startswith("#")]
    else:
        pictures = [line for line in done.stdout.splitlines() if "last-message = chain" in line]
    return len(pictures)


def at_once(lab: Lab, commands: list[list[str]]) -> list[int]:
    """Run a client in each of the first set-top boxes at the same time; return how many pictures each got."""
    with ThreadPoolExecutor() as threads:
        return list(threads.map(watch, lab.stbs, commands))
