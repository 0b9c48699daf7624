import pickle

import pytest

from spica.formparsers.errors import MultiPartException, beyond, malformed, too_large, too_many


def test_an_exception_has_its_message_and_a_status():
    error = MultiPartException("what is wrong")
    assert (error.message, error.status_code, str(error)) == ("what is wrong", 400, "what is wrong")


def test_a_reason_is_part_of_the_text_and_not_of_the_message():
    error = beyond("Too long.")
    assert (error.message, error.reason) == ("Invalid multipart data.", "Too long.")
    assert str(error) == "Invalid multipart data. Too long."


def test_what_is_malformed_is_said_in_the_message():
    assert malformed("no end").message == "Invalid multipart data: no end."


def test_an_exception_can_be_pickled():
    error = MultiPartException("what", status_code=413, reason="why")
    copy = pickle.loads(pickle.dumps(error))
    assert (copy.message, copy.status_code, copy.reason) == ("what", 413, "why")


@pytest.mark.parametrize(
    ("limit", "text"),
    [
        pytest.param(1024, "Part exceeded maximum size of 1KB.", id="1-KiB"),
        pytest.param(1024 * 1024, "Part exceeded maximum size of 1024KB.", id="1-MiB"),
        pytest.param(1500, "Part exceeded maximum size of 1500 bytes.", id="no-whole-KiB"),
        pytest.param(10, "Part exceeded maximum size of 10 bytes.", id="small"),
        pytest.param(0, "Part exceeded maximum size of 0 bytes.", id="zero"),
    ],
)
def test_a_size_limit_is_named(limit, text):
    assert too_large("Part", limit).message == text


def test_a_limit_in_number_is_named():
    assert too_many("files", 3).message == "Too many files. Maximum number of files is 3."
