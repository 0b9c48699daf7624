"""Form bodies: ``multipart/form-data`` (RFC 7578) and ``application/x-www-form-urlencoded``.

Most applications only need `Request.form()` and `Request.parts()`, which use these classes.
"""

from spica.formparsers.errors import MAX_MEMORY_SIZE, MultiPartException
from spica.formparsers.limits import MAX_TOTAL_SIZE, FormLimits
from spica.formparsers.multipart_parser import FormMessage, MultiPartParser, MultipartPart
from spica.formparsers.reading import FormReader, read_parts
from spica.formparsers.streamed import Part, PartStream

# `__getattr__` imports SpooledTemporaryFile on first use.
from spica.formparsers.upload_storage import __getattr__ as __getattr__
from spica.formparsers.urlencoded_parser import FormParser

__all__ = [
    "MAX_MEMORY_SIZE",
    "MAX_TOTAL_SIZE",
    "FormLimits",
    "FormMessage",
    "FormParser",
    "FormReader",
    "MultiPartException",
    "MultiPartParser",
    "MultipartPart",
    "Part",
    "PartStream",
    "SpooledTemporaryFile",  # pyright: ignore[reportUnsupportedDunderAll]
    "read_parts",
]
