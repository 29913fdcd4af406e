"""A calibration turns scores into verdicts: the scores of good parts the bank does not hold, and a false-alarm budget.

With n such scores, a part's p-value is (1 + how many of them reach its score) / (n + 1). It is NG where p <= budget and REVIEW
where p <= 3 x budget. If good parts are exchangeable and the scores come from a held-out split, at most a share `budget` of
good parts is called NG (conformal prediction; Vovk, Gammerman, Shafer 2005). Where n is too small for the budget, the NG
threshold is extrapolated by an exponential tail through the upper good scores, and every verdict says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args

from amiss.errors import BadField, BadModelFile
from amiss.types import Verdict

How = Literal["split", "cross-fitted"]
BUDGET = 0.01  # accepted share of false alarms where nobody says another
REVIEW_FACTOR = 3
FEWEST = 8  # below this many scores nothing is called NG


@dataclass(frozen=True)
class Calibration:
    """scores  of good parts, ascending     budget  accepted share of false alarms     how  the scores were made

    parts  content digest of the part behind each score, in the same order, or empty where nobody recorded them
    """

    scores: tuple[float, ...]
    budget: float
    how: How
    parts: tuple[str, ...] = ()
    threshold: float | None = field(init=False)
    review_threshold: float | None = field(init=False)
    extrapolated: bool = field(init=False)

    def __post_init__(self) -> None:
        check_budget(self.budget)
        if not all(math.isfinite(score) for score in self.scores):
            raise BadField("calibration scores hold NaN or infinity")
        if len(self.parts) not in (0, len(self.scores)):
            raise BadField(f"{len(self.parts)} digests for {len(self.scores)} calibration scores; give one each, or none")
        order = sorted(range(len(self.scores)), key=self.scores.__getitem__)
        object.__setattr__(self, "parts", tuple(self.parts[index] for index in order) if self.parts else ())
        object.__setattr__(self, "scores", tuple(self.scores[index] for index in order))
        reached = self.supported and len(self.scores) >= FEWEST
        object.__setattr__(self, "extrapolated", not self.supported and len(self.scores) >= FEWEST)
        object.__setattr__(self, "threshold", self._ng_threshold(reached))
        object.__setattr__(self, "review_threshold", self._review_threshold(reached))

    @property
    def bound(self) -> float:
        """The smallest false-alarm rate that this many good parts support, 1 / (n + 1)."""
        return 1 / (len(self.scores) + 1)

    @property
    def supported(self) -> bool:
        """Whether this many good parts support the budget."""
        return self.bound <= self.budget + 1e-12

    def p_value(self, score: float) -> float:
        """Share of good parts at least as odd, the judged one counted among them."""
        from bisect import bisect_left

        return (1 + len(self.scores) - bisect_left(self.scores, score)) / (len(self.scores) + 1)

    def judge(self, score: float) -> Verdict:
        """The verdict on a score."""
        outcome: Literal["OK", "REVIEW", "NG"] = "OK"
        if self.threshold is not None and score > self.threshold:
            outcome = "NG"
        elif self.review_threshold is None or score > self.review_threshold:
            outcome = "REVIEW"
        return Verdict(
            outcome=outcome, p_value=self.p_value(score), threshold=self.threshold,
            review_threshold=self.review_threshold, extrapolated=self.extrapolated, bound=self.bound, note=self.warning(),
        )  # fmt: skip

    def warning(self) -> str:
        """What a user must know about these verdicts in plain words; "" where there is nothing to warn of."""
        n = len(self.scores)
        if n == 0:
            return "no good part was left to calibrate on, so every part is REVIEW; give at least 2 good parts, better 100"
        if n < FEWEST:
            return (
                f"only {n} good parts: nothing is called NG, whatever exceeds the best-known good score is REVIEW; "
                f"give {FEWEST} good parts or more"
            )
        if self.extrapolated:
            return (
                f"extrapolated: {n} good parts support a false-alarm rate of {self.bound:.2%}, not {self.budget:.2%}; the NG "
                f"threshold is a tail fit. Give {needed(self.budget)} good parts for a supported one"
            )
        return ""

    def guarantee(self) -> str:
        """What the calibration promises, in one sentence."""
        n = len(self.scores)
        if self.how == "cross-fitted":
            return f"cross-fitted on {n} good parts: the false-alarm rate is measured, not guaranteed"
        if n < FEWEST or not self.supported:
            return f"held-out split of {n} good parts, which support a rate of {self.bound:.2%}; nothing is guaranteed below it"
        return f"held-out split of {n} good parts: the false-alarm rate is guaranteed on average"

    def with_budget(self, budget: float) -> Calibration:
        """The same scores under another budget."""
        return replace(self, budget=budget)

    def to_json(self) -> dict[str, Any]:
        return {"scores": list(self.scores), "parts": list(self.parts), "budget": self.budget, "how": self.how}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Calibration:
        if raw.get("how") not in get_args(How) or not isinstance(raw.get("scores"), Sequence):
            raise BadModelFile("its calibration is not one amiss wrote; run amiss calibrate with good parts")
        scores = tuple(float(score) for score in raw["scores"])
        return cls(scores, float(raw["budget"]), raw["how"], tuple(str(part) for part in raw.get("parts", ())))

    def _ng_threshold(self, reached: bool) -> float | None:
        if reached:
            return self._at_rate(self.budget)
        return self._tail() if self.extrapolated else None

    def _review_threshold(self, reached: bool) -> float | None:
        if not self.scores:
            return None
        return self._at_rate(REVIEW_FACTOR * self.budget) if reached else self.scores[-1]

    def _at_rate(self, rate: float) -> float:
        """The score above which p <= rate: all but floor(rate (n + 1)) - 1 good scores lie at or below it."""
        n = len(self.scores)
        above = min(n, math.floor(rate * (n + 1) + 1e-9)) - 1
        return self.scores[n - 1 - above]

    def _tail(self) -> float:
        """Score that a share `budget` of good parts would exceed if the upper quarter has an exponential tail.

        Two readings of that tail, and the higher one counts: from the start of the quarter, and from the largest score, which
        stands for the rate 1 / (n + 1); so one outlying good part cannot pull the NG threshold down to itself.
        """
        n = len(self.scores)
        count = max(4, n // 4)
        start = self.scores[n - 1 - count]
        mean_excess = sum(score - start for score in self.scores[n - count :]) / count
        from_start = start + mean_excess * math.log(count / (n * self.budget))
        from_largest = self.scores[-1] + mean_excess * math.log(self.bound / self.budget)
        return max(from_start, from_largest)


def check_budget(budget: float) -> None:
    """raises  BadField for a share of false alarms that is none"""
    if not 0 < budget < 1:
        raise BadField(f"budget = {budget}: the accepted share of false alarms, between 0 and 1, e.g. {BUDGET}")


def needed(budget: float) -> int:
    """How many calibration scores support a budget: the smallest n with 1 / (n + 1) <= budget."""
    return math.ceil(1 / budget - 1e-9) - 1
