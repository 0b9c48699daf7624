"""Ids of test cases that are the same in every process, as running tests in parallel requires."""

import re

ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+| id='\d+'")
"""The part of a default ``repr()`` that shows where an object lies in memory."""


def stable_id(value: object) -> str:
    """Return ``repr(value)`` without memory addresses."""
    return ADDRESS.sub("", repr(value))
