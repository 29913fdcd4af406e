"""Samples that are read when they are needed and never all held."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator

import numpy as np
import pytest

import amiss
from amiss.kit.subset import Subset, in_sequence
from amiss.types import Sample


class Reread:
    """A re-iterable without a length that watches how many of its samples live at once."""

    def __init__(self, count: int) -> None:
        self.count, self.alive, self.most, self.passes = count, 0, 0, 0

    def __iter__(self) -> Iterator[Sample]:
        self.passes += 1
        for index in range(self.count):
            rng = np.random.default_rng(index)
            sample = Sample(id=str(index), image=rng.integers(0, 256, (64, 64, 3), np.uint8))
            self.alive += 1
            self.most = max(self.most, self.alive)
            weakref.finalize(sample, self._gone)
            yield sample
            del sample

    def _gone(self) -> None:
        self.alive -= 1


def test_a_sequence_stays_itself_and_an_iterable_learns_its_length() -> None:
    listed = list(Reread(3))
    assert in_sequence(listed) is listed
    counted = in_sequence(Reread(3))
    assert len(counted) == 3 and [s.id for s in counted] == ["0", "1", "2"]
    assert counted[1].id == "1" and counted[-1].id == "2" and [s.id for s in counted[1:]] == ["1", "2"]
    with pytest.raises(IndexError):
        counted[3]


def test_a_subset_reads_only_its_own() -> None:
    assert [sample.id for sample in Subset(in_sequence(Reread(5)), [4, 0])] == ["4", "0"]


@pytest.mark.parametrize("name", ["patchcore", "padim", "rad", "spade", "musc_v2"])
def test_no_fit_holds_all_pictures_of_an_iterable(name: str) -> None:
    watched = Reread(12)
    quick = type(amiss.detector(name)).quick
    amiss.detector(name, **{**quick, "size": 64}).fit(watched)
    gc.collect()
    assert watched.most <= 4 and watched.passes > 1
