"""Tests that run inside the virtual machines; tests/kernel/run.sh boots them."""
