"""Names that packages import from here to build parsers of their own; spica uses none of them."""

import sys
from dataclasses import dataclass, field
from enum import Enum

from spica.datastructures import UploadFile
from spica.exceptions import SpicaDeprecationWarning

if sys.version_info >= (3, 13):
    from warnings import deprecated
else:
    from typing_extensions import deprecated


@dataclass
class MultipartPart:
    """Hold one part of a form while it is being read: for parsers written on top of spica."""

    content_disposition: bytes | None = None
    field_name: str = ""
    data: bytearray = field(default_factory=bytearray)
    file: UploadFile | None = None
    item_headers: list[tuple[bytes, bytes]] = field(default_factory=list)


@deprecated(
    "`FormMessage` is deprecated and will be removed in a future version.",
    category=SpicaDeprecationWarning,
)
class FormMessage(Enum):
    """Name the steps of a parser that calls back; deprecated, nothing uses them."""

    FIELD_START = 1
    FIELD_NAME = 2
    FIELD_DATA = 3
    FIELD_END = 4
    END = 5
