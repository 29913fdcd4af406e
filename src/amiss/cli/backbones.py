"""`amiss backbones`: list, export, get, add and remove."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from amiss import catalog
from amiss.errors import BadBackbone, BadField, CannotWrite

if TYPE_CHECKING:
    from amiss.backbones.export import Exported
    from amiss.cli.console import Console

group = typer.Typer(help="List backbones, and bring others: export from timm, get by name, add a file.")

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and JSON.")]
Named = Annotated[str | None, typer.Option("--name", help="The name to install it under.")]
Layers = Annotated[
    str | None,
    typer.Option(help="Taps: strides of a CNN (default 4,8,16,32), blocks of a transformer (default 3,6,9,11 of 12)."),
]
Size = Annotated[int | None, typer.Option(min=1, help="Side of the picture in pixels, transformers only; default: timm's.")]


@group.callback(invoke_without_command=True)
def root(context: typer.Context, as_json: Json = False) -> None:
    """List backbones, and bring others: export from timm, get by name, add a file."""
    if context.invoked_subcommand is None:
        show(as_json)


@group.command("list")
def show(as_json: Json = False) -> None:
    """List the embedded and the installed backbones, and those that `get` can fetch."""
    from amiss.backbones.installed import names
    from amiss.backbones.published import PUBLISHED

    console = console_of(quiet=False, as_json=as_json)
    rows = [_row(name) for name in [*catalog.BACKBONES, *names()]]
    if as_json:
        return console.result({"backbones": rows, "published": [_published_row(entry) for entry in PUBLISHED.values()]}, [])
    cells = [[r["name"], r["from"], _numbers(r["layers"]), _seen(r), f"{r['bytes'] / 2**20:.1f} MB", r["sha256"][:12]]
             for r in rows if "problem" not in r]  # fmt: skip
    console.table("", ["backbone", "from", "layers", "sees", "size", "sha256"], cells)
    for row in rows:
        console.warn(row.get("problem", ""))
    console.note(f"amiss backbones get NAME fetches: {', '.join(PUBLISHED)}")
    console.note("export NAME takes any timm network, add FILE an ONNX file that describes itself (docs/backbones.md)")
    return None


@group.command()
def export(
    name: Annotated[str, typer.Argument(help="A name that `get` knows, or any timm architecture.")],
    weights: Annotated[
        Path | None, typer.Option(help="A local .safetensors or .pth file; default: timm downloads its own.")
    ] = None,
    layers: Layers = None,
    size: Size = None,
    norm: Annotated[
        str, typer.Option(help="final: a transformer's taps pass its last LayerNorm; none: they do not.")
    ] = "final",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the graph here; default: install it.")] = None,
    installed_as: Named = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a timm network as an ONNX graph with taps (needs the extra timm), and install it."""
    from amiss.backbones.export import export as exported
    from amiss.backbones.installed import check_free

    console = console_of(quiet=quiet, as_json=as_json)
    check_out(out)
    if out is None:
        check_free(installed_as or name)
    elif installed_as is not None:
        raise BadField("--out writes a file and --name installs; give one of them")
    made = exported(name, weights=weights, layers=_layers(layers), size=size, norm=norm)  # type: ignore[arg-type]
    console.warn(_other_weights(name, made.source["weights"].get("sha256")))
    keep(made, installed_as or name, out, {"source": made.source}, console)


