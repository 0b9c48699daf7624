import pickle

import pytest

from spica.formparsers.errors import MultiPartException, too_large, too_many


def test_an_exception_has_its_message_and_a_status():
    error = MultiPartException("what is wrong")
    assert (error.message, error.status_code, str(error)) == ("what is wrong", 400, "what is wrong")


def test_an_exception_can_be_pickled():
    copy = pickle.loads(pickle.dumps(MultiPartException("too long", 413)))
    assert (copy.message, copy.status_code) == ("too long", 413)


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
