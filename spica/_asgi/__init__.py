"""Plumbing that every layer shares: scope keys, the request body, sending, disconnects.

Nothing here knows a Request or a Response; what does is in ``spica._layers``.
"""
