"""GStreamer's own RTSP server, told to serve one test film; for Debian's Python, which has its bindings.

usage: /usr/bin/python3 gstreamer_server.py ADDRESS PORT      prints "ready" when it listens

`rtsp://ADDRESS:PORT/jpeg` is RTP with JPEG pictures.
"""

import sys

import gi  # type: ignore[import-not-found]  # Debian's, not in the virtual environment

gi.require_version("Gst", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import (  # type: ignore[import-not-found]  # noqa: E402 - the versions are named before
    GLib,
    Gst,
    GstRtspServer,
)

PICTURES = "videotestsrc is-live=true ! video/x-raw,format=I420,width=160,height=120,framerate=10/1 ! jpegenc"
FILMS = {
    "/jpeg": f"( {PICTURES} ! rtpjpegpay name=pay0 pt=26 )",
}


def main(address: str, port: str) -> None:
    """Serve until the process is ended."""
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(address)
    server.set_service(port)
    for path, launch in FILMS.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(launch)
        server.get_mount_points().add_factory(path, factory)
    if not server.attach(None):
        sys.exit(f"{address}:{port}: cannot listen")
    print("ready", flush=True)
    GLib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
