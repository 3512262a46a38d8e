"""``python -m nftrtsp``: the command line."""

from nftrtsp.cli import main

main()
