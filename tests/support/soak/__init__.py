"""A soak: the example under a real server, with hundreds of clients that behave and that do not.

``scripts/soak`` runs it for minutes, ``tests/e2e/test_soak.py`` for a few seconds. Afterwards nothing may
have grown: memory, tasks, threads, file descriptors, temporary files; and every background task and session
write must be accounted for.
"""
