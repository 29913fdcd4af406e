"""Made parts: repeatable, varied, and with defects that can be seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from amiss.data import toys
from amiss.data.folder import Folder
from amiss.data.readers import read_image, read_mask
from amiss.errors import BadField
from amiss.types import Sample

KINDS = ("texture", "object")
SIZES = ((96, 96), (64, 128), (150, 90), (16, 16))


def pixels(sample: Sample) -> npt.NDArray[np.int64]:
    assert sample.image is not None
    return sample.image.astype(np.int64)


@pytest.mark.parametrize("draw", [toys.texture, toys.part])
@pytest.mark.parametrize("size", SIZES)
def test_parts_are_pictures_of_the_wanted_size(draw: object, size: tuple[int, int]) -> None:
    image = draw(np.random.default_rng(0), size)  # type: ignore[operator]
    assert image.shape == (*size, 3) and image.dtype == np.uint8
    assert image.std() > 5 and len(np.unique(image)) > 20
    assert (image == 0).mean() < 0.01 and (image == 255).mean() < 0.01


@pytest.mark.parametrize("kind", KINDS)
def test_the_same_seed_makes_the_same_parts_and_another_one_others(kind: str) -> None:
    assert toys.samples(3, 2, kind) == toys.samples(3, 2, kind)
    assert len({sample.digest for seed in range(3) for sample in toys.samples(seed, 3, kind)}) == 9
    assert len({sample.id for seed in range(3) for sample in toys.samples(seed, 3, kind)}) == 9


@pytest.mark.parametrize("kind", KINDS)
def test_the_first_parts_stay_the_same_when_more_are_made(kind: str) -> None:
    assert toys.samples(0, 5, kind)[:2] == toys.samples(0, 2, kind)
    few, many = (toys.defective_samples(0, count, kind) for count in (2, 5))
    assert [sample for sample, _ in many[:2]] == [sample for sample, _ in few]


@pytest.mark.parametrize("kind", KINDS)
def test_good_parts_vary_in_more_than_noise(kind: str) -> None:
    """Means over blocks of 8 x 8 average the noise of 2.5 down to 0.2 grey values; what remains is pose, weave and light."""
    blocks = [pixels(s).mean(axis=2).reshape(12, 8, 12, 8).mean(axis=(1, 3)) for s in toys.samples(0, 8, kind)]
    spread = np.std(blocks, axis=0)
    assert spread.mean() > 2
    assert 2 < np.ptp([block.mean() for block in blocks]) < 30


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", toys.DEFECTS)
@pytest.mark.parametrize("size", SIZES)
def test_a_defect_changes_what_its_mask_marks_and_hardly_anything_else(kind: str, name: str, size: tuple[int, int]) -> None:
    for seed in range(4):
        rng = np.random.default_rng(seed)
        image, on = toys._drawn(kind)(rng, size)
        kept = image.copy()
        changed, mask = toys.defect(rng, image, kind=name, on=on)
        assert mask.dtype == np.bool_ and mask.shape == size and changed.dtype == np.uint8
        assert mask.any() and mask.mean() < 0.25 and on[mask].all()
        np.testing.assert_array_equal(image, kept)
        difference = np.abs(changed.astype(int) - image).max(axis=2)
        assert difference[mask].mean() > 20
        assert difference[~mask].mean() < 2


@pytest.mark.parametrize("kind", KINDS)
def test_defects_are_within_the_range_of_good_grey_values_so_that_a_threshold_does_not_find_them_all(kind: str) -> None:
    good = np.stack([pixels(sample) for sample in toys.samples(0, 8, kind)])
    low, high = good.min(), good.max()
    hidden = 0
    for sample, truth in toys.defective_samples(5, 16, kind):
        assert truth.mask is not None
        marked = pixels(sample)[truth.mask]
        hidden += bool(((marked >= low) & (marked <= high)).mean() > 0.9)
    assert hidden >= 4


def test_a_kind_of_defect_is_drawn_where_none_is_given() -> None:
    image = toys.texture(np.random.default_rng(0))
    shares = {round(float(toys.defect(np.random.default_rng(seed), image)[1].mean()), 4) for seed in range(12)}
    assert len(shares) > 6


@pytest.mark.parametrize("kind", KINDS)
def test_defective_samples_carry_their_truth(kind: str) -> None:
    made = toys.defective_samples(1, 6, kind, (40, 56))
    assert [truth.kind for _, truth in made] == ["scratch", "spot", "missing", "stain", "scratch", "spot"]
    for sample, truth in made:
        assert sample.image is not None and truth.mask is not None
        assert truth.label and truth.mask.shape == sample.image.shape[:2] == (40, 56)


@pytest.mark.parametrize("kind", KINDS)
def test_a_made_folder_is_a_category_in_the_mvtec_layout(kind: str, tmp_path: Path) -> None:
    root = toys.make_folder(tmp_path / "part", kind=kind, train=3, good=2, bad=5, size=(40, 48))
    assert root == tmp_path / "part"
    folder = Folder(root)
    train, test = (folder.split(folder.only(), name) for name in ("train", "test"))  # type: ignore[arg-type]
    assert (folder.layout, len(train.entries), len(test.entries)) == ("mvtec", 3, 7)
    assert sorted(entry.kind for entry in test.entries) == ["good", "good", "missing", "scratch", "scratch", "spot", "stain"]
    for sample, truth in zip(test.samples, test.truths, strict=True):
        assert sample.image is not None and sample.image.shape == (40, 48, 3)
        assert bool(truth.mask is not None and truth.mask.any()) is truth.label
    assert not {sample.digest for sample in train.samples} & {sample.digest for sample in test.samples}


def test_a_made_folder_is_repeatable_and_may_go_without_masks(tmp_path: Path) -> None:
    first, second = (toys.make_folder(tmp_path / name, seed=7, train=2, size=(24, 24), masks=name == "a") for name in "ab")
    assert (first / "ground_truth").is_dir() and not (second / "ground_truth").exists()
    for path in second.rglob("*.png"):
        assert path.read_bytes() == (first / path.relative_to(second)).read_bytes()
    other = toys.make_folder(tmp_path / "c", seed=8, train=2, size=(24, 24))
    assert (other / "train/good/000.png").read_bytes() != (first / "train/good/000.png").read_bytes()


def test_more_training_parts_leave_the_others_as_they_are(tmp_path: Path) -> None:
    few, many = (toys.make_folder(tmp_path / str(count), train=count, size=(24, 24)) for count in (1, 4))
    for name in ("train/good/000.png", "test/good/003.png", "test/spot/000.png", "ground_truth/spot/000_mask.png"):
        assert (few / name).read_bytes() == (many / name).read_bytes()


def test_files_are_rgb_pictures_with_masks_of_zero_and_255(tmp_path: Path) -> None:
    root = toys.make_folder(tmp_path, kind="object", train=1, size=(24, 24))
    _, on = toys._part(np.random.default_rng([0, 1, 0]), (24, 24))
    image = read_image(root / "train/good/000.png")
    np.testing.assert_array_equal(image, toys.part(np.random.default_rng([0, 1, 0]), (24, 24)))
    assert image[on].mean(axis=0)[2] > image[on].mean(axis=0)[0]  # bluish metal: channels were not swapped
    mask = root / "ground_truth/spot/000_mask.png"
    assert set(np.unique(read_image(mask))) == {0, 255} and read_mask(mask).any()


def test_numbers_of_parts_may_be_zero(tmp_path: Path) -> None:
    root = toys.make_folder(tmp_path, train=2, good=0, bad=0, size=(16, 16))
    assert sorted(path.name for path in root.rglob("*.png")) == ["000.png", "001.png"]
    assert toys.samples(0, 0, "texture") == toys.defective_samples(0, 0, "object") == []


def test_unknown_kinds_are_refused() -> None:
    with pytest.raises(BadField, match="wanted texture or object"):
        toys.samples(0, 1, "cloud")
    with pytest.raises(BadField, match="wanted one of scratch, spot"):
        toys.defect(np.random.default_rng(0), np.zeros((9, 9, 3), np.uint8), kind="hole")
    with pytest.raises(BadField, match="covers no pixel"):
        toys.defect(np.random.default_rng(0), np.zeros((9, 9, 3), np.uint8), on=np.zeros((9, 9), bool))
