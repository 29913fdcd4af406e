"""Routing: nearest centre, the second one where it is close, how many kinds there are, and blocks that count alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from amiss.geometry.whole import distance_histogram, extents
from amiss.kit.routing import BINS, Clustering, Router, described
from tests.clouds import surface, turned

Array = npt.NDArray[Any]


def kinds(count: int, each: int, seed: int = 0) -> tuple[list[list[Array]], Array]:
    """Blocks of good clouds of some kinds, the last block a thousand times as large as the first; and which kind."""
    rng = np.random.default_rng(seed)
    which = np.repeat(np.arange(count), each)
    corners = [rng.standard_normal((count, width)) * size for width, size in ((5, 1.0), (5, 1.0), (3, 1.0), (8, 1000.0))]
    return [[block[kind] * (1 + rng.normal(0, 0.01, block.shape[1])) for block in corners] for kind in which], which


def slow_route(router: Router, blocks: list[Array], soft: float) -> tuple[int, set[int]]:
    vector = np.concatenate([block / scale for block, scale in zip(blocks, router.scales, strict=True)])
    far = [float(np.linalg.norm(vector - centre)) for centre in router.centres]
    first, second = sorted(range(len(far)), key=far.__getitem__)[:2]
    return first, {first, second} if (far[second] - far[first]) / far[first] < soft else {first}


@pytest.mark.parametrize("how", ["means", "k-centre"])
@pytest.mark.parametrize("count", [5, None])
def test_every_kind_gets_a_centre_whether_or_not_their_number_is_told(count: int | None, how: Clustering) -> None:
    clouds, which = kinds(5, 4)
    router, member = Router.of(clouds, count, np.random.default_rng(0), how)
    assert len(router.centres) == 5 and len(set(zip(which, member, strict=True))) == 5
    new, of_kind = kinds(5, 4)
    assert [router.route(blocks, 0.1).centre for blocks in new] == [member[which == kind][0] for kind in of_kind]


def test_clouds_of_one_kind_get_one_centre_unless_more_are_asked_for() -> None:
    rng = np.random.default_rng(1)
    clouds = [[rng.normal(5, 0.1, width) for width in (5, 5, 3, 8)] for _ in range(8)]
    assert len(Router.of(clouds, None, rng)[0].centres) == 1
    assert len(Router.of(clouds, 3, rng)[0].centres) == 3
    assert len(Router.of(clouds, 50, rng)[0].centres) == 8


@pytest.mark.parametrize("copies", [1, 2, 5])
def test_one_cloud_or_copies_of_it_get_one_centre(copies: int) -> None:
    router, member = Router.of([[np.ones(5), np.zeros(5), np.ones(3), np.ones(8)]] * copies, None, np.random.default_rng(0))
    assert len(router.centres) == 1 and router.scales.tolist() == [1, 1, 1, 1] and (member == 0).all()
    assert router.route([np.ones(5), np.zeros(5), np.ones(3), np.ones(8)], 0.1).distances == pytest.approx(0)


def test_a_block_that_is_a_thousand_times_as_large_counts_no_more() -> None:
    clouds, _ = kinds(4, 3)
    large = [[*blocks[:-1], 1000 * blocks[-1]] for blocks in clouds]
    here, there = (Router.of(each, 4, np.random.default_rng(0))[0] for each in (clouds, large))
    np.testing.assert_allclose(here.centres, there.centres, rtol=1e-9)
    spread = np.stack([np.concatenate([b / s for b, s in zip(blocks, here.scales, strict=True)]) for blocks in clouds])
    parts = np.split(spread - spread.mean(axis=0), np.cumsum([5, 5, 3]), axis=1)
    np.testing.assert_allclose([(part**2).sum(axis=1).mean() for part in parts], 1)


@pytest.mark.parametrize("soft", [0.0, 0.1, 0.5])
def test_routes_equal_the_loops(soft: float) -> None:
    clouds, _ = kinds(4, 3)
    router, _ = Router.of(clouds, 4, np.random.default_rng(0))
    rng, used = np.random.default_rng(2), set()
    for _ in range(60):
        one, other = rng.choice(len(clouds), 2)
        share = rng.uniform()
        blocks = [share * a + (1 - share) * b for a, b in zip(clouds[one], clouds[other], strict=True)]
        route = router.route(blocks, soft)
        assert (route.centre, set(route.used)) == slow_route(router, blocks, soft)
        assert route.used[0] == route.centre and route.distances.argmin() == route.centre
        used.add(len(route.used))
    assert used == ({1} if soft == 0 else {1, 2})


def test_a_cloud_unlike_all_good_ones_is_known_to_be() -> None:
    clouds, _ = kinds(4, 6)
    router, member = Router.of(clouds, 4, np.random.default_rng(0))
    assert not any(router.route(blocks, 0.1).far for blocks in [*clouds, *kinds(4, 6)[0]])
    for centre in range(4):
        of_it = [blocks for blocks, mine in zip(clouds, member, strict=True) if mine == centre]
        farthest = max(router.route(blocks, 0.1).distances[centre] for blocks in of_it)
        assert router.reaches[centre] == pytest.approx(farthest)
        for times, far in ((2.9, False), (3.1, True)):
            way = router.centres[centre] + times * farthest * np.eye(21)[0]
            blocks = [part * scale for part, scale in zip(np.split(way, [5, 10, 13]), router.scales, strict=True)]
            assert router.route(blocks, 0.1).far is far
    assert router.route([10 * block for block in clouds[0]], 0.1).far


def test_what_a_cloud_is_like_as_a_whole_is_made_of_its_four_blocks() -> None:
    points, _ = surface(np.random.default_rng(0), 500)
    local = np.random.default_rng(1).random((500, 7)).astype(np.float32)
    mean, deviation, sides, apart = described(local, points, 4.0)
    np.testing.assert_allclose(mean, local.sum(axis=0) / 500, rtol=1e-5)
    np.testing.assert_allclose(deviation**2, ((local - mean) ** 2).sum(axis=0) / 500, rtol=1e-4)
    np.testing.assert_allclose(sides, extents(points) / 4.0)
    np.testing.assert_array_equal(apart, distance_histogram(points, 4.0, BINS))
    moved = described(local, 1000 * turned(points, np.random.default_rng(2)), 4000.0)
    np.testing.assert_allclose(moved[2], sides, rtol=1e-6)
    assert np.abs(moved[3] - apart).sum() < 1e-2
