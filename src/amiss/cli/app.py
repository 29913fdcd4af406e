"""The commands and their options; the work is done in the modules beside this one, imported when a command runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from amiss.cli.backbones import group as backbones

app = typer.Typer(
    help="Finds what is amiss with a part, after seeing good parts only.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data = typer.Typer(help="Look at a data set before using it.", no_args_is_help=True)
app.add_typer(data, name="data")
app.add_typer(backbones, name="backbones")

Model = Annotated[Path, typer.Argument(help="A model file that `amiss fit` wrote.")]
Data = Annotated[
    Path | None,
    typer.Argument(
        help="A folder of good pictures or clouds, a category with train/ and test/, a CSV, or the root of a --dataset."
    ),
]
DatasetName = Annotated[str, typer.Option("--dataset", help="How DATA is laid out; `amiss data sets` lists them.")]
Category = Annotated[str | None, typer.Option("--category", help="Which category of DATA, where it holds several.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors and JSON.")]
Skip = Annotated[bool, typer.Option("--skip-unreadable", help="Report unreadable files and go on without them.")]
Budget = Annotated[float, typer.Option("--budget", help="Accepted share of false alarms.")]


@app.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True},
    epilog="Every field of the method is an option too: --size 256 --layers 8,16 --seed 1 --memory 1GB ...; "
    "`amiss methods NAME` lists them with their defaults.",
)
def fit(
    context: typer.Context,
    out: Annotated[Path, typer.Option("--out", "-o", help="The model file to write.")],
    data: Data = None,
    dataset: DatasetName = "folder",
    category: Category = None,
    method: Annotated[str, typer.Option(help="Which method; `amiss methods` lists them.")] = "patchcore",
    preset: Annotated[str | None, typer.Option(help="A named set of the method's fields.")] = None,
    budget: Budget = 0.01,
    calibration: Annotated[
        str, typer.Option(help="auto, split (held out, guaranteed), cross (cross-fitted, measured) or none.")
    ] = "auto",
    goldens: Annotated[
        bool, typer.Option("--goldens/--no-goldens", help="Keep two reduced good pictures to verify with.")
    ] = True,
    workdir: Annotated[
        Path | None, typer.Option(help="Keep features and unfinished trainings here; the same command resumes.")
    ] = None,
    skip_unreadable: Skip = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Learn from good parts and write a model file."""
    from amiss.cli.console import Console
    from amiss.cli.fitting import FitRequest, run_fit
    from amiss.cli.opening import Asked

    request = FitRequest(
        data=Asked(data, dataset, category), out=out, method=method, preset=preset, budget=budget, calibration=calibration,
        goldens=goldens, workdir=workdir, skip_unreadable=skip_unreadable, extra=tuple(context.args),
    )  # fmt: skip
    run_fit(request, Console(quiet=quiet, as_json=as_json))


