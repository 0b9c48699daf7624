"""Opening files below a directory, also while somebody swaps links into the path."""

import errno
import os
import stat
import sys

import pytest

from spica.responses.file import opening
from spica.responses.file.opening import Opened, open_below, open_path, read_content

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="links need a right on Windows")

SECRET = b"not to be seen"


@pytest.fixture
def root(tmp_path):
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "a.txt").write_bytes(SECRET)
    (tmp_path / "public" / "dir").mkdir(parents=True)
    (tmp_path / "public" / "a.txt").write_bytes(b"public")
    (tmp_path / "public" / "dir" / "a.txt").write_bytes(b"public")
    return tmp_path / "public"


@pytest.fixture(params=["descriptors", "paths"])
def way(request, monkeypatch):
    """Both ways to open: by descriptors of directories, and by paths as on Windows."""
    monkeypatch.setattr(opening, "CAN_WALK", request.param == "descriptors")
    return request.param


def read(root, *names):
    opened = open_below(str(root), list(names))
    if opened is None:
        return None
    try:
        return read_content(opened)
    finally:
        opened.close()


@pytest.mark.parametrize("names", [("a.txt",), ("dir", "a.txt")])
def test_a_file_is_opened_with_its_status(root, way, names):
    opened = open_below(str(root), list(names))
    assert opened.path == os.path.join(root, *names)
    assert os.path.samestat(opened.status, os.stat(opened.path))
    assert os.path.samestat(os.fstat(opened.descriptor), opened.status)
    opened.close()


@pytest.mark.parametrize("names", [[], ["dir"]])
def test_a_directory_is_found_but_not_opened(root, way, names):
    opened = open_below(str(root), names)
    assert opened.descriptor is None
    assert stat.S_ISDIR(opened.status.st_mode)


def test_a_look_up_opens_nothing(root, way):
    opened = open_below(str(root), ["a.txt"], reads=False)
    assert (opened.descriptor, opened.status.st_size) == (None, 6)


@pytest.mark.parametrize("names", [["none"], ["none", "a.txt"], ["dir", "none"]])
def test_what_is_missing_is_an_error(root, way, names):
    with pytest.raises(FileNotFoundError):
        open_below(str(root), names)


def test_a_file_is_no_directory(root, way):
    with pytest.raises(NotADirectoryError):
        open_below(str(root), ["a.txt", "b"])


@pytest.mark.parametrize(
    ("target", "names", "content"),
    [
        ("a.txt", ["link"], b"public"),
        ("dir", ["link", "a.txt"], b"public"),
        ("dir/../a.txt", ["link"], b"public"),
        ("../public/a.txt", ["link"], b"public"),
        ("../secret/a.txt", ["link"], None),
        ("../secret", ["link", "a.txt"], None),
        ("..", ["link", "secret", "a.txt"], None),
    ],
)
def test_links_are_followed_inside_the_directory_only(root, way, target, names, content):
    (root / "link").symlink_to(target)
    assert read(root, *names) == content


def test_links_with_absolute_targets_are_followed_inside_too(root, way):
    (root / "link").symlink_to(root / "a.txt")
    (root / "out").symlink_to(root.parent / "secret" / "a.txt")
    assert (read(root, "link"), read(root, "out")) == (b"public", None)


def test_links_in_a_circle_are_an_error(root, way):
    (root / "link").symlink_to("link")
    with pytest.raises(OSError, match="symbolic links"):
        open_below(str(root), ["link"])


def test_the_directory_itself_may_be_a_link(root, way):
    (root.parent / "current").symlink_to("public")
    assert read(root.parent / "current", "dir", "a.txt") == b"public"


def test_a_pipe_does_not_hold_the_thread(root, way):
    os.mkfifo(root / "pipe")
    assert open_below(str(root), ["pipe"]).descriptor is None


class SwapBefore:
    """Call a function of the system, but put a link in the place of a path just before call ``number``."""

    def __init__(self, function, path, target, number):
        self.function, self.path, self.target, self.left = function, path, target, number

    def __call__(self, *args, **kwargs):
        self.left -= 1
        if self.left == 0:
            os.rename(self.path, f"{self.path}.old")
            os.symlink(self.target, self.path)
        return self.function(*args, **kwargs)


@pytest.mark.parametrize("swapped", ["a.txt", "dir"])
@pytest.mark.parametrize("function", ["open", "stat", "fstat", "lstat", "close"])
@pytest.mark.parametrize("number", range(1, 7))
def test_a_link_swapped_in_at_any_step_never_leads_out(
    root, way, monkeypatch, swapped, function, number
):
    names = ["a.txt"] if swapped == "a.txt" else ["dir", "a.txt"]
    target = "../secret/a.txt" if swapped == "a.txt" else "../secret"
    swap = SwapBefore(getattr(os, function), str(root / swapped), target, number)
    monkeypatch.setattr(os, function, swap)
    if way == "paths" and swapped == "dir":
        pytest.skip("without descriptors of directories, one check can be raced with another")
    try:
        content = read(root, *names)
    except FileNotFoundError:  # at the moment between rename and link, so to speak
        content = None
    assert content in (b"public", None)


def test_a_path_that_never_holds_still_counts_as_missing(root, monkeypatch):
    (root / "link").symlink_to("a.txt")
    resolve = os.path.realpath
    monkeypatch.setattr(
        os.path, "realpath", lambda path, **kw: f"{resolve(root)}/link" if kw else resolve(path)
    )
    with pytest.raises(FileNotFoundError, match="changed while it was opened"):
        open_below(str(root), ["link"])


def test_a_link_that_becomes_a_file_while_it_is_read_is_read_as_one(root, monkeypatch):
    (root / "link").symlink_to("a.txt")

    def readlink(path, **options):
        os.unlink(path)
        os.rename(root / "dir" / "a.txt", path)
        raise OSError(errno.EINVAL, "Invalid argument")

    monkeypatch.setattr(os, "readlink", readlink)
    assert read(root, "link") == b"public"


def test_open_path_follows_links(root):
    (root / "out").symlink_to("../secret/a.txt")
    opened = open_path(str(root / "out"))
    assert read_content(opened) == SECRET
    opened.close()


def test_content_that_changes_while_it_is_read_is_none(root):
    opened = open_path(str(root / "a.txt"))
    (root / "a.txt").write_bytes(b"longer than before")
    assert read_content(opened) is None
    opened.close()


def test_what_was_not_opened_has_no_content(root):
    assert read_content(Opened(str(root), os.stat(root))) is None


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs a list of open files")
def test_no_descriptor_stays_open(root, way):
    (root / "link").symlink_to("dir/a.txt")
    before = len(os.listdir("/proc/self/fd"))
    for names in (["a.txt"], ["dir", "a.txt"], ["link"], ["dir"], []):
        read(root, *names)
    for names in (["none"], ["dir", "none"], ["a.txt", "b"]):
        with pytest.raises(OSError, match=names[0]):
            read(root, *names)
    assert len(os.listdir("/proc/self/fd")) == before
