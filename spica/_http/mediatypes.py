"""Media types: the type of a file, from its name, and the types that a client prefers.

The type of a file depends on the extension in its name. The tables are those of ``mimetypes``, so
``mimetypes.add_type`` works, and one of formats that they may lack. This module never reads the file itself.

Standards: RFC 9110 s.8.3 (Content-Type), s.8.4 (Content-Encoding) and s.12.5.1 (Accept), RFC 6713
(``application/gzip``), RFC 8878 s.7.1 (``application/zstd``), RFC 9457 (problem details).
"""

from __future__ import annotations

import os

from spica._http.fields import parse_quality_list

WeightedTypes = list[tuple[str, float]]
"""Media ranges of an Accept field in lower case, each with its weight from 0 to 1."""

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

# Formats of the web that `mimetypes` does not list on every supported Python and system. A small container
# has no table of the system. The types are those of the IANA registry, where it has one.
_OFFICE = "application/vnd.openxmlformats-officedocument"
_OPEN_DOCUMENT = "application/vnd.oasis.opendocument"
_MORE_TYPES = {
    # archives and documents
    ".7z": "application/x-7z-compressed",
    ".docx": f"{_OFFICE}.wordprocessingml.document",
    ".epub": "application/epub+zip",
    ".ics": "text/calendar",
    ".log": "text/plain",
    ".lz": "application/x-lzip",
    ".lz4": "application/x-lz4",
    ".lzma": "application/x-lzma",
    ".md": "text/markdown",
    ".odp": f"{_OPEN_DOCUMENT}.presentation",
    ".ods": f"{_OPEN_DOCUMENT}.spreadsheet",
    ".odt": f"{_OPEN_DOCUMENT}.text",
    ".pptx": f"{_OFFICE}.presentationml.presentation",
    ".rar": "application/vnd.rar",
    ".rtf": "application/rtf",
    ".tzst": "application/zstd",
    ".xlsx": f"{_OFFICE}.spreadsheetml.sheet",
    ".zst": "application/zstd",
    # programs and data
    ".atom": "application/atom+xml",
    ".cjs": "application/node",
    ".geojson": "application/geo+json",
    ".importmap": "application/importmap+json",
    ".jsonl": "application/jsonl",
    ".jsonld": "application/ld+json",
    ".map": "application/json",  # ECMA-426: source maps
    ".ndjson": "application/x-ndjson",
    ".rss": "application/rss+xml",
    ".toml": "application/toml",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".xhtml": "application/xhtml+xml",
    ".yaml": "application/yaml",
    ".yml": "application/yaml",
    # fonts and pictures
    ".apng": "image/apng",
    ".avif": "image/avif",
    ".eot": "application/vnd.ms-fontobject",
    ".glb": "model/gltf-binary",
    ".gltf": "model/gltf+json",
    ".heic": "image/heic",
    ".heif": "image/heif",
    ".jxl": "image/jxl",
    ".otf": "font/otf",
    ".ttc": "font/collection",
    ".ttf": "font/ttf",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    # sound and films
    ".flac": "audio/flac",
    ".m4a": "audio/mp4",
    ".m4v": "video/mp4",
    ".mkv": "video/matroska",
    ".mpd": "application/dash+xml",
    ".oga": "audio/ogg",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".opus": "audio/ogg",
    ".ts": "video/mp2t",
    ".vtt": "text/vtt",
    ".weba": "audio/webm",
}


def guess_media_type(name: str | bytes | os.PathLike[str] | os.PathLike[bytes]) -> str | None:
    """Return the media type of a file with this name or path, or None for an unknown extension.

    A compressed file gets the type of its format (``.json.gz``, ``.svgz`` and ``.tgz`` are
    ``application/gzip``), because responses send it unchanged, without Content-Encoding. Unlike
    ``mimetypes.guess_type``, this function never reads a path as a URL: ``data:text/html,.txt`` is a text
    file.
    """
    import mimetypes  # imported late: its first call reads system files

    extension = os.path.splitext(os.path.basename(os.fsdecode(name)))[1]
    if not extension:
        return None
    if extension != ".Z":  # the one extension whose case matters: ".z" is another format
        extension = extension.lower()
    # mimetypes parses its argument as a URL. This name has no scheme, query or fragment.
    media_type, coding = mimetypes.guess_type("file" + extension.replace(":", "_"))
    if coding is not None:
        return _TYPE_OF_CODING.get(coding)
    return media_type or _MORE_TYPES.get(extension)


def weigh_media_type(ranges: WeightedTypes, media_type: str) -> float | None:
    """Return the weight of a media type in an Accept field, or None if no range matches it.

    The most specific range decides. ``media_type`` is in lower case and has no parameters. Ranges with
    parameters never match.
    """
    # RFC 9110 s.12.5.1: the most specific reference has precedence
    for candidate in (media_type, media_type.partition("/")[0] + "/*", "*/*"):
        weights = [weight for name, weight in ranges if name == candidate]
        if weights:
            return max(weights)
    return None


def prefers_problem_details(accept: str | None) -> bool:
    """Return whether a client prefers problem details (RFC 9457) to plain text for an error.

    ``accept`` is the value of its Accept field, or None. A client that accepts ``application/json`` also
    gets ``application/problem+json``, unless it excludes that type. Problem details win a tie, such as
    ``*/*`` or a missing Accept field. Browsers list ``text/html`` and therefore get text.
    """
    if accept is None:
        return True
    ranges = parse_quality_list(accept)
    problem = weigh_media_type(ranges, "application/problem+json")
    if problem == 0.0:
        return False
    weight = max(problem or 0.0, weigh_media_type(ranges, "application/json") or 0.0)
    texts = (weigh_media_type(ranges, name) or 0.0 for name in ("text/html", "text/plain"))
    return weight > 0.0 and weight >= max(texts)
