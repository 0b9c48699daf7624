"""Data of requests and responses: headers, URLs, parameters, forms, files and state."""

from typing import TYPE_CHECKING

from spica._lazy import LazyNames
from spica.datastructures.forms import FormData, UploadFile
from spica.datastructures.headers import Headers, MutableHeaders
from spica.datastructures.multidict import ImmutableMultiDict, MultiDict, QueryParams
from spica.datastructures.state import State
from spica.datastructures.url import URL, Address, URLPath

if TYPE_CHECKING:
    from spica.datastructures.secrets import CommaSeparatedStrings, Secret
else:
    __getattr__ = LazyNames(
        __name__, {"spica.datastructures.secrets": "CommaSeparatedStrings Secret"}
    )
    __dir__ = __getattr__.list_names

__all__ = [
    "URL",
    "Address",
    "CommaSeparatedStrings",
    "FormData",
    "Headers",
    "ImmutableMultiDict",
    "MultiDict",
    "MutableHeaders",
    "QueryParams",
    "Secret",
    "State",
    "URLPath",
    "UploadFile",
]
