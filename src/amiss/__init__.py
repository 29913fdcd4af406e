"""amiss finds what is amiss with a part: learns from good ones, judges new ones, says where and how sure.

    import amiss
    samples = amiss.dataset("folder", "parts/good").split("good", "train").samples
    detector = amiss.detector("patchcore").fit(samples)
    result = amiss.load("part.amiss").judge("new.png")

Importing this costs nothing but itself: everything else is imported when it is first used.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from amiss.contract import Detector
    from amiss.data.dataset import Dataset
    from amiss.model import Model
    from amiss.types import Result, Sample, Truth, Verdict

__version__ = "0.1.0"
__all__ = ["Result", "Sample", "Truth", "Verdict", "dataset", "detector", "load"]


def detector(name: str, *, preset: str | None = None, **fields: Any) -> Detector:
    """A detector by name, not yet fitted.

    name  see `amiss methods`     preset  a named set of fields     fields  hyper-parameters that differ from it
    raises  BadField for an unknown name or an impossible value
    """
    from amiss import catalog
    from amiss.contract import build

    return build(catalog.resolve("detector", name), fields, preset=preset)


def dataset(name: str, root: str | os.PathLike[str] | None = None, **options: Any) -> Dataset:
    """A data set by name of its layout, e.g. dataset("folder", "parts/good") or dataset("mvtec_ad", "mvtec").

    name  see `amiss data sets`     root  may be left out where the data come with a package: dataset("elpv")
    options  what its constructor takes beside the root, e.g. resolution="512" for real_iad
    raises  BadField for an unknown name or option, BadLayout where the root is not such a data set
    """
    from amiss import catalog
    from amiss.data.dataset import opened

    return opened(catalog.resolve("dataset", name), root, options)


def load(path: str | os.PathLike[str]) -> Model:
    """The model in a file that `amiss fit` wrote; it judges Samples, arrays and paths of pictures.

    raises  BadModelFile saying what is wrong with the file
    """
    from amiss.data.readers import read_sample
    from amiss.model import Model

    return Model.load(path, read=read_sample)


def __getattr__(name: str) -> Any:
    if name in ("Result", "Sample", "Truth", "Verdict"):
        from amiss import types

        return getattr(types, name)
    raise AttributeError(f"module 'amiss' has no attribute {name!r}")
