from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from amiss.bench.identity import Fingerprints, key_of
from amiss.bench.plan import Plan, cells, plan_of_words, read_plan
from amiss.data import toys
from amiss.errors import BadField, InputError, UnreadableFile

TEXT = """
settings = ["full", "few-shot:2"]
seeds = [0, 3]
budget = 0.05
[[methods]]
name = "patchcore"
preset = "fast"
[[methods]]
name = "patchcore"
label = "small"
fields = { bank = 100 }
[[data]]
name = "folder"
root = "disc"
label = "mvtec_ad"
"""


@pytest.fixture
def root(tmp_path: Path) -> Path:
    toys.make_folder(tmp_path / "disc", kind="object", train=3, good=1, bad=1)
    (tmp_path / "plan.toml").write_text(TEXT)
    return tmp_path


def test_a_plan_is_the_product_of_what_it_names(root: Path) -> None:
    plan = read_plan(root / "plan.toml")
    found = cells(plan)
    assert len(found) == 2 * 1 * 2 * 2
    assert [method.shown for method in plan.methods] == ["patchcore:fast", "small"]
    assert plan.data[0].root == root / "disc" and plan.data[0].shown == "mvtec_ad"
    assert {(cell.setting, cell.seed, cell.method.shown) for cell in found} == {
        (setting, seed, label) for setting in plan.settings for seed in plan.seeds for label in ("patchcore:fast", "small")
    }
    small = next(cell for cell in found if cell.method.shown == "small" and cell.seed == 3)
    assert (small.detector().bank, small.detector().seed, small.budget) == (100, 3, 0.05)


def test_the_command_line_says_the_same_as_a_file(root: Path) -> None:
    plan = plan_of_words(
        methods="patchcore:fast, patchcore", data=f"folder:{root / 'disc'}", settings="full,few-shot:2", seeds="0,3"
    )
    assert len(cells(plan)) == 8 and plan.methods[0].preset == "fast" and plan.seeds == (0, 3)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('name = "patchcore"\npreset', 'name = "patchcor"\npreset', "did you mean 'patchcore'"),
        ('preset = "fast"', 'preset = "fats"', "did you mean 'fast'"),
        ("bank = 100", "bonk = 100", "did you mean 'bank'"),
        ("bank = 100", "seed = 1", "seed is the plan's"),
        ('name = "folder"', 'name = "foldr"', "did you mean 'folder'"),
        ('"few-shot:2"', '"few-shots:2"', "did you mean 'few-shot:K'"),
        ('"few-shot:2"', '"few-shot:0"', "above 0"),
        ('label = "mvtec_ad"', 'categories = ["dics"]', "did you mean 'disc'"),
        ("seeds =", "sees =", "did you mean 'seeds'"),
        ("seeds = [0, 3]", "seeds = []", "names no seeds"),
        ("seeds = [0, 3]", "seeds = [-1]", "0 or more"),
        ("seeds = [0, 3]", "seeds = 4", "is not a list"),
        ("budget = 0.05", "budget = 5", "budget"),
        ("budget = 0.05", 'calibration = "slit"', "did you mean 'split'"),
        ('label = "small"', 'label = "patchcore:fast"', "two methods are called"),
        ('root = "disc"', 'root = "disk"', "no such file or folder"),
        ('root = "disc"\n', "", "no root"),
        ("fields = { bank = 100 }", "fields = 3", "fields"),
        ("seeds = [0, 3]", "seeds = [0, 0]", "twice"),
        ('["full", "few-shot:2"]', '["zero-shot"]', "the plan has no cell"),
    ],
)
def test_what_cannot_be_run_is_refused_with_the_nearest_name(root: Path, old: str, new: str, words: str) -> None:
    path = root / "plan.toml"
    assert old in TEXT
    path.write_text(TEXT.replace(old, new, 1))
    with pytest.raises(InputError, match=words):
        cells(read_plan(path))


def test_text_that_is_no_toml_is_refused(root: Path) -> None:
    (root / "plan.toml").write_text("methods = [")
    with pytest.raises(UnreadableFile, match=r"plan\.toml"):
        read_plan(root / "plan.toml")


@pytest.mark.parametrize(("words", "said"), [({"data": "disc"}, "NAME:PATH"), ({"seeds": "a"}, "whole numbers")])
def test_words_that_cannot_be_read_are_refused(words: dict[str, str], said: str) -> None:
    with pytest.raises(BadField, match=said):
        plan_of_words(**{"methods": "patchcore", "data": "folder:x", **words})


def test_a_cell_is_known_by_its_settings_and_the_content_of_its_data(root: Path, tmp_path: Path) -> None:
    import amiss

    def keys(plan: Plan) -> list[str]:
        prints = Fingerprints(tmp_path / "memory.json")
        dataset = amiss.dataset("folder", plan.data[0].root)
        found = [key_of(cell, prints.of(dataset, cell.category)) for cell in cells(plan)]
        prints.keep()
        return found

    plan = read_plan(root / "plan.toml")
    before = keys(plan)
    assert len(set(before)) == 8 and keys(plan) == before
    (root / "disc").rename(root / "moved")  # where the data lie plays no role, what they are called does
    (root / "else").mkdir()
    (root / "moved").rename(root / "else" / "disc")
    moved = replace(plan, data=(replace(plan.data[0], root=root / "else" / "disc"),))
    assert keys(moved) == before
    picture = sorted((root / "else" / "disc" / "test").rglob("*.png"))[0]
    picture.write_bytes((root / "else" / "disc" / "train" / "good" / "000.png").read_bytes())
    assert not set(keys(moved)) & set(before)
