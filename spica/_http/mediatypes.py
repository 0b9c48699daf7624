"""The media type of a file, judged by its name.

Only the name's last part counts, and only its extension. The tables are those of ``mimetypes``, so that
``mimetypes.add_type`` works. Nothing is read from the file itself.

Standards: RFC 9110 s.8.3 (Content-Type) and s.8.4 (Content-Encoding), RFC 6713 (``application/gzip``),
RFC 8878 s.7.1 (``application/zstd``).
"""

from __future__ import annotations

import os

# RFC 9110 s.8.4: a coding that belongs to the file itself is part of its media type. `mimetypes` reports
# such a file as its content plus a coding. Sent without Content-Encoding, that type would be wrong.
_TYPE_OF_CODING = {
    "gzip": "application/gzip",
    "zstd": "application/zstd",
    "br": "application/x-brotli",
    "bzip2": "application/x-bzip2",
    "compress": "application/x-compress",
    "xz": "application/x-xz",
}

# Compressed formats that `mimetypes` does not list on every supported Python and system.
_MORE_TYPES = {
    ".7z": "application/x-7z-compressed",
    ".lz": "application/x-lzip",
    ".lz4": "application/x-lz4",
    ".lzma": "application/x-lzma",
    ".rar": "application/vnd.rar",
    ".tzst": "application/zstd",
    ".zst": "application/zstd",
}


def guess_media_type(name: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str | None:
    """Return the media type of a file with this name or path, or None if its extension says nothing.

    A compressed file gets the type of its format (``.json.gz``, ``.svgz`` and ``.tgz`` are
    ``application/gzip``), because it is sent as it is, without Content-Encoding. A path is never taken
    for a URL, as ``mimetypes.guess_type`` does: ``data:text/html,.txt`` is a text file.
    """
    import mimetypes  # on use: it reads files of the system when it is first called

    extension = os.path.splitext(os.path.basename(os.fsdecode(name)))[1]
    if not extension:
        return None
    if extension != ".Z":  # the one extension whose case matters: ".z" is another format
        extension = extension.lower()
    # A scheme, a query or a fragment can't occur in a name that begins like this.
    media_type, coding = mimetypes.guess_type("file" + extension.replace(":", "_"))
    if coding is not None:
        return _TYPE_OF_CODING.get(coding)
    return media_type or _MORE_TYPES.get(extension)
