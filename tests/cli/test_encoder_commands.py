"""The command line on encoders of points: made from a checkpoint, learned from scans, listed, fitted with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.backbones.encoders import SMALL, encoder
from tests.clouds import good_clouds
from tests.conftest import Amiss

from amiss.backbones import installed
from amiss.backbones.point_mae import PointMAE, Sizes
from amiss.backbones.points import PointEncoder
from amiss.data.ply_writer import write_ply
from amiss.errors import BadBackbone
from amiss.kit import encoders
from amiss.kit.encoders import Learned
from amiss.kit.training import Plan, Trained, seeded

OPTIONS = ("--sizes", "12,2,2", "--taps", "1,2", "--groups", "40", "--members", "8")


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AMISS_HOME", str(tmp_path / "home"))


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    (tmp_path / "scans").mkdir()
    for sample in good_clouds(3, points=1500):
        assert sample.points is not None
        write_ply(tmp_path / "scans" / f"{sample.id}.ply", sample.points)
    return tmp_path / "scans"


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    with seeded(0):
        network = PointMAE(Sizes(width=12, depth=2, heads=2), (1, 2))
    torch.save({"base_model": {f"module.MAE_encoder.{key}": value for key, value in network.state_dict().items()}},
               tmp_path / "pretrain.pth")  # fmt: skip
    return tmp_path / "pretrain.pth"


def test_a_checkpoint_becomes_an_encoder_that_a_model_is_fitted_with(
    amiss: Amiss, tmp_path: Path, weights: Path, scans: Path
) -> None:
    made = amiss("backbones", "point-mae", weights, "--name", "mine", *OPTIONS, "--statistics", "batch", "--json")
    assert made.code == 0, made.err
    assert made.json["encoder"]["statistics"] == "batch" and made.json["layers"] == [1, 2]
    assert made.json["record"]["source"]["weights"]["file"] == "pretrain.pth" and made.json["record"]["gap"] < 1e-4
    listed = amiss("backbones", "list")
    assert "mine" in listed.out and "points" in listed.out
    fitted = amiss(
        "fit",
        scans,
        "--out",
        tmp_path / "gear.amiss",
        "--encoder",
        "mine",
        "--places",
        "200",
        "--calibration",
        "none",
        "--json",
    )
    assert fitted.code == 0, fitted.err
    assert amiss("backbones", "remove", "mine").code == 0
    assert amiss("verify", tmp_path / "gear.amiss").code == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "give one of them"),
        (("--name", "mine", "--out", "mine.onnx"), "give one of them"),
        (("--name", "mine", "--taps", "4,x"), "--taps '4,x': wanted whole numbers"),
        (("--name", "mine", "--frame", "sideways"), "'sideways'"),
        (("--name", "mine", "--sizes", "12,2"), "these options make no encoder"),
        (("--name", "mine", "--unit", "0"), "a unit above zero"),
        (("--name", "mine", "--sizes", "13,2,2"), "the heads divide"),
        (("--name", "mine", "--sizes", "12,2,2"), "wanted rising numbers of 1 to 2"),
        (("--name", "mine"), "not the weights of a Point-MAE encoder of Sizes(width=384"),
    ],
    ids=str,
)
def test_what_makes_no_encoder_is_refused_in_plain_words(
    amiss: Amiss, weights: Path, words: tuple[str, ...], said: str
) -> None:
    refused = amiss("backbones", "point-mae", weights, *words)
    assert refused.code == 2 and said in refused.err and "Traceback" not in refused.err


def test_a_small_encoder_is_learned_from_scans_and_written(
    amiss: Amiss, tmp_path: Path, scans: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []

    def learned(samples: Any, plan: Plan, *, progress: Any, workdir: Path | None) -> Learned:
        asked.append((len(samples), plan.steps, plan.seed, workdir))
        return Learned(encoder(), Trained(plan.steps, 1.0, 0.5, by_clock=False), 1e-6, {"sizes": {}})

    monkeypatch.setattr(encoders, "learned", learned)
    said = amiss(
        "backbones", "learn-points", scans, "--out", tmp_path / "small.onnx", "--steps", "7", "--seed", "3",
        "--workdir", tmp_path / "work",
    )  # fmt: skip
    assert said.code == 0, said.err
    assert asked == [(3, 7, 3, tmp_path / "work")] and (tmp_path / "work").is_dir()
    assert f"--encoder {tmp_path / 'small.onnx'}" in said.out and "7 steps in 1 s, loss 0.5" in said.err
    assert PointEncoder((tmp_path / "small.onnx").read_bytes(), name="it").description == SMALL


def test_an_encoder_is_tried_on_a_cloud_before_it_is_installed(amiss: Amiss, tmp_path: Path) -> None:
    installed.add(encoder(), "fine", {})
    with pytest.raises(BadBackbone, match="gives tokens of shape"):
        installed.add(encoder(replace(SMALL, channels=7)), "odd", {})
    (tmp_path / "odd.onnx").write_bytes(encoder(times=float("nan")))
    refused = amiss("backbones", "add", tmp_path / "odd.onnx")
    assert refused.code != 0 and "finite" in refused.err and installed.names() == ["fine"]


def test_an_encoder_in_place_of_a_backbone_for_pictures_is_named_as_such(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    installed.add(encoder(), "fine", {})
    refused = amiss("fit", category, "--out", tmp_path / "disc.amiss", "--backbone", "fine")
    assert refused.code != 0 and "an encoder of point clouds" in refused.err
