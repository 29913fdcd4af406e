"""A small encoder of points learned from good clouds, for machines without published weights. Needs the extra `train`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from amiss.backbones.points import Encoding
from amiss.contract import Progress
from amiss.errors import BadSample
from amiss.kit.clouds import CloudExtractor, Gauge
from amiss.kit.graphs import check_exporter
from amiss.kit.training import Plan, Trained, check_device, checkpoint_file, seeded, train
from amiss.types import Sample

if TYPE_CHECKING:
    from amiss.kit.masked_points import Masked, Surface

SMALL = Encoding(taps=(1, 2), channels=256, groups=1024, members=32, unit=16.0, frame="local")
PLAN = Plan(steps=600, batch=1, rate=5e-4, clip=1.0, average=0.98)
CELLS, MOST = 1.5, 20_000  # of the gauge, as PatchCore has them
_WIDTH, _HEADS = 128, 4
_NORMALS = (3.0,)  # cells: no descriptor is used, and a small one is soon made
_DRAWINGS = 4  # of groups of each cloud, when it is measured how well they are rebuilt


@dataclass(frozen=True)
class Learned:
    """graph  the encoder as an ONNX graph     trained  how it went     gap  from torch     source  what it is made of"""

    graph: bytes
    trained: Trained
    gap: float
    source: dict[str, Any]


def learned(
    samples: Sequence[Sample],
    plan: Plan = PLAN,
    encoding: Encoding = SMALL,
    *,
    progress: Progress | None = None,
    workdir: Path | None = None,
) -> Learned:
    """Train a small encoder to rebuild hidden groups of good clouds, 60 % of them.

    plan  how long; its device must be the CPU     workdir  folder for a checkpoint that a killed training goes on from
    raises  MissingExtra without torch and onnxscript, BadSample for clouds of too few points
    """
    check_device(plan.device)
    check_exporter()
    from amiss.backbones import point_mae

    progress = progress or _unseen
    surfaces = measured(samples, Gauge.of(samples, CELLS, MOST), encoding, progress)
    network = untrained(encoding, plan.seed)
    data = blake2b("".join(sample.digest for sample in samples).encode(), digest_size=8).hexdigest()
    told = {"data": data, **asdict(encoding), "taps": list(encoding.taps)}
    checkpoint = None if workdir is None else checkpoint_file(workdir, "encoder", data, {**told, "seed": plan.seed})

    def loss(network: Any, batch: Any, noise: Any) -> Any:
        return sum(network.loss(surfaces[index], _seed(noise)) for index in batch) / len(batch)

    trained = train(network, loss, len(surfaces), plan, progress=progress, checkpoint=checkpoint, told=told)
    source = {"learned": {"clouds": len(samples), "data": data, "steps": trained.steps, "seed": plan.seed}}
    made = point_mae.exported(network.encoder, encoding, source)
    if checkpoint is not None:
        checkpoint.unlink(missing_ok=True)
    return Learned(made.graph, trained, made.gap, made.source)


def measured(samples: Sequence[Sample], gauge: Gauge, encoding: Encoding, progress: Progress) -> list[Surface]:
    """Good clouds as an encoder is trained on them."""
    from amiss.kit.masked_points import Surface

    extract = CloudExtractor(_NORMALS, 0.0, gauge)
    found = []
    for done, sample in enumerate(samples, start=1):
        cloud = extract(sample)
        if len(cloud.places) < encoding.members:
            raise BadSample(
                f"{sample.id}: the cloud has {len(cloud.places)} points after thinning, groups of {encoding.members} are "
                "wanted; scan it more densely, or ask for smaller groups"
            )
        found.append(Surface.of(cloud.places, cloud.normals, gauge.cell, encoding))
        progress("reading good parts", done, len(samples))
    return found


def untrained(encoding: Encoding, seed: int) -> Masked:
    """The network as a training begins with it."""
    from amiss.backbones.point_mae import Sizes
    from amiss.kit.masked_points import Masked

    with seeded(seed):
        return Masked(Sizes(width=_WIDTH, depth=max(encoding.taps), heads=_HEADS), encoding)


def rebuilt(network: Masked, surfaces: Sequence[Surface]) -> float:
    """Mean Chamfer distance of hidden groups, in squared cells: how well a network in evaluation mode rebuilds these clouds."""
    import torch

    with torch.no_grad():
        losses = [float(network.loss(surface, seed)) for surface in surfaces for seed in range(_DRAWINGS)]
    return float(np.mean(losses))


def _seed(noise: Any) -> int:
    import torch

    return int(torch.randint(2**62, (1,), generator=noise))


def _unseen(*_: object) -> None:
    """Progress that nobody watches."""
