"""The chunks of a body, put together."""

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spica._asgi.body import SMALL_SIZE, ChunkBuffer


@given(
    st.lists(st.integers(0, 3).flatmap(lambda n: st.binary(min_size=n, max_size=n * SMALL_SIZE)))
)
def test_they_are_joined_in_order(chunks: list[bytes]) -> None:
    gathering = ChunkBuffer()
    for chunk in chunks:
        gathering.add(chunk)
    assert gathering.size == sum(map(len, chunks))
    assert gathering.join() == b"".join(chunks)


@pytest.mark.parametrize("size", [1, 2, SMALL_SIZE - 1, SMALL_SIZE, SMALL_SIZE + 1])
def test_small_ones_take_not_many_times_their_size_in_memory(size: int) -> None:
    gathering = ChunkBuffer()
    for index in range(1000):
        gathering.add(index.to_bytes(2, "big")[-size:].rjust(size, b"x"))
    kept = sum(map(sys.getsizeof, [gathering._parts, *gathering._parts]))
    assert kept < 1.5 * gathering.size + 1024
