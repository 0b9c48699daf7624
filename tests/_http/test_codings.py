"""Tests of spica/_http/codings.py."""

import itertools
import sys
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spica._http import codings
from spica._http.codings import (
    _FREE_PARTS,
    _PART_SIZE,
    DECODERS,
    ENCODERS,
    IDENTITY,
    LEVELS,
    Accepted,
    MalformedEncoding,
    choose_coding,
    is_available,
)

OFFERED = ("zstd", "br", "gzip")
WEIGHTS = (None, 0, 0.5, 1)
TEXT = b"".join(b"line %d of a text that repeats itself\n" % (i * 7919 % 100) for i in range(2000))


# -- the choice ------------------------------------------------------------------------------------------


def model(weights):
    """RFC 9110 s.12.5.3, written as its text: a preference for each coding, then the best one."""
    ranking = []
    for position, coding in enumerate(OFFERED):
        weight = weights.get(coding, weights.get("*"))
        if weight:  # not listed, or "not acceptable"
            ranking.append((-weight, position, coding))
    # Without a coding, a response is always possible; without a weight, it comes last.
    ranking.append((-weights.get(IDENTITY, 0), len(OFFERED), IDENTITY))
    return min(ranking)[2]


@pytest.mark.parametrize("star", WEIGHTS)
def test_all_combinations_of_weights_agree_with_the_model(star):
    names = (*OFFERED, IDENTITY, "*")
    for values in itertools.product(WEIGHTS, repeat=4):
        weights = {
            name: weight
            for name, weight in zip(names, (*values, star), strict=True)
            if weight is not None
        }
        for order in (list(weights), list(weights)[::-1]):
            field = ", ".join(f"{name};q={weights[name]}" for name in order)
            assert choose_coding(field, OFFERED) == model(weights), field


@pytest.mark.parametrize(
    ("field", "expected"),
    [
        ("gzip, deflate, br, zstd", "zstd"),
        ("gzip, deflate, br", "br"),
        ("gzip, deflate", "gzip"),
        ("br;q=0.1, gzip;q=1", "gzip"),
        ("zstd;q=0.999, gzip", "gzip"),
        ("GZIP", "gzip"),
        ("x-gzip", "gzip"),
        ("*", "zstd"),
        ("*;q=0", IDENTITY),
        ("zstd;q=0, *", "br"),
        ("identity;q=0", IDENTITY),  # nothing is acceptable
        ("identity, gzip;q=0.5", IDENTITY),
        ("compress", IDENTITY),
        ("", IDENTITY),
        ("gzip;q=2", IDENTITY),
        ("gzip;q=0.0001, br;q=0.001", "br"),
        ("gzip ; q=1 , br;q=0.9", "gzip"),
        ("\xff, gzip", "gzip"),
    ],
)
def test_fields_of_clients(field, expected):
    assert choose_coding(field, OFFERED) == expected


def test_the_order_of_the_offer_decides_between_equal_weights():
    assert choose_coding("gzip, br, zstd", ("gzip", "br")) == "gzip"
    assert choose_coding("gzip, br, zstd", ()) == IDENTITY


def test_several_fields_are_one_list():
    accepted = Accepted(OFFERED)
    assert accepted.choose([(b"accept-encoding", b"gzip"), (b"accept-encoding", b"br")]) == "br"
    assert accepted.choose([(b"accept", b"gzip")]) == IDENTITY


def test_the_cache_of_fields_stays_small():
    accepted = Accepted(OFFERED)
    for number in range(1000):
        assert accepted.choose([(b"accept-encoding", b"gzip, x%d" % number)]) == "gzip"
    accepted.choose([(b"accept-encoding", b"br, " + b"x" * 1000)])
    assert len(accepted._known) <= 64
    assert max(map(len, accepted._known)) <= 100


# -- encoding --------------------------------------------------------------------------------------------


def decode(coding, encoded, step=None, size=1000):
    """Return the decoded body, which arrives in chunks of ``step`` bytes."""
    decoder = DECODERS[coding](coding)
    decoded = b""
    for start in range(0, len(encoded), step or len(encoded) or 1):
        decoded += decoder.decode(encoded[start : start + (step or len(encoded))], size)
        while decoder.has_more:
            decoded += decoder.decode(b"", size)
    decoder.finish()
    return decoded


def encode(coding, body=TEXT, level=None):
    encoder = ENCODERS[coding](LEVELS[coding][-1] if level is None else level)
    return encoder.encode(body, is_end=True)


PARTS = _FREE_PARTS + 2 * 10_000 // _PART_SIZE


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize(
    ("empty", "is_allowed"), [(PARTS - 3, True), (PARTS - 2, True), (PARTS - 1, False)]
)
def test_a_body_has_a_largest_number_of_parts_for_its_size(coding, empty, is_allowed):
    """Each part takes time, even if it is empty."""
    encoded = encode(coding, b"a" * 10_000) * 2 + encode(coding, b"") * empty
    if is_allowed:
        assert len(decode(coding, encoded)) == 20_000
    else:
        with pytest.raises(MalformedEncoding, match="too many parts"):
            decode(coding, encoded)


