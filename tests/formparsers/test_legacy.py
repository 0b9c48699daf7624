import pytest

from spica.datastructures import UploadFile
from spica.exceptions import SpicaDeprecationWarning
from spica.formparsers import FormMessage, MultipartPart


def test_a_part_starts_empty():
    part = MultipartPart()
    assert part == MultipartPart(None, "", bytearray(), None, [])


def test_a_part_takes_data_and_headers_as_parsers_of_other_packages_do():
    part = MultipartPart(content_disposition=b"form-data; name=a", field_name="a")
    part.data += b"some"
    part.item_headers.append((b"content-type", b"text/plain"))
    part.file = UploadFile(None)
    assert part.data == b"some"
    assert MultipartPart().item_headers == []


def test_form_message_can_be_imported_and_warns_when_it_is_called():
    assert [(member.name, member.value) for member in FormMessage] == [
        ("FIELD_START", 1),
        ("FIELD_NAME", 2),
        ("FIELD_DATA", 3),
        ("FIELD_END", 4),
        ("END", 5),
    ]
    with pytest.warns(SpicaDeprecationWarning, match="`FormMessage` is deprecated"):
        FormMessage(1)
