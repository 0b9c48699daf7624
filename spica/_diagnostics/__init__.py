"""Explain a programmer's mistake: its location, its reason, and the fix."""
