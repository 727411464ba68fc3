"""Attacks that anyone can run for longer than the test suite does: `python -m tests.attack.files --count 10000`."""
