"""`amiss backbones point-mae` and `amiss backbones learn-points`: encoders of point clouds."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from amiss.cli.backbones import Json, Named, Quiet, check_out, console_of, group, keep, numbers_of
from amiss.errors import BadField

__all__ = ["group"]

Out = Annotated[Path | None, typer.Option("--out", "-o", help="Write the graph here; default: install it under --name.")]


@group.command("point-mae")
def point_mae(
    weights: Annotated[Path, typer.Argument(help="A Point-MAE checkpoint on this machine, .pth or .safetensors.")],
    out: Out = None,
    installed_as: Named = None,
    taps: Annotated[str, typer.Option(help="After how many blocks tokens are taken.")] = "4,8,12",
    groups: Annotated[int, typer.Option(min=1, help="Groups that a cloud is seen as.")] = 1024,
    members: Annotated[int, typer.Option(min=1, help="Places in a group; 32 takes a third of the time of 128.")] = 128,
    unit: Annotated[float, typer.Option(help="Thinning cells that are one unit of the network.")] = 16.0,
    frame: Annotated[str, typer.Option(help="Axes: own (the cloud's principal ones), local (each group's), given.")] = "own",
    statistics: Annotated[str, typer.Option(help="Of batch normalisation: running, or batch: those of the cloud.")] = "running",
    sizes: Annotated[str, typer.Option(help="Width, depth and heads of the network.")] = "384,12,6",
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the encoder of a Point-MAE checkpoint as an ONNX graph (needs the extra train)."""
    from amiss.backbones.points import Encoding
    from amiss.kit.graphs import check_exporter
    from amiss.kit.training import load_torch

    console = console_of(quiet=quiet, as_json=as_json)
    name = _target(out, installed_as)
    try:
        encoding = Encoding(
            taps=numbers_of("--taps", taps), channels=1, groups=groups, members=members, unit=unit,
            frame=frame, statistics=statistics,  # type: ignore[arg-type]
        )  # fmt: skip
        width, depth, heads = numbers_of("--sizes", sizes)
    except ValueError as error:
        raise BadField(f"these options make no encoder: {error}") from None
    load_torch()
    check_exporter()
    from amiss.backbones.point_mae import Sizes, converted

    made = converted(weights, encoding, Sizes(width=width, depth=depth, heads=heads))
    keep(made, name, out, {"source": made.source}, console)


@group.command("learn-points")
def learn_points(
    data: Annotated[Path, typer.Argument(help="A folder of good clouds, or the root of a --dataset.")],
    out: Out = None,
    installed_as: Named = None,
    dataset: Annotated[str, typer.Option("--dataset", help="How DATA is laid out; `amiss data sets` lists them.")] = "folder",
    category: Annotated[str | None, typer.Option("--category", help="Which category of DATA, where it holds several.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Steps of the training.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so many minutes.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of every random draw.")] = 0,
    workdir: Annotated[Path | None, typer.Option(help="Keep an unfinished training here; the same command resumes.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train a small encoder on good clouds, where there are no published weights (needs the extra train)."""
    from amiss.backbones.export import Exported
    from amiss.cli.opening import Asked
    from amiss.kit.encoders import PLAN, learned

    console = console_of(quiet=quiet, as_json=as_json)
    name = _target(out, installed_as)
    opened, chosen = Asked(data, dataset, category).opened()
    plan = dataclasses.replace(PLAN, steps=PLAN.steps if steps is None else steps, minutes=minutes, seed=seed)
    if workdir is not None:
        workdir.mkdir(parents=True, exist_ok=True)
    with console.progress() as progress:
        found = learned(opened.split(chosen, "train").samples, plan, progress=progress, workdir=workdir)
    console.note(f"{found.trained.steps} steps in {found.trained.seconds:.0f} s, loss {found.trained.loss:.3g} squared cells")
    keep(Exported(found.graph, found.gap, found.source), name, out, {"source": found.source}, console)


def _target(out: Path | None, name: str | None) -> str:
    """The name to install under, checked before minutes are spent; empty where a file is written."""
    from amiss.backbones.installed import check_free

    if (out is None) == (name is None):
        raise BadField("--out writes a file and --name installs; give one of them")
    check_out(out)
    if name is not None:
        check_free(name)
    return name or ""
