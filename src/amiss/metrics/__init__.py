"""How well scores and maps agree with the truth: plain functions of raw scores, exact, and never NaN."""
