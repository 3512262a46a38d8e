"""The RTSP helper: who may have which port open, for how long, and how it is done."""
