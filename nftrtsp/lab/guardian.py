"""Waits for the end of a lab's builder, however it ends, and sweeps up what it left.

Run as ``python -m nftrtsp.lab.guardian LAB-ID``, in a session of its own so that a Ctrl-C at the terminal
does not reach it. It opens no socket and holds nothing but the wait for the lab's lock.
"""

from __future__ import annotations

import signal
import sys

from nftrtsp.lab import registry


def main() -> None:
    """Wait for the lock of the lab named on the command line, then remove that lab if it is still there."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    lab_id = sys.argv[1]
    registry.wait_for_owner(registry.labs_dir() / lab_id)
    for record in registry.labs():
        if record.id == lab_id and not record.persistent:
            registry.remove(record)


if __name__ == "__main__":
    main()
