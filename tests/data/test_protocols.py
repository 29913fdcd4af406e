"""Settings: what may be learned from, what is judged, and draws that hang on the seed and nothing else."""

from __future__ import annotations

import random
import shutil
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import amiss
from amiss.data.dataset import Dataset, Split
from amiss.data.protocols import allowed, contaminated, few_shot, full, many, task, zero_shot
from amiss.errors import BadField, BadLayout, TooFewSamples
from tests.data import miniatures


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return miniatures.mvtec_ad(tmp_path_factory.mktemp("protocols"), train=9)


@pytest.fixture(scope="module")
def dataset(root: Path) -> Dataset:
    return amiss.dataset("mvtec_ad", root)


def ids(split: Split) -> set[str]:
    return {entry.id for entry in split.entries}


def test_full_is_the_whole_category_as_the_data_set_splits_it(tmp_path: Path) -> None:
    dataset = amiss.dataset("mvtec_loco", miniatures.mvtec_loco(tmp_path))
    found = full(dataset, "box")
    assert (found.name, list(found.tests)) == ("full", ["box"])
    assert (found.fit, found.calibration) == (dataset.split("box", "train"), dataset.split("box", "calibration"))
    assert found.tests["box"] == dataset.split("box", "test")


# few shots


@pytest.mark.parametrize("k", [1, 2, 4, 8])
def test_few_shot_takes_k_parts_and_leaves_the_test_as_it_is(k: int, dataset: Dataset) -> None:
    found = few_shot(dataset, "screw", k, seed=3)
    assert (found.name, len(found.fit.entries)) == (f"few-shot:{k}", k)
    assert ids(found.fit) < ids(dataset.split("screw", "train"))
    assert found.tests["screw"] == dataset.split("screw", "test")


@given(seed=st.integers(0, 50), k=st.integers(1, 8))
def test_the_parts_of_a_smaller_k_are_among_those_of_a_larger(seed: int, k: int, dataset: Dataset) -> None:
    small, large = (few_shot(dataset, "screw", count, seed=seed).fit.entries for count in (k, k + 1))
    assert large[:k] == small


def test_seeds_draw_different_parts_and_the_first_file_is_not_preferred(dataset: Dataset) -> None:
    firsts = [few_shot(dataset, "screw", 1, seed=seed).fit.entries[0].path.name for seed in range(30)]
    assert len(set(firsts)) > 4 and firsts.count("000.png") < 15


def test_the_draw_hangs_on_content_not_on_names_or_order(root: Path, dataset: Dataset, tmp_path: Path) -> None:
    other = shutil.copytree(root / "screw", tmp_path / "screw")
    paths = sorted((other / "train/good").iterdir())
    random.Random(1).shuffle(paths)
    for number, path in enumerate(paths):
        path.rename(path.with_name(f"x{number}.png"))
    drawn = [few_shot(data, "screw", 4, seed=5).fit for data in (dataset, amiss.dataset("mvtec_ad", other))]
    assert [sample.digest for sample in drawn[0].samples] == [sample.digest for sample in drawn[1].samples]


def test_more_shots_than_parts_are_refused_and_a_pool_of_one_gives_one(tmp_path: Path) -> None:
    one = amiss.dataset("mvtec_ad", miniatures.mvtec_ad(tmp_path, ("screw",), train=1))
    assert len(few_shot(one, "screw", 1, seed=0).fit.entries) == 1
    with pytest.raises(TooFewSamples, match=r"few-shot:2: screw has 1 train picture.s., fewer than 2; choose a smaller k"):
        few_shot(one, "screw", 2, seed=0)
    with pytest.raises(BadField, match="few-shot:0: wanted 1 or more"):
        few_shot(one, "screw", 0, seed=0)
    with pytest.raises(BadField, match="seed = -1"):
        few_shot(one, "screw", 1, seed=-1)


# many categories, no training


def test_one_model_for_many_categories_never_learns_which_is_which(dataset: Dataset) -> None:
    found = many(dataset)
    assert list(found.tests) == ["bottle", "screw"]
    assert ids(found.fit) == ids(dataset.split("bottle", "train")) | ids(dataset.split("screw", "train"))
    every = [found.fit, *found.tests.values()]
    assert {sample.part for split in every for sample in split.samples} == {""}
    assert ids(found.tests["screw"]) == ids(dataset.split("screw", "test"))


