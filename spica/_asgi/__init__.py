"""Plumbing that every layer shares: scope keys, the request body, sending, disconnects.

These modules know only scope, receive and send. Code that needs a Request or a Response is in
``spica._layers``.
"""
