"""What several test folders share: a made category on disk, a model fitted on it, and the command line in this process."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from amiss.data import toys

QUICK = ("--size", "96", "--bank", "200")


@dataclass(frozen=True)
class Said:
    """What one command printed, and its exit code."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


Amiss = Callable[..., Said]


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Tests build the backbone in a cache of their own, and see no backbone that the user installed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AMISS_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("AMISS_HOME", str(tmp_path_factory.mktemp("home")))
        yield


@pytest.fixture
def amiss(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Amiss:
    """Run one command in this process, as a shell would."""

    def run(*words: object) -> Said:
        from amiss.cli import main

        capfd.readouterr()
        monkeypatch.setattr("sys.argv", ["amiss", *(str(word) for word in words)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        said = capfd.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(scope="session")
def category(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A made category in the MVTec AD layout, with masks."""
    return toys.make_folder(tmp_path_factory.mktemp("toys") / "disc", seed=0, kind="object", train=14, good=5, bad=5)


@pytest.fixture(scope="session")
def model_file(category: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small calibrated PatchCore fitted on the category."""
    import amiss as front
    from amiss.verdict.calibrate import fit_calibrated

    dataset = front.dataset("folder", category)
    samples = dataset.split(dataset.only(), "train").samples
    model = fit_calibrated(front.detector("patchcore", size=96, bank=200), samples)
    path = tmp_path_factory.mktemp("model") / "disc.amiss"
    model.with_goldens(samples[:2]).save(path)
    return path