@pytest.mark.parametrize("coding", OFFERED)
@pytest.mark.parametrize("end", [0, -1])
def test_the_lowest_and_the_highest_level_work(coding, end):
    encoded = encode(coding, level=LEVELS[coding][end])
    assert decode(coding, encoded) == TEXT
    assert len(encoded) < len(TEXT)


@pytest.mark.parametrize("coding", OFFERED)
def test_a_flushed_chunk_can_be_decoded_at_once(coding):
    encoder, decoder = ENCODERS[coding](4), DECODERS[coding](coding)
    for chunk in (b"first", b"second"):
        assert decoder.decode(encoder.encode(chunk, is_end=False), 1000) == chunk
    decoder.decode(encoder.encode(b"", is_end=True), 1000)
    decoder.finish()


@pytest.mark.parametrize("coding", OFFERED)
def test_without_flush_small_chunks_wait(coding):
    encoder = ENCODERS[coding](4)
    parts = [encoder.encode(b"chunk", is_end=False, flush=False) for _ in range(10)]
    assert sum(map(len, parts)) <= 10  # a header at most
    parts.append(encoder.encode(b"", is_end=True))
    assert decode(coding, b"".join(parts)) == b"chunk" * 10


def test_the_window_of_zstandard_is_at_most_8_mib():
    # RFC 9659 s.3. With this content, level 22 would use a window of 128 MiB.
    encoder = ENCODERS["zstd"](22)
    encoded = encoder.encode(b"x", is_end=False) + encoder.encode(b"y", is_end=True)
    descriptor, window = encoded[4], encoded[5]
    assert not descriptor & 0x20  # RFC 8878 s.3.1.1.1.1: not a single segment, so a window follows
    assert 10 + (window >> 3) <= 23


# -- decoding --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", OFFERED)
@given(body=st.binary(max_size=3000), step=st.integers(1, 400), size=st.integers(1, 2000))
@settings(max_examples=40, deadline=None)
def test_any_split_of_the_input_decodes_to_the_same_body(coding, body, step, size):
    body *= 3
    assert decode(coding, encode(coding, body, 4), step, size) == body


@pytest.mark.parametrize("wbits", [15, -15], ids=["zlib", "raw"])
@pytest.mark.parametrize("step", [None, 7])
def test_deflate_with_and_without_its_header(wbits, step):
    compressor = zlib.compressobj(6, zlib.DEFLATED, wbits)
    encoded = compressor.compress(TEXT) + compressor.flush()
    assert decode("deflate", encoded, step) == TEXT


@pytest.mark.parametrize("size", [17, 300])
@pytest.mark.parametrize("step", [None, 7])
def test_output_that_zlib_keeps_after_the_last_byte_belongs_to_the_body(size, step):
    """Without a trailer, the last byte of the input may hold more output than one call returns."""
    body = b"hello world " * 400
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    encoded = compressor.compress(body) + compressor.flush()
    assert decode("deflate", encoded, step, size) == body


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("step", [None, 1])
def test_several_members_are_one_body(coding, step):
    # RFC 1952 s.2.2, RFC 8878 s.3
    encoded = encode(coding, b"one ", 4) + encode(coding, b"two", 4)
    assert decode(coding, encoded, step) == b"one two"


@pytest.mark.parametrize("coding", OFFERED)
@pytest.mark.parametrize(
    "spoil",
    [
        lambda encoded: encoded[:-1],
        lambda encoded: encoded[: len(encoded) // 2],
        lambda encoded: encoded[:1],
        lambda encoded: encoded + b"garbage",
        lambda encoded: encoded + bytes(20),
        lambda encoded: b"\x00garbage garbage garbage",
        lambda encoded: encoded[:20] + bytes(20) + encoded[40:],
    ],
    ids=["last byte", "half", "first byte", "more", "zeros", "garbage", "middle"],
)
@pytest.mark.parametrize("step", [None, 1])
def test_a_malformed_body_is_an_error(coding, spoil, step):
    with pytest.raises(MalformedEncoding):
        decode(coding, spoil(encode(coding, level=4)), step)


@pytest.mark.parametrize("coding", DECODERS)
@given(data=st.binary(max_size=200))
@settings(max_examples=100, deadline=None)
def test_garbage_raises_nothing_else(coding, data):
    try:
        decode(coding, data)
    except MalformedEncoding:
        pass


@pytest.mark.parametrize("coding", OFFERED)
def test_a_bomb_is_decoded_in_pieces(coding):
    decoder = DECODERS[coding](coding)
    piece = decoder.decode(encode(coding, bytes(10_000_000), 4), 50_000)
    assert 50_000 <= len(piece) <= 100_000
    assert decoder.has_more


@pytest.mark.parametrize("coding", DECODERS)
def test_an_empty_body_is_accepted(coding):
    decoder = DECODERS[coding](coding)
    assert decoder.decode(b"", 100) == b""
    decoder.finish()


# -- packages --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("coding", ["br", "zstd"])
def test_a_missing_package_is_named(coding, monkeypatch):
    monkeypatch.setattr(codings, "_loaded", {})
    for name in codings._MODULES[coding]:
        monkeypatch.setitem(sys.modules, name, None)
    assert not is_available(coding)
    assert is_available("gzip")
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'spica\[compression\]'"):
        encode(coding)
