"""From patch scores to one score for the picture.

`max`      the largest patch score (the published code of PatchCore)
`top`      mean of the largest share of patch scores: steadier than the maximum, ours
`paper`    PatchCore, equations 6 and 7: the largest score, weighted down where its nearest bank vector lies among
           many others; the anchor itself is one of its own neighbours, as in anomalib
`rvorias`  the same without the anchor in the sum and with distances divided by sqrt(C), as in ind_knn_ad
"""

from __future__ import annotations

from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from amiss.kit.memory import MemoryBank
from amiss.spread import GridSpread

Array = npt.NDArray[Any]
ScoreRule = Literal["max", "top", "paper", "rvorias"]
Area = Literal["cells", "map"]
RULES: tuple[str, ...] = get_args(ScoreRule)


def top_mean(scores: Array, share: float) -> float:
    """Mean of the largest share of the values, at least one of them.

    scores  any shape     share  0 < share <= 1
    """
    flat = scores.ravel()
    count = max(1, round(share * flat.size))
    return float(np.partition(flat, flat.size - count)[flat.size - count :].mean(dtype=np.float64))


def area_score(scores: Array, spread: GridSpread, share: float, *, over: Area) -> float:
    """Mean of the largest share of the cells, or of the pixels of the blurred map at the network's size; 0 for the largest.

    scores  (rows, columns)     over  "cells" or "map"
    """
    if over == "map":
        scores = GridSpread(shape=spread.size, size=spread.size, sigma=spread.sigma)(scores)
    return top_mean(scores, share) if share else float(scores.max())


def reweighted(patch: Array, distance: float, anchor: int, bank: MemoryBank, *, neighbours: int, rule: str) -> float:
    """The largest patch score times 1 - softmax of its anchor among the anchor's neighbours.

    patch   (C,) the most anomalous patch     distance  to its nearest bank vector     anchor  index of that vector
    neighbours  b, cut to the bank's size; where that is 1 there is nothing to weigh against and the distance comes back
    rule    "paper" or "rvorias"
    source  Roth et al. 2022, equation 7; the sum is done as log-sum-exp, for exp(distance) overflows
    """
    count = min(neighbours, len(bank))
    if count == 1:
        return distance
    _, around = bank.nearest(bank.vectors[anchor][None], count)
    others = [member for member in around[0] if member != anchor][: count - 1]  # an exact twin may have taken its place
    difference = bank.vectors[[anchor, *others]] - patch
    logits = np.sqrt(np.einsum("ij,ij->i", difference, difference, dtype=np.float64))
    if rule == "rvorias":
        logits /= np.sqrt(len(patch))
    summed = logits[1:] if rule == "rvorias" else logits
    peak = summed.max()
    log_sum = peak + np.log(np.exp(summed - peak).sum())
    return float(-np.expm1(logits[0] - log_sum) * distance)
