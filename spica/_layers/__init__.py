"""What the layers share above Request and Response: the value path and its edges.

``responder`` asks a layer for its answer, ``boundary`` turns exceptions into responses, ``editor`` edits
what is on its way out, and ``begun`` makes a value of an app that is only known by running it.
"""
