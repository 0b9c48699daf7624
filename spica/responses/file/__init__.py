"""Responses that send a file."""

from spica.responses.file.response import FileResponse, guess_type

__all__ = ["FileResponse", "guess_type"]
