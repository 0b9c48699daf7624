"""Adapters to server protocols other than ASGI."""
