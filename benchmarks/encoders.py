"""What training brings the small encoder of points, on the made benchmark: how well it rebuilds, and what PatchCore finds.

    python benchmarks/encoders.py [--shapes lump jug] [--seed 100] [--steps 600] [--judged 10]
    python benchmarks/encoders.py --time        seconds of tokens for a cloud, encoders of several sizes

For each shape an encoder learns from 4 good clouds. Its twin is the same one with random weights, of which only the decoder
and the running statistics are trained. Both rebuild hidden groups of 2 clouds that they never saw; beside them stands what one
group for all would do, the best of some good ones. Then PatchCore learns from the 4 clouds and judges others.
"""

from __future__ import annotations

import argparse
import dataclasses
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

import amiss
from amiss.backbones.points import Encoding, PointEncoder
from amiss.contract import Detector
from amiss.data import scans
from amiss.data.shapes import SHAPES
from amiss.kit.clouds import CloudExtractor, Gauge
from amiss.kit.encoders import CELLS, MOST, PLAN, SMALL, measured, rebuilt, untrained
from amiss.kit.training import load_torch, train
from amiss.metrics.ranking import auroc
from amiss.types import Sample

torch = load_torch()
FLOOR = 40  # good groups that are tried as the one for all


def made(name: str, asked: argparse.Namespace, folder: Path) -> dict[str, Path]:
    """The trained encoder and its twin as graphs, after their losses are printed."""
    from amiss.backbones.point_mae import exported

    good, unseen = scans.samples(1000 * asked.seed, 4, name), scans.samples(1000 * asked.seed + 7, 2, name)
    gauge = Gauge.of(good, CELLS, MOST)
    surfaces, others = (measured(clouds, gauge, SMALL, lambda *_: None) for clouds in (good, unseen))

    def loss(network: Any, batch: Any, noise: Any) -> Any:
        return network.loss(surfaces[int(batch[0])], int(torch.randint(2**62, (1,), generator=noise)))

    found = {}
    for kind in ("trained", "twin"):
        network = untrained(SMALL, 0)
        network.encoder.requires_grad_(kind == "trained")
        went = train(network, loss, len(surfaces), dataclasses.replace(PLAN, steps=asked.steps), progress=lambda *_: None)
        print(f"| {name} | {kind}, {went.steps} steps, {went.seconds:.0f} s | {rebuilt(network, others):.4f} |", flush=True)
        found[kind] = folder / f"{name}-{kind}.onnx"
        found[kind].write_bytes(exported(network.encoder, SMALL, {}).graph)
    print(f"| {name} | one group for all | {floor(surfaces, others):.4f} |", flush=True)
    return found


def floor(surfaces: list[Any], others: list[Any]) -> float:
    """Loss of the best of some good groups as the answer for every hidden one, in squared cells."""
    from amiss.kit.masked_points import chamfer

    rng = np.random.default_rng(0)
    drawn = torch.cat([surface.drawn(rng)[0][0] for surface in surfaces])
    asked = torch.cat([surface.drawn(rng)[0][0] for surface in others])
    picks = rng.choice(len(drawn), FLOOR, replace=False)
    losses = [float(chamfer(drawn[pick][None].expand(len(asked), -1, -1), asked).mean()) for pick in picks]
    return min(losses) * SMALL.unit**2


def figures(detector: Detector, good: list[Sample], well: list[Sample], ill: list[Any], folder: Path) -> str:
    """Object AUROC, point AUROC, and seconds a cloud where descriptors and tokens lie in the cache."""
    detector.fit(good, workdir=folder)
    started = time.perf_counter()
    results = list(detector.predict([*well, *(sample for sample, _ in ill)], workdir=folder))
    seconds = (time.perf_counter() - started) / len(results)
    maps = [result.point_map() for result in results]
    marks = [np.zeros(len(values), np.bool_) for values in maps[: len(well)]] + [truth.point_mask for _, truth in ill]
    objects = auroc(np.array([result.score for result in results]), np.repeat([False, True], [len(well), len(ill)]))
    return f"{objects:.3f} | {auroc(np.concatenate(maps), np.concatenate(marks)):.4f} | {seconds:.2f}"


def compared(name: str, asked: argparse.Namespace, folder: Path) -> None:
    graphs = made(name, asked, folder)
    good = scans.samples(1000 * asked.seed, 4, name)
    well = scans.samples(1000 * asked.seed + 1, asked.judged, name)
    ill = scans.defective_samples(1000 * asked.seed + 2, asked.judged, name, size=asked.size)
    variants: dict[str, dict[str, Any]] = {"FPFH": {}}
    for kind, file in graphs.items():
        variants |= {f"{kind}, alone": {"encoder": str(file), "share": 1.0}, f"{kind}, with FPFH": {"encoder": str(file)}}
    for told, fields in variants.items():
        row = figures(amiss.detector("patchcore", **fields), good, well, ill, folder)
        print(f"| {name} | PatchCore, {told} | {row} |", flush=True)


def timed() -> None:
    from amiss.backbones.point_mae import PointMAE, Sizes, exported

    sample = scans.samples(0, 1, "gear")[0]
    gauge = Gauge.of([sample], CELLS, MOST)
    started = time.perf_counter()
    cloud = CloudExtractor((3.0, 5.0, 7.0), 2.2, gauge)(sample)
    print(f"{len(cloud.places)} places; FPFH {time.perf_counter() - started:.2f} s")
    for sizes, told in (
        (Sizes(width=128, depth=2, heads=4), SMALL),
        (Sizes(), Encoding(taps=(4, 8, 12), channels=1, members=32)),
        (Sizes(), Encoding(taps=(4, 8, 12), channels=1)),
    ):
        encoder = PointEncoder(exported(PointMAE(sizes, told.taps).eval(), told, {}).graph, name="random")
        encoder(cloud.places, cloud.normals, gauge.cell)
        started = time.perf_counter()
        encoder(cloud.places, cloud.normals, gauge.cell)
        seconds = time.perf_counter() - started
        print(f"{sizes}, {told.groups} groups of {told.members}: {seconds:.2f} s, {len(encoder.graph) / 2**20:.1f} MB")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shapes", nargs="+", default=["lump", "jug"], choices=list(SHAPES))
    parser.add_argument("--seed", type=int, default=100)
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--judged", type=int, default=10, help="judged clouds, good and defective")
    parser.add_argument("--size", type=float, default=0.05, help="of the defects, in diagonals")
    parser.add_argument("--time", action="store_true")
    asked = parser.parse_args()
    if asked.time:
        return timed()
    with tempfile.TemporaryDirectory() as folder:
        for name in asked.shapes:
            compared(name, asked, Path(folder))
    return None


if __name__ == "__main__":
    main()
