"""Backbones that a user installs: the name works everywhere, the record holds, and what is unfit is refused."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest

from amiss.backbones import installed
from amiss.backbones.folders import home_folder
from amiss.backbones.runtime import load_graph
from amiss.errors import BadBackbone, BadField, CannotWrite
from tests.backbones import tiny, tiny_nets
from tests.conftest import QUICK, Amiss


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("AMISS_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def files(home: Path) -> list[str]:
    return sorted(path.name for path in home.rglob("*") if path.is_file())


def test_an_installed_backbone_is_found_by_name_with_its_digest(home: Path) -> None:
    record = installed.add(tiny.graph(), "mine", {"file": "net.onnx"})
    assert load_graph("mine") == tiny.graph() and installed.names() == ["mine"]
    assert record == installed.record("mine")
    assert record["sha256"] == hashlib.sha256(tiny.graph()).hexdigest() and record["file"] == "net.onnx"
    assert files(home) == ["mine.json", "mine.onnx"]


def test_an_unknown_name_is_answered_with_the_nearest_and_all_there_are() -> None:
    installed.add(tiny.graph(), "resnet18", {})
    with pytest.raises(BadBackbone, match="did you mean 'resnet18'"):
        load_graph("resnet81")
    with pytest.raises(BadBackbone, match=r"there are efficientnet_lite0, resnet18;.*amiss backbones get NAME.*add FILE"):
        load_graph("zzz")


def test_the_same_graph_again_is_no_clash_and_another_is() -> None:
    installed.add(tiny.graph(), "mine", {})
    installed.add(tiny.graph(), "mine", {})
    with pytest.raises(BadField, match=r"'mine' with another content.*amiss backbones remove mine"):
        installed.add(tiny_nets.vit_graph(), "mine", {})
    assert load_graph("mine") == tiny.graph()
    with pytest.raises(BadField, match="already"):
        installed.check_free("mine")


@pytest.mark.parametrize(
    "name", ["efficientnet_lite0", "", "../up", "a/b", "net.onnx", "net.json", ".hidden", "a b", "x" * 101]
)
def test_a_name_that_is_taken_or_could_be_a_path_is_refused(name: str, home: Path) -> None:
    with pytest.raises(BadField, match="--name"):
        installed.add(tiny.graph(), name, {})
    assert not home.exists()


def nothing(**entries: Any) -> bytes:
    return tiny.graph({**tiny.DESCRIPTION, **entries})


@pytest.mark.parametrize(
    ("graph", "text"),
    [
        (b"garbage", "not an ONNX file"),
        (tiny.graph(None), "does not describe itself"),
        (nothing(taps=[{"name": "gone", "stride": 4}]), "no such output"),
        (nothing(token="gone"), "no such output"),
        (nothing(std=[2e-38, 2e-38, 2e-38]), "not finite"),
        (tiny.graph(side=64), "metadata must name it"),
    ],
)
def test_a_graph_that_is_not_fit_for_use_is_not_installed(graph: bytes, text: str, home: Path) -> None:
    with pytest.raises(BadBackbone, match=text):
        installed.add(graph, "mine", {})
    assert not home.exists()


@pytest.mark.parametrize("suffix", [".onnx", ".json"])
def test_a_file_that_was_changed_afterwards_is_noticed_and_can_be_removed(suffix: str, home: Path) -> None:
    installed.add(tiny.graph(), "mine", {})
    (home / "backbones" / f"mine{suffix}").write_bytes(b"changed")
    with pytest.raises(BadBackbone, match="amiss backbones remove mine"):
        load_graph("mine")
    installed.remove("mine")
    assert files(home) == [] and installed.names() == []


def test_a_home_that_cannot_be_written_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("AMISS_HOME", str(tmp_path / "file"))
    with pytest.raises(CannotWrite, match="AMISS_HOME"):
        installed.add(tiny.graph(), "mine", {})


def test_the_home_lies_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("AMISS_HOME")
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "xdg"))
    assert home_folder() == tmp_path / "xdg" / "amiss"


# -- the command line --------------------------------------------------------------------------------------------------


def test_a_backbone_is_added_listed_fitted_with_and_removed(amiss: Amiss, category: Path, tmp_path: Path) -> None:
    (tmp_path / "vit.onnx").write_bytes(tiny_nets.vit_graph())
    added = amiss("backbones", "add", tmp_path / "vit.onnx", "--name", "tiny_vit", "--json")
    assert added.code == 0 and added.json["layers"] == [0, 2] and added.json["size"] == [32, 48], added.err
    rows = amiss("backbones", "--json").json["backbones"]
    assert [row["name"] for row in rows] == ["efficientnet_lite0", "tiny_vit"]
    assert rows[1]["sha256"] == hashlib.sha256(tiny_nets.vit_graph()).hexdigest() and rows[1]["strides"] == [8, 8]
    said = amiss("backbones", "list")
    assert "tiny_vit" in said.out and "0,2" in said.out and "32 x 48" in said.out and "dinov2_vits14" in said.err
    model = tmp_path / "m.amiss"
    fitted = amiss("fit", category, "--out", model, "--backbone", "tiny_vit", "--layers", "0,2", "--grid", "none", *QUICK)
    assert fitted.code == 0, fitted.err
    assert amiss("backbones", "remove", "tiny_vit").code == 0
    assert amiss("verify", model).code == 0  # the graph travels in the model file
    again = amiss("fit", category, "--out", model, "--backbone", "tiny_vit", *QUICK)
    assert again.code == 2 and "backbone 'tiny_vit': neither" in again.err


def test_a_file_is_installed_under_its_own_name(amiss: Amiss, tmp_path: Path) -> None:
    (tmp_path / "net.v2.onnx").write_bytes(tiny.graph())
    said = amiss("backbones", "add", tmp_path / "net.v2.onnx")
    assert said.code == 0 and "--backbone net.v2 --layers 4,8" in said.out
    assert installed.names() == ["net.v2"]


def test_a_damaged_backbone_does_not_hide_the_others(amiss: Amiss, home: Path) -> None:
    installed.add(tiny.graph(), "mine", {})
    (home / "backbones" / "mine.onnx").write_bytes(b"changed")
    said = amiss("backbones")
    assert said.code == 0 and "efficientnet_lite0" in said.out and "amiss backbones remove mine" in said.err


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("add", "gone.onnx"), "no such file"),
        (("remove", "gone"), "no backbone is installed"),
        (("get", "resnet81"), "did you mean 'resnet18'"),
        (("export", "resnet18", "--out", "gone/net.onnx"), "a folder that exists"),
        (("export", "resnet18", "--out", "net.onnx", "--name", "x"), "one of them"),
        (("export", "efficientnet_lite0"), "embedded"),
    ],
)
def test_what_cannot_be_done_is_explained(amiss: Amiss, words: tuple[str, ...], text: str) -> None:
    said = amiss("backbones", *words)
    assert said.code == 2 and text in said.err and "Traceback" not in said.err


def test_exporting_without_timm_says_what_to_install(amiss: Amiss, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    said = amiss("backbones", "export", "resnet18", "--weights", tmp_path / "w.pth")
    assert said.code == 2 and "pip install 'amiss[timm]'" in said.err and "another machine" in said.err


@pytest.mark.parametrize("command", ["list", "export", "get", "add", "remove"])
def test_every_command_has_help(amiss: Amiss, command: str) -> None:
    said = amiss("backbones", command, "--help")
    assert said.code == 0 and "Usage" in said.out