@group.command()
def get(
    name: Annotated[str, typer.Argument(help="One of the names that `amiss backbones list` ends with.")],
    layers: Layers = None,
    size: Size = None,
    installed_as: Named = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Fetch published weights from the net, check their sha256, export and install them (needs the extra timm)."""
    from amiss.backbones.export import export as exported
    from amiss.backbones.export import missing
    from amiss.backbones.fetch import fetch
    from amiss.backbones.folders import cache_folder
    from amiss.backbones.installed import check_free
    from amiss.backbones.published import published

    console = console_of(quiet=quiet, as_json=as_json)
    entry = published(name)
    check_free(installed_as or name)
    with console.progress() as progress:
        fetched = fetch(entry, cache_folder() / "weights", progress=progress)
    stated = f"as its publisher states ({entry.sha256}...)" if fetched.checked else "its publisher states none; noted"
    console.note(f"{entry.file}: sha256 {fetched.sha256}, {stated}; licence {entry.licence}")
    if missing():
        raise BadBackbone(
            f"{missing()}, then: amiss backbones export {name} --weights {fetched.path} (the weights are here already)"
        )
    made = exported(name, weights=fetched.path, layers=_layers(layers), size=size)
    origin = {"source": made.source, "url": entry.url, "licence": entry.licence, "sha256_stated": entry.sha256}
    keep(made, installed_as or name, None, origin, console)


@group.command()
def add(
    file: Annotated[Path, typer.Argument(help="An ONNX file that describes itself (docs/backbones.md).")],
    installed_as: Named = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Try an ONNX file out and install it under a name."""
    from amiss.backbones.installed import add as install

    console = console_of(quiet=quiet, as_json=as_json)
    if not file.is_file():
        raise BadBackbone(f"{file}: there is no such file; give the path of an ONNX backbone")
    name = installed_as or file.name.removesuffix(".onnx")
    install(file.read_bytes(), name, {"file": file.name})
    _say_installed(name, console)


@group.command()
def remove(
    name: Annotated[str, typer.Argument(help="An installed backbone.")], as_json: Json = False, quiet: Quiet = False
) -> None:
    """Take an installed backbone away; model files fitted with it keep their own copy."""
    from amiss.backbones.installed import remove as take_away

    take_away(name)
    console_of(quiet=quiet, as_json=as_json).result({"removed": name}, [f"{name}: removed"])


def console_of(*, quiet: bool, as_json: bool) -> Console:
    from amiss.cli.console import Console

    return Console(quiet=quiet, as_json=as_json)


def _layers(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else numbers_of("--layers", text)


def numbers_of(option: str, text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise BadField(f"{option} {text!r}: wanted whole numbers with commas, such as 8,16") from None


def check_out(out: Path | None) -> None:
    """What can be refused before minutes are spent."""
    if out is not None and (out.is_dir() or not out.parent.is_dir()):
        raise CannotWrite(f"{out}: cannot write a file there; give --out a file name in a folder that exists")


def _other_weights(name: str, digest: str | None) -> str:
    """A warning where a file under a published name is not the published file; empty where nothing is to be said."""
    from amiss.backbones.published import PUBLISHED

    stated = PUBLISHED[name].sha256 if name in PUBLISHED else None
    if stated is None or digest is None or digest.startswith(stated):
        return ""
    return f"not the published weights of {name}: sha256 {digest[:12]}, published {stated}...; fine where they are your own"


def keep(made: Exported, name: str, out: Path | None, origin: dict[str, Any], console: Console) -> None:
    """Install an exported graph, or write it where it was asked for, and say how well it agrees."""
    from amiss.backbones.folders import write_whole
    from amiss.backbones.installed import add as install

    console.note(f"the graph agrees with torch to {made.gap:.1e} of the largest value")
    if out is None:
        install(made.graph, name, {**origin, "gap": made.gap})
        return _say_installed(name, console)
    write_whole(out, made.graph)
    values = {"file": str(out), "bytes": len(made.graph), "gap": made.gap, "source": made.source}
    option = "--encoder" if "sizes" in made.source else "--backbone"
    return console.result(
        values, [f"{out}: {len(made.graph) / 2**20:.1f} MB; use it with {option} {out}, or amiss backbones add"]
    )


def _say_installed(name: str, console: Console) -> None:
    row = _row(name)
    layers = _numbers(row["layers"])
    line = f"{name}: layers {layers}, {row['bytes'] / 2**20:.1f} MB, sha256 {row['sha256'][:12]}"
    use = f"--encoder {name}" if "encoder" in row else f"--backbone {name} --layers {layers}"
    console.result(row, [line, f"use it with {use}"])


def _row(name: str) -> dict[str, Any]:
    """What is to be said of a backbone; a damaged one has a problem instead."""
    import hashlib
    import json

    from amiss.backbones import installed
    from amiss.backbones.points import described, is_encoder
    from amiss.backbones.runtime import describe, load_graph

    embedded = name in catalog.BACKBONES
    row: dict[str, Any] = {"name": name, "from": "embedded" if embedded else "installed"}
    try:
        graph = load_graph(name)
        record = {} if embedded else installed.record(name)
        row |= {"bytes": len(graph), "sha256": hashlib.sha256(graph).hexdigest(), "record": record}
        if is_encoder(graph, name):
            told = json.loads(described(graph, name).to_json())
            return row | {"layers": told["taps"], "strides": [], "token": None, "size": None, "encoder": told}
        about = describe(graph, name)
    except BadBackbone as error:
        return {**row, "problem": str(error)}
    return row | {
        "layers": [tap.layer for tap in about.taps], "strides": [tap.stride for tap in about.taps], "token": about.token,
        "size": about.size, "mean": about.mean, "std": about.std,
    }  # fmt: skip


def _published_row(entry: Any) -> dict[str, Any]:
    return {"name": entry.name, "timm": entry.timm, "url": entry.url, "licence": entry.licence, "sha256": entry.sha256}


def _numbers(layers: list[int]) -> str:
    return ",".join(str(layer) for layer in layers)


def _seen(row: dict[str, Any]) -> str:
    size = row["size"]
    return "points" if "encoder" in row else "any size" if size is None else f"{size[0]} x {size[1]}"
