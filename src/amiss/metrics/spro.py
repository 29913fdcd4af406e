"""How well maps find defects that need not be covered: the saturated per-region overlap, sPRO.

Bergmann et al., "Beyond Dents and Scratches: Logical Constraints in Unsupervised Anomaly Detection and Localization", IJCV
2022. A picture has defect channels A_i, each with a saturation s_i: the number of its pixels that count as all of it. Of two
pushpins in one box it is enough to mark one. With P_t the pixels that score above t,

    sPRO(t) = mean over all channels of all pictures of min(|P_t and A_i| / s_i, 1)

and the curve runs over the false-positive rate on pixels that are fine in every channel of their picture. The area up to a
limit is divided by the limit. With a channel for each 8-connected region, full at its area, this is AUPRO. Here too no mask
is made at any threshold: of the pixels of a channel, the highest score first, the k-th (from 0) raises its overlap by
clip(s_i - k, 0, 1) / s_i, and the area of `regions` does not care where such weights come from.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.errors import BadSample
from amiss.metrics.regions import Overlap, Part, check_limit, checked_mask, paired

Array = npt.NDArray[Any]
Regions = Sequence[tuple[Array, float]]

LIMITS = (0.01, 0.05, 0.1, 0.3, 1.0)
HEADLINE = 0.05


def au_spro(maps: Iterable[Array], regions: Iterable[Regions], *, limits: Sequence[float] = LIMITS) -> dict[float, float]:
    """Area under the saturated per-region overlap up to each limit of the false-positive rate, divided by that limit.

    maps     as in `saturated`, good pictures included     regions  as in `saturated`
    limits   each above 0 and at most 1
    raises   BadField for another limit, BadSample as `saturated`, UndefinedMetric without fine pixels or without channels
    """
    for limit in limits:
        check_limit(limit)
    overlap = Overlap.gather(saturated(maps, regions))
    return {limit: overlap.area(limit) for limit in limits}


def saturated(maps: Iterable[Array], regions: Iterable[Regions]) -> Iterator[Part]:
    """Pictures whose regions are defect channels, of which only the pixels that still count are kept.

    maps     each (H, W), raw, higher is more anomalous, at the size of the original picture; float32 stays float32
    regions  for each map its channels, none for a good picture: (mask, saturation) with mask (H, W) bool, not empty, and
             1 <= saturation <= its area, in pixels. Channels may overlap
    raises   BadSample naming the map and the channel that do not fit
    """
    for index, (scores, channels) in enumerate(paired(maps, regions, "lists of channels")):
        fine = np.ones(scores.shape, np.bool_)
        marked, shares = [np.empty(0, scores.dtype)], [np.empty(0)]
        for mask, saturation in _checked(channels, scores.shape, index):
            fine &= ~mask
            count = int(np.ceil(saturation))
            marked.append(np.sort(scores[mask])[: -count - 1 : -1])
            shares.append(np.minimum(saturation - np.arange(count), 1) / saturation)
        yield Part(scores[fine], np.concatenate(marked), np.concatenate(shares), len(marked) - 1)


def _checked(channels: Regions, shape: tuple[int, ...], index: int) -> Iterator[tuple[Array, float]]:
    try:
        pairs = [(np.asarray(mask), float(saturation)) for mask, saturation in channels]
    except (TypeError, ValueError):
        raise BadSample(
            f"the channels of map {index} are no pairs; wanted (mask, saturation) for each defect, [] for a good picture"
        ) from None
    for place, (mask, saturation) in enumerate(pairs):
        name = f"channel {place} of map {index}"
        area = int(checked_mask(mask, shape, name).sum())
        if not area:
            raise BadSample(f"{name} marks no pixel, so nothing of it can be found; leave it out")
        if not 1 <= saturation <= area:
            raise BadSample(
                f"{name} is full at {saturation:g} pixels; wanted at least 1 and at most its area, {area} pixels: "
                "max(1, int(share * area)) for a share of the area, min(pixels, area) for a number of pixels"
            )
        yield mask, saturation
