"""The endurance test of channels, sessions and limits: workers and the store fail under many clients.

``scripts/soak --live`` runs it.
"""
