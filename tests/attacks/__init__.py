"""Attacks on a running helper, with real packets, in network namespaces that the run makes itself.

``network`` builds the lab with hosts that mean harm on both sides; each of ``programs`` is one attack, run in
its host's namespace; ``oracle`` knows what each box asked for; ``scene`` starts the helper and judges it;
``scenarios`` say what each attack hopes for and whether it came true. ``test_attacks.py`` runs
each for some seconds, ``long.py`` (`make attack`) all at once for ten minutes.
"""
