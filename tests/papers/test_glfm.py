"""GLFM against its equations: losses by hand and by loops, layers in numpy, lessons, and both banks searched by brute force."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from amiss.kit.adaptation import Adapter, Segmenter, dice, focal
from amiss.kit.adapted import ROWS, Adapted, gap, through
from amiss.kit.clouds import CloudExtractor, Gauge
from amiss.kit.graphs import exported
from amiss.kit.lessons import lessons
from amiss.kit.synthesis import Ranges
from amiss.types import Sample
from tests.clouds import good_clouds

Array = npt.NDArray[Any]


def tensor(array: Any) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


# -- losses ------------------------------------------------------------------------------------------------------------


def slow_focal(chances: Array, marked: Array) -> float:
    terms = []
    for pair, is_marked in zip(chances, marked, strict=True):
        right = pair[1] if is_marked else pair[0]
        terms.append(-((1 - right) ** 2) * np.log(right))
    return float(np.mean(terms))


def slow_dice(chance: Array, marked: Array) -> float:
    both = sum(p for p, y in zip(chance, marked, strict=True) if y)
    return float(1 - (2 * both + 1) / (sum(chance) + sum(marked) + 1))


def drawn(seed: int, count: int = 40) -> tuple[Array, Array]:
    rng = np.random.default_rng(seed)
    marked = rng.random(count) < 0.3
    chance = rng.uniform(0.01, 0.99, count)
    return np.stack([1 - chance, chance], axis=1), marked


def test_the_focal_loss_by_hand() -> None:
    chances, marked = np.array([[0.5, 0.5], [0.1, 0.9]]), np.array([False, False])
    # a good point that is half believed: 0.25 log 2; one taken for a defect at 0.9: 0.81 log 10
    assert float(focal(tensor(chances), tensor(marked))) == pytest.approx((0.25 * np.log(2) + 0.81 * np.log(10)) / 2)
    assert float(focal(tensor(np.eye(2)[[1, 0]]), tensor([True, False]))) == pytest.approx(0, abs=1e-12)


def test_the_dice_loss_by_hand() -> None:
    # 2 of 3 marked points are found, and one that is not: 1 - (2 * 2 + 1) / (3 + 3 + 1)
    assert float(dice(tensor([1.0, 1, 0, 1]), tensor([True, True, True, False]))) == pytest.approx(1 - 5 / 7)
    assert float(dice(tensor([0.0, 0]), tensor([False, False]))) == pytest.approx(0)  # nothing to find, nothing found


@pytest.mark.parametrize("seed", range(4))
def test_both_losses_equal_the_loops(seed: int) -> None:
    chances, marked = drawn(seed)
    assert float(focal(tensor(chances), tensor(marked))) == pytest.approx(slow_focal(chances, marked))
    assert float(dice(tensor(chances[:, 1]), tensor(marked))) == pytest.approx(slow_dice(chances[:, 1], marked))


def test_a_point_that_is_wholly_mistaken_has_a_finite_loss_and_slope() -> None:
    logits = tensor([[200.0, -200.0]]).requires_grad_()
    loss = focal(torch.softmax(logits, dim=1), tensor([True]))
    loss.backward()  # type: ignore[no-untyped-call]
    assert torch.isfinite(loss) and logits.grad is not None and torch.isfinite(logits.grad).all()


# -- layers ------------------------------------------------------------------------------------------------------------


def network(width: int = 5) -> Adapter:
    torch.manual_seed(0)
    rng = np.random.default_rng(0)
    return Adapter(rng.standard_normal(width), rng.uniform(0.5, 2, width), (7, 3)).eval()


def in_numpy(adapter: Adapter, descriptors: Array) -> Array:
    value = (descriptors - adapter.mean.numpy()) / adapter.deviation.numpy()
    weights = [value.detach().numpy() for value in adapter.layers.parameters()]
    for weight, bias in zip(weights[::2], weights[1::2], strict=True):
        value = np.maximum(value @ weight.T + bias, 0)
    return np.asarray(value)


def test_what_a_cloud_loses_is_the_sum_of_both_over_the_heads_softmax() -> None:
    adapter = network()
    segmenter = Segmenter(adapter, 3)
    descriptors, marked = np.random.default_rng(1).standard_normal((30, 5)).astype(np.float32), drawn(0, 30)[1]
    logits = in_numpy(adapter, descriptors) @ segmenter.head.weight.detach().numpy().T + segmenter.head.bias.detach().numpy()
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    wanted = slow_focal(chances, marked) + slow_dice(chances[:, 1], marked)
    assert float(segmenter.loss(tensor(descriptors), tensor(marked)).detach()) == pytest.approx(wanted, rel=1e-5)


def test_the_graph_says_what_the_layers_say_for_any_number_of_places() -> None:
    adapter = network()
    graph = exported(adapter, {"descriptor": np.zeros((ROWS, 5), np.float32)}, ("hidden",), "network")
    descriptors = np.random.default_rng(2).standard_normal((ROWS + 10, 5)).astype(np.float32)
    for count in (1, ROWS, ROWS + 10):
        np.testing.assert_allclose(through(graph, descriptors[:count]), in_numpy(adapter, descriptors[:count]), atol=1e-5)
    joined = Adapted(graph, 2.0)(descriptors[:4])
    np.testing.assert_array_equal(joined[:, :5], descriptors[:4])
    np.testing.assert_allclose(joined[:, 5:], 2 * in_numpy(adapter, descriptors[:4]), atol=1e-5)


@pytest.mark.parametrize("clouds", [3, 1])
def test_gaps_are_those_to_other_clouds_and_what_is_joined_gets_its_share_of_them(clouds: int) -> None:
    rng = np.random.default_rng(3)
    vectors, samples = rng.standard_normal((40, 5)).astype(np.float32), rng.integers(clouds, size=40)
    wanted = np.mean([
        min(np.linalg.norm(vectors[i] - vectors[j]) for j in range(20, 40) if clouds == 1 or samples[i] != samples[j])
        for i in range(20)
    ])  # fmt: skip
    assert gap(vectors, samples) == pytest.approx(wanted, rel=1e-5)
    adapter = network()
    graph = exported(adapter, {"descriptor": np.zeros((ROWS, 5), np.float32)}, ("hidden",), "network")
    found = Adapted.weighed(graph, vectors, samples, 0.5)
    assert gap(found(vectors)[:, 5:], samples) == pytest.approx(0.5 * wanted, rel=1e-3)


# -- lessons -----------------------------------------------------------------------------------------------------------


def test_lessons_have_the_place_of_their_defect_marked_and_all_parts_serve_alike() -> None:
    parts = good_clouds(3)
    extract = CloudExtractor((3.0, 5.0), 2.2, Gauge.of(parts, 1.5, 20_000))
    seen: list[str] = []

    def watched(sample: Sample) -> Any:
        seen.append(sample.id)
        return extract(sample)

    ranges = Ranges(share=(0.02, 0.02), height=(0.6, 0.6))
    made = list(lessons(parts, 6, watched, np.random.default_rng(0), kinds=("stretch",), ranges=ranges))
    assert [name for name in seen if "spoiled" not in name] == ["good 0", "good 1", "good 2"]
    assert len([name for name in seen if "spoiled" in name]) == len(made) == 6
    for number, one in enumerate(made):
        good = extract(parts[number // 2]).places
        moved = np.array([np.linalg.norm(good - place, axis=1).min() for place in one.features.places])
        assert len(one.marked) == len(moved) and 10 < one.marked.sum() < 0.1 * len(moved)
        assert (
            moved[one.marked].max() > 5 * moved[~one.marked].max() or moved[one.marked].mean() > 3 * moved[~one.marked].mean()
        )


def test_fewer_lessons_than_parts_are_of_parts_from_first_to_last() -> None:
    parts = good_clouds(4, points=1500)
    extract, seen = CloudExtractor((3.0,), 0.0, Gauge.of(parts, 1.5, 20_000)), []

    def watched(sample: Sample) -> Any:
        seen.append(sample.id)
        return extract(sample)

    assert len(list(lessons(parts, 2, watched, np.random.default_rng(0)))) == 2
    assert seen == ["good 0", "good 0, spoiled", "good 2", "good 2, spoiled"]
