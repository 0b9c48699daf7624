"""Habits of packages that build on Starlette, each done here as they do it, under Starlette's name."""

import pytest


@pytest.fixture(autouse=True)
def _switched(switched):
    """Everything in this folder runs with the switch on."""
