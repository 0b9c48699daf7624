"""Form bodies: ``multipart/form-data`` (RFC 7578) and ``application/x-www-form-urlencoded``.

Most applications use `Request.form()` and `Request.parts()`, which stand on these classes.
"""

from spica.formparsers.errors import MAX_MEMORY_SIZE, MultiPartException
from spica.formparsers.legacy import FormMessage, MultipartPart
from spica.formparsers.limits import MAX_TOTAL_SIZE, FormLimits
from spica.formparsers.multipart_parser import MultiPartParser
from spica.formparsers.reading import FormReader, read_parts
from spica.formparsers.streamed import Part, PartStream

# `__getattr__` fetches SpooledTemporaryFile when it is first needed.
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
    "SpooledTemporaryFile",
    "read_parts",
]
