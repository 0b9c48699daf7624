"""Data of requests and responses: headers, URLs, parameters, forms, files and state."""

from spica.datastructures.forms import FormData, UploadFile
from spica.datastructures.headers import Headers, MutableHeaders
from spica.datastructures.multidict import ImmutableMultiDict, MultiDict, QueryParams
from spica.datastructures.secrets import CommaSeparatedStrings, Secret
from spica.datastructures.state import State
from spica.datastructures.url import URL, Address, URLPath

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
