"""Where convolution by voting takes less time than over the whole grid: by the share of cells that are filled and the kernel.

    python benchmarks/voting.py [--side 64] [--channels 8] [--outputs 1] [--repeats 5]

Cells are filled at random. Times are medians in milliseconds of a convolution of C channels to D outputs, by voting and by
Fourier transforms of the whole grid (`kit/voting.py`); chosen: what `backend = auto` takes, and how much slower it was than
the better one.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import numpy as np
import numpy.typing as npt

from amiss.kit.voting import Backend, Cells, cheaper, convolved

BACKENDS: tuple[Backend, ...] = ("vote", "dense")
SHARES, KERNELS = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0), (3, 5, 7, 11)


def timed(cells: Cells, weight: npt.NDArray[Any], backend: Backend, repeats: int) -> float:
    """Milliseconds, the median after one that does not count."""
    found = []
    for _ in range(1 + repeats):
        started = time.perf_counter()
        convolved(cells, weight, np.zeros(weight.shape[4], np.float32), backend)
        found.append(time.perf_counter() - started)
    return 1000 * float(np.median(found[1:]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--side", type=int, default=64, help="cells along an edge of the grid")
    parser.add_argument("--channels", type=int, default=8)
    parser.add_argument("--outputs", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=5)
    asked = parser.parse_args()
    rng, shape = np.random.default_rng(0), (asked.side,) * 3
    print(f"grid {asked.side}^3, {asked.channels} channels to {asked.outputs}")
    print("| kernel | filled | voting ms | whole grid ms | faster | chosen | dearer by |")
    print("|" + " --- |" * 7)
    for kernel in KERNELS:
        weight = rng.standard_normal((kernel,) * 3 + (asked.channels, asked.outputs)).astype(np.float32)
        for share in SHARES:
            keys = np.flatnonzero(rng.random(asked.side**3) < share)
            cells = Cells(shape, keys, rng.standard_normal((len(keys), asked.channels)).astype(np.float32))

            times = {backend: timed(cells, weight, backend, asked.repeats) for backend in BACKENDS}
            best = min(times, key=lambda name: times[name])
            chosen = cheaper(cells, weight)
            told = f"{times['vote']:.1f} | {times['dense']:.1f} | {best} | {chosen} | {times[chosen] / times[best]:.2f}"
            print(f"| {kernel} | {share:.1%} | {told} |", flush=True)


if __name__ == "__main__":
    main()
