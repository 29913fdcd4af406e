"""The small encoder of points: what it is trained on, that training helps on clouds it never saw, and that it resumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch

from amiss.backbones import point_mae
from amiss.backbones.export import Exported, tensors_sha256
from amiss.backbones.points import PointEncoder
from amiss.errors import BadCheckpoint, BadSample
from amiss.kit.clouds import Gauge
from amiss.kit.encoders import SMALL, learned, measured, rebuilt, untrained
from amiss.kit.masked_points import Masked, Surface, chamfer
from amiss.kit.training import Plan, train
from amiss.types import Sample
from tests.clouds import good_clouds, turned

Array = npt.NDArray[Any]

TINY = replace(SMALL, groups=48, members=12)
SHORT = Plan(steps=6, batch=1, rate=1e-3, clip=1.0)


def clouds(count: int = 2, seed: int = 0) -> list[Sample]:
    return good_clouds(count, seed, points=1500)


@pytest.fixture(scope="module")
def surfaces() -> list[Surface]:
    good = clouds()
    return measured(good, Gauge.of(good, 1.5, 2000), TINY, lambda *_: None)


def test_chamfer_is_the_mean_squared_distance_to_the_nearest_both_ways() -> None:
    one = torch.tensor([[[0.0, 0, 0], [4, 0, 0]]])
    other = torch.tensor([[[0.0, 3, 0], [4, 0, 1]]])
    assert chamfer(one, other).tolist() == [(9 + 1) / 2 + (9 + 1) / 2]
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 3, 5, 3)).astype(np.float32)
    apart = ((a[:, :, None] - b[:, None]) ** 2).sum(axis=3)
    wanted = apart.min(axis=2).mean(axis=1) + apart.min(axis=1).mean(axis=1)
    np.testing.assert_allclose(chamfer(torch.from_numpy(a), torch.from_numpy(b)), wanted, rtol=1e-5)


def test_hidden_groups_are_not_seen_but_where_they_lie(surfaces: list[Surface]) -> None:
    network = untrained(TINY, 0).eval()
    groups, centres = surfaces[0].drawn(np.random.default_rng(0))
    hidden = torch.arange(48) % 3 != 0
    with torch.no_grad():
        before = network(groups, centres, hidden)
        groups[:, hidden] += 7
        assert torch.equal(network(groups, centres, hidden), before)
        centres[:, hidden] += 1
        assert not torch.allclose(network(groups, centres, hidden), before)
    assert before.shape == (32, 12, 3)


def test_three_groups_of_five_are_hidden_and_each_drawing_is_another(surfaces: list[Surface]) -> None:
    seen: list[Any] = []

    class Watched(Masked):
        def forward(self, groups: Any, centres: Any, hidden: Any) -> Any:
            seen.append((int(hidden.sum()), groups[0, 0, -1].tolist()))
            return super().forward(groups, centres, hidden)

    watched = Watched(point_mae.Sizes(width=8, depth=2, heads=2), TINY)
    losses = [float(watched.loss(surfaces[0], seed).detach()) for seed in (1, 1, 2)]
    assert [count for count, _ in seen] == [29, 29, 29] and losses[0] == losses[1] != losses[2]
    assert seen[0][1] == seen[1][1] != seen[2][1]


def test_the_pose_of_a_good_cloud_changes_no_group(surfaces: list[Surface]) -> None:
    (good, *_), rng = clouds(), np.random.default_rng(3)
    assert good.points is not None
    moved = Sample(id="moved", points=turned(good.points, rng).astype(np.float32))
    (there,) = measured([moved], Gauge.of(clouds(), 1.5, 2000), TINY, lambda *_: None)
    np.testing.assert_allclose(there.axes, surfaces[0].axes, atol=1e-3)
    one, other = surfaces[0].drawn(np.random.default_rng(0)), there.drawn(np.random.default_rng(0))
    gaps = (one[0] - other[0]).abs().amax(dim=(0, 2, 3))  # a group that is as wide as it is long may turn
    assert float((gaps < 1e-2).float().mean()) > 0.9


def test_a_trained_encoder_rebuilds_unseen_clouds_better_than_its_untrained_twin(surfaces: list[Surface]) -> None:
    unseen = measured(clouds(1, seed=9), Gauge.of(clouds(), 1.5, 2000), TINY, lambda *_: None)
    network = untrained(TINY, 0).eval()
    before = rebuilt(network, unseen)

    def loss(network: Any, batch: Array, noise: Any) -> Any:
        return network.loss(surfaces[int(batch[0])], int(torch.randint(2**62, (1,), generator=noise)))

    train(network, loss, 2, replace(SHORT, steps=40), progress=lambda *_: None)
    assert rebuilt(network, unseen) < 0.1 * before


def test_an_encoder_is_learned_again_as_it_was_even_when_it_was_killed_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    once = learned(clouds(), SHORT, TINY)
    told = PointEncoder(once.graph, name="it").description
    assert (told.frame, told.members, told.channels, once.trained.steps) == ("local", 12, 256, 6) and once.gap < 1e-4
    learned_to_step_3(tmp_path)
    monkeypatch.setattr(point_mae, "exported", lambda net, *_: Exported(tensors_sha256(net).encode(), 0.0, {}))
    again = learned(clouds(), SHORT, TINY, workdir=tmp_path)
    assert again.graph.decode() == once.source["tensors_sha256"] and not list(tmp_path.iterdir())
    assert learned(clouds(), replace(SHORT, seed=1), TINY).graph != again.graph


def learned_to_step_3(workdir: Path) -> None:
    """As a training that was killed leaves it: its checkpoint is there."""

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(point_mae, "exported", killed)
        learned(clouds(), replace(SHORT, steps=3), TINY, workdir=workdir)
    assert len(list(workdir.glob("encoder-*.training"))) == 1


def test_a_checkpoint_of_more_steps_is_refused(tmp_path: Path) -> None:
    learned_to_step_3(tmp_path)
    with pytest.raises(BadCheckpoint, match="has done 3 steps, asked for are 2"):
        learned(clouds(), replace(SHORT, steps=2), TINY, workdir=tmp_path)


def test_clouds_of_fewer_points_than_a_group_are_refused_by_name() -> None:
    with pytest.raises(BadSample, match=r"good 0: the cloud has .* groups of 5000"):
        learned(clouds(), SHORT, replace(TINY, members=5000))
