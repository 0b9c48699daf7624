"""Rubbish for every parser, and for a rich application: the targets of the property tests and of fuzzing.

`targets` holds the list of them: each is a strategy of hypothesis for its input, and a check that raises
when a promise is broken. ``tests/fuzz`` runs a few inputs of each, always the same; ``scripts/fuzz`` runs
as many as there is time for.
"""
