"""Explain a programmer's mistake: where it is, what is wrong, and how to fix it."""
