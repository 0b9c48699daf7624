"""The layers between Request and Response: the value path and its edges.

``layer`` is the base of all layers, and ``runner`` runs a request through them. ``exception_handlers`` turns
exceptions into responses, ``editing`` changes responses, and ``foreign`` makes a Response of a foreign app.
"""