def test_categories_can_be_chosen(dataset: Dataset) -> None:
    assert list(many(dataset, ["screw", "screw"]).tests) == ["screw"]
    with pytest.raises(BadLayout, match="not 'bolt'"):
        many(dataset, ["bolt"])
    with pytest.raises(BadField, match="no category given"):
        many(dataset, [])


def test_zero_shot_sees_the_test_pictures_and_nothing_good_for_sure(dataset: Dataset) -> None:
    found = zero_shot(dataset, "screw")
    assert found.fit == found.tests["screw"] == dataset.split("screw", "test")
    assert not found.calibration.entries


# defects in the training set


def test_contamination_makes_up_its_share_and_leaves_the_test(dataset: Dataset) -> None:
    found = contaminated(dataset, "screw", 0.1, seed=0)
    (moved,) = [entry for entry in found.fit.entries if entry.defective]  # 1 of 9 + 1
    whole = ids(dataset.split("screw", "test"))
    assert found.name == "contaminated:0.1" and len(found.fit.entries) == 10
    assert ids(found.tests["screw"]) == whole - {moved.id} and moved.id in whole
    assert found == contaminated(dataset, "screw", 0.1, seed=0)
    drawn = {contaminated(dataset, "screw", 0.1, seed=seed).fit.entries[-1].id for seed in range(12)}
    assert len(drawn) > 1


def test_contamination_moves_no_view_without_its_part(tmp_path: Path) -> None:
    views = amiss.dataset("real_iad", miniatures.real_iad(tmp_path))
    with pytest.raises(TooFewSamples, match="no defective part would stay"):
        contaminated(views, "zipper", 0.1, seed=0)  # both defective views show one part


@pytest.mark.parametrize(
    ("share", "error", "words"),
    [
        (0.0, BadField, "above 0 and below 1"),
        (1.0, BadField, "above 0 and below 1"),
        (float("nan"), BadField, "above 0 and below 1"),
        (0.01, BadField, "of 9 good pictures that is less than one defective one"),
        (0.3, TooFewSamples, "9 good pictures need 4 defective ones beside them, screw has 4 in its test split and one has"),
        (0.9, TooFewSamples, "need 81 defective"),
    ],
)
def test_shares_that_cannot_be_are_refused(share: float, error: type[Exception], words: str, dataset: Dataset) -> None:
    with pytest.raises(error, match=words):
        contaminated(dataset, "screw", share, seed=0)


# by name


@pytest.mark.parametrize("text", ["full", "few-shot:4", "many", "zero-shot", "contaminated:0.1"])
def test_a_task_by_name_is_the_one_of_the_function(text: str, dataset: Dataset) -> None:
    by_hand = {
        "full": full(dataset, "screw"), "few-shot:4": few_shot(dataset, "screw", 4, seed=2), "many": many(dataset),
        "zero-shot": zero_shot(dataset, "screw"), "contaminated:0.1": contaminated(dataset, "screw", 0.1, seed=2),
    }  # fmt: skip
    found = task(text, dataset, "screw", seed=2)
    assert found == by_hand[text] and found.name == text


@pytest.mark.parametrize(
    "text", ["few-shot", "few-shot:", "few-shot:two", "few-shot:1.5", "full:3", "contaminated:much", "many:"]
)
def test_a_setting_without_its_number_names_the_choices(text: str, dataset: Dataset) -> None:
    with pytest.raises(BadField, match="wanted one of full, few-shot:K, many, zero-shot, contaminated:SHARE"):
        task(text, dataset, "screw", seed=0)


def test_an_unknown_setting_comes_with_the_nearest(dataset: Dataset) -> None:
    with pytest.raises(BadField, match="did you mean 'zero-shot'"):
        task("zeroshot", dataset, "screw", seed=0)
    with pytest.raises(BadField, match="choose from contaminated:SHARE, few-shot:K, full"):
        allowed(frozenset({"normal"}), "xyz")


@pytest.mark.parametrize(
    ("needs", "zero", "others"),
    [
        ({"normal"}, False, True),
        ({"unlabelled"}, True, True),
        ({"normal", "unlabelled"}, True, True),
        ({"labelled"}, False, False),
    ],
)
def test_a_method_is_allowed_where_the_setting_has_what_it_needs(needs: set[str], zero: bool, others: bool) -> None:
    assert allowed(frozenset(needs), "zero-shot") is zero
    for name in ("full", "few-shot:1", "many", "contaminated:0.2"):
        assert allowed(frozenset(needs), name) is others
