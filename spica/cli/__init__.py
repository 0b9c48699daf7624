"""Run an application from the command line: ``spica run`` for production, ``spica dev`` with reload."""