@app.command()
def predict(
    model: Model,
    paths: Annotated[list[str], typer.Argument(help="Pictures or clouds, folders (searched recursively), or globs in quotes.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for results.csv, overlays/ and report.html.")],
    overlays: Annotated[bool, typer.Option("--overlays/--no-overlays", help="Write a heat map over every part.")] = True,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write the HTML report.")] = True,
    pictures: Annotated[int, typer.Option(min=0, help="How many parts, worst first, have pictures in the report.")] = 200,
    viewers: Annotated[
        int, typer.Option(min=0, help="How many point clouds, worst first, get a page that turns them, in overlays/.")
    ] = 20,
    skip_unreadable: Skip = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge new parts: a table, overlays, and a report."""
    from amiss.cli.console import Console
    from amiss.cli.judging import run_predict
    from amiss.viz.inspection import Options

    options = Options(overlays=overlays, report=report, pictures=pictures, viewers=viewers, skip_unreadable=skip_unreadable)
    run_predict(model, paths, out, options, Console(quiet=quiet, as_json=as_json))


@app.command()
def evaluate(
    model: Model,
    data: Data = None,
    dataset: DatasetName = "folder",
    category: Category = None,
    limit: Annotated[float, typer.Option(help="Largest false positive rate in AUPRO.")] = 0.3,
    skip_unreadable: Skip = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Judge a test split and print the figures."""
    from amiss.cli.console import Console
    from amiss.cli.judging import run_evaluate
    from amiss.cli.opening import Asked

    asked = Asked(data, dataset, category)
    run_evaluate(model, asked, limit, skip_unreadable, Console(quiet=quiet, as_json=as_json))


@app.command()
def calibrate(
    model: Model,
    budget: Annotated[
        float | None, typer.Option("--budget", help="Accepted share of false alarms; default: as it was.")
    ] = None,
    good: Annotated[Path | None, typer.Option(help="Good parts the model has not seen, to calibrate on anew.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Where to write; default: the same file.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Change the thresholds without fitting again."""
    from amiss.cli.console import Console
    from amiss.cli.fitting import run_calibrate

    run_calibrate(model, budget, good, out or model, Console(quiet=quiet, as_json=as_json))


@app.command()
def verify(model: Model, as_json: Json = False, quiet: Quiet = False) -> None:
    """Replay the golden inputs of a model file; exit code 3 where the scores differ."""
    from amiss.cli.console import Console
    from amiss.cli.judging import run_verify

    run_verify(model, Console(quiet=quiet, as_json=as_json))


@data.command("check")
def data_check(
    data: Data = None,
    dataset: DatasetName = "folder",
    category: Category = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Count, read and compare everything in a data set; say what is wrong and what that disables."""
    from amiss.cli.console import Console
    from amiss.cli.looking import run_check
    from amiss.cli.opening import Asked

    run_check(Asked(data, dataset, category), Console(quiet=quiet, as_json=as_json))


@data.command("sets")
def data_sets(as_json: Json = False) -> None:
    """List the layouts that can be read, for --dataset."""
    from amiss.cli.console import Console
    from amiss.cli.looking import run_datasets

    run_datasets(Console(quiet=False, as_json=as_json))


@app.command()
def methods(
    name: Annotated[str | None, typer.Argument(help="One method, to see its fields.")] = None,
    as_json: Json = False,
) -> None:
    """List the methods, or one method's fields with their defaults."""
    from amiss.cli.console import Console
    from amiss.cli.looking import run_methods

    run_methods(name, Console(quiet=False, as_json=as_json))


@app.command()
def doctor(as_json: Json = False) -> None:
    """Check this installation: versions, backbone, cache, and one fit and judgement on made pictures."""
    from amiss.cli.console import Console
    from amiss.cli.looking import run_doctor

    run_doctor(Console(quiet=False, as_json=as_json))


@app.command()
def bench(
    plan: Annotated[Path | None, typer.Argument(help="A plan in TOML; or give --methods and --data.")] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for cells and results; started again, it goes on.")] = Path(
        "bench"
    ),
    methods: Annotated[str, typer.Option(help="Methods, name or name:preset, commas between.")] = "",
    data: Annotated[str, typer.Option(help="Data sets, NAME:PATH, commas between, e.g. folder:parts/screw.")] = "",
    categories: Annotated[str, typer.Option(help="Categories, commas between; default: all.")] = "",
    settings: Annotated[
        str, typer.Option(help="full, few-shot:4, many, zero-shot, contaminated:0.1; commas between.")
    ] = "full",
    seeds: Annotated[str, typer.Option(help="Seeds, commas between.")] = "0",
    budget: Budget = 0.01,
    calibration: Annotated[str, typer.Option(help="auto, split, cross or none.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List the cells and an estimate; run nothing.")] = False,
    exact_times: Annotated[bool, typer.Option("--exact-times", help="Fit without the shared feature cache.")] = False,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Keep the worst misses as small pictures in records and page.")
    ] = True,
    retry_failed: Annotated[bool, typer.Option("--retry-failed", help="Run failed cells again.")] = False,
    same_commit: Annotated[bool, typer.Option("--same-commit", help="Run cells of other commits of amiss again.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare methods on data sets: a table, an HTML page, one file a cell."""
    from amiss.bench.run import Options
    from amiss.cli.benching import given_plan, run_bench
    from amiss.cli.console import Console

    words = {"methods": methods, "data": data, "categories": categories, "settings": settings, "seeds": seeds}
    wanted = given_plan(plan, words, budget=budget, calibration=calibration)
    options = Options(pictures=pictures, exact_times=exact_times, retry_failed=retry_failed, same_commit=same_commit)
    run_bench(wanted, out, options, Console(quiet=quiet, as_json=as_json), dry=dry_run)


@app.command()
def compare(
    a: Annotated[
        str, typer.Argument(metavar="A", help="A bench folder, FOLDER:METHOD for one of its methods, or a cell file.")
    ],
    b: Annotated[str, typer.Argument(metavar="B", help="What to compare it with.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether two runs differ beyond noise: paired bootstrap over the same test parts."""
    from amiss.cli.benching import run_compare
    from amiss.cli.console import Console

    run_compare(a, b, Console(quiet=quiet, as_json=as_json))


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """Finds what is amiss with a part, after seeing good parts only."""
    if version:
        from amiss import __version__

        print(__version__)
        raise typer.Exit
