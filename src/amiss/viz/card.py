"""What the report shows of one part."""

from __future__ import annotations

from dataclasses import dataclass

from amiss.types import Result


@dataclass(frozen=True)
class Words:
    """What is said of the frames of a card: in place of each, before the part's name; and below it."""

    picture: tuple[str, str] = ("Picture of", "The part")
    heat: tuple[str, str] = ("Map over", "Map over the part")
    worst: tuple[str, str] = ("Most anomalous patch of", "Its most anomalous patch")
    evidence: tuple[str, str] = ("Nearest good patch to that of", "Nearest good patch")


@dataclass(frozen=True)
class Card:
    """One judged part, made while streaming. Pictures are the content of small JPEG files; None where there is none.

    result    with its verdict, or without; its map is not looked at     name  printable path
    picture   the part     heat  the map over it     overlay_file  path of the full overlay, relative to the report
    worst     the most anomalous patch with its surroundings     evidence  the nearest good patch with its surroundings
    truth     what is known of the part ("good", "crack"); None outside evaluations     words  said of the frames
    links     further files of the part: what a link is called, and the path, relative to the report
    """

    result: Result
    name: str
    overlay_file: str | None = None
    picture: bytes | None = None
    heat: bytes | None = None
    evidence: bytes | None = None
    worst: bytes | None = None
    truth: str | None = None
    words: Words = Words()
    links: tuple[tuple[str, str], ...] = ()

    @property
    def outcome(self) -> str:
        """OK, REVIEW, NG, or none where the model is not calibrated."""
        return "none" if self.result.verdict is None else self.result.verdict.outcome

    @property
    def illustrated(self) -> bool:
        return any(content is not None for content in (self.picture, self.heat, self.worst, self.evidence))
