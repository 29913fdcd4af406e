"""LZF as it stands in compressed PCD files."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from amiss.data.headers import Damaged
from amiss.data.lzf import decompress
from tests.data.cloud_files import literals, lzf, reference


def test_a_run_of_literals_is_copied() -> None:
    assert decompress(b"\x02abc", 3) == b"abc"


def test_a_short_reference_copies_what_came_before() -> None:
    assert decompress(b"\x04abcde" + b"\x20\x04", 8) == b"abcdeabc"  # length 1 + 2 from 4 + 1 back


def test_a_long_reference_takes_its_length_from_two_bytes() -> None:
    raw = bytes(range(200))
    assert decompress(literals(raw) + b"\xe0\x64\xc7", 200 + 109) == raw + raw[:109]  # 7 + 100 + 2 from 199 + 1 back


def test_a_reference_that_overlaps_itself_repeats() -> None:
    assert decompress(b"\x01ab" + reference(2, 7), 9) == b"ababababa"
    assert decompress(b"\x00a" + reference(1, 264), 265) == b"a" * 265


def test_a_reference_reaches_8192_bytes_back() -> None:
    raw = bytes(range(256)) * 32
    assert decompress(literals(raw) + reference(8192, 4), len(raw) + 4) == raw + raw[:4]


@given(st.binary(max_size=600) | st.text("ab", max_size=900).map(str.encode))
def test_what_was_packed_comes_back(raw: bytes) -> None:
    assert decompress(lzf(raw), len(raw)) == raw
    assert decompress(literals(raw), len(raw)) == raw


@given(st.binary(max_size=200), st.integers(0, 3000))
def test_any_bytes_give_the_length_asked_for_or_are_refused(data: bytes, length: int) -> None:
    with contextlib.suppress(Damaged):
        assert len(decompress(data, length)) == length


@pytest.mark.parametrize(
    "data",
    [b"\x03abc", b"\x02abc\x20", b"\x02abc\xe0\x01", b"\x20\x00", b"\x02abc\x20\x03", b"\x02abc\x03defg", b"\x01ab", b""],
    ids=[
        "short run",
        "no distance",
        "no distance after a length",
        "nothing before",
        "too far back",
        "too long",
        "too short",
        "none",
    ],
)
def test_corrupt_data_are_refused(data: bytes) -> None:
    with pytest.raises(Damaged, match="its compressed data are corrupt"):
        decompress(data, 3 if data != b"\x02abc\x20\x03" else 6)


def test_data_that_swell_stop_at_the_length_asked_for() -> None:
    swelling = b"\x00a" + reference(1, 264) * 100_000
    with pytest.raises(Damaged, match="265 bytes where its header says 10"):
        decompress(swelling, 10)
