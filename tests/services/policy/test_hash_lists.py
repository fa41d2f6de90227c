"""Lists of known files."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from homeserver.services.policy.hash_lists import (
    BadHashList,
    PerceptualIndex,
    load_perceptual_list,
    load_sha256_list,
)

HASH = st.integers(0, 2**64 - 1)


def flipped(known: int, bits: set[int]) -> int:
    for bit in bits:
        known ^= 1 << bit
    return known


@given(
    seed=st.integers(0, 2**32),
    wanted=HASH,
    bits=st.sets(st.integers(0, 63), max_size=20),
    distance=st.integers(0, 20),
)
@settings(max_examples=150, deadline=None)
def test_the_index_finds_what_comparing_all_finds(
    seed: int, wanted: int, bits: set[int], distance: int
) -> None:
    noise = random.Random(seed)
    hashes = [noise.getrandbits(64) for _ in range(3_000)] + [flipped(wanted, bits)]

    found = PerceptualIndex(hashes).nearest(wanted, distance)

    least = min((known ^ wanted).bit_count() for known in hashes)
    if least > distance:
        assert found is None
    else:
        assert found in hashes
        assert (found ^ wanted).bit_count() == least


@given(hashes=st.lists(HASH, max_size=300), wanted=HASH, distance=st.integers(0, 64))
def test_short_lists_and_great_distances_work_too(
    hashes: list[int], wanted: int, distance: int
) -> None:
    found = PerceptualIndex(hashes).nearest(wanted, distance)

    near = [known for known in hashes if (known ^ wanted).bit_count() <= min(distance, 32)]
    assert (found is None) == (not near)
    assert found is None or (found ^ wanted).bit_count() == min(
        (known ^ wanted).bit_count() for known in near
    )


def test_few_of_many_hashes_are_compared() -> None:
    noise = random.Random(5)
    index = PerceptualIndex(noise.getrandbits(64) for _ in range(100_000))

    looked_at = [sum(1 for _ in index._candidates(noise.getrandbits(64), 8)) for _ in range(20)]

    assert max(looked_at) < 2_000


def test_the_output_of_sha256sum_is_a_list(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"# known\n{'AB' * 32}  cat.png\n\n   {'cd' * 32}\n")

    assert load_sha256_list(path) == {bytes.fromhex("ab" * 32), bytes.fromhex("cd" * 32)}


def test_a_list_of_pictures_is_an_index(tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_text("ffff0000ffff0000 a cat\n0123456789abcdef\n")

    index = load_perceptual_list(path)

    assert len(index) == 2
    assert index.nearest(0xFFFF0000FFFF0001, 1) == 0xFFFF0000FFFF0000
    assert index.nearest(0xFFFF0000FFFF0003, 1) is None


@pytest.mark.parametrize("line", ["abc", "g" * 64, "ab" * 33, "ab" * 16, "+" + "0" * 63])
def test_a_bad_line_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(f"{'ab' * 32}\n{line}\n")

    with pytest.raises(BadHashList, match=r"list\.txt:2: expected 64 hexadecimal digits"):
        load_sha256_list(path)


def test_a_list_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")

    with pytest.raises(BadHashList, match="missing: No such file"):
        load_sha256_list(tmp_path / "missing")
    with pytest.raises(BadHashList, match="binary: not text"):
        load_sha256_list(tmp_path / "binary")
