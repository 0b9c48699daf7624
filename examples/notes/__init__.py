"""A notebook for a small group: notes with attachments, a JSON API over them, and a chat.

Start reading at ``app.py``. ``scripts/run`` serves it.
"""
