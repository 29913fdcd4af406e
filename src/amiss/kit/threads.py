"""Many small matrices are best multiplied by one thread.

OpenBLAS wakes its threads for a matrix of 200 x 200 and has them wait for one another by spinning; where anything else runs on
the machine, each such meeting costs a time slice. Measured on two busy cores: 256 Cholesky factors of 200 x 200 took minutes
with two threads and a second with one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any


@contextmanager
def one_thread() -> Iterator[None]:
    """numpy's linear algebra inside the block runs on one thread; outside it as before."""
    with _controller().limit(limits=1, user_api="blas"):
        yield


@lru_cache(maxsize=1)
def _controller() -> Any:
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController()
