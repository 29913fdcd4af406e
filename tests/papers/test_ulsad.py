"""ULSAD against its equations: differences, attention, losses, layers, and a whole fit recomputed in float64."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn

from amiss.contract import build
from amiss.kit import reconstruction
from amiss.kit.patches import squeeze
from amiss.kit.reconstruction import Both, Global, Local, Shape
from amiss.methods import ulsad
from amiss.methods.ulsad import ULSAD
from amiss.types import Result
from tests.backbones import tiny
from tests.kit.oracles import resampled
from tests.papers import oracles, ulsad_oracle
from tests.papers.oracles import picture, seen

Array = npt.NDArray[Any]
SIDE = 64  # pixels: 16 x 16 fine cells, 8 x 8 coarse ones
SMALL = Shape(channels=6, grid=(5, 4), width=4, last=3, final="none", inner=4)
PAPER = Shape(channels=384, grid=(32, 32), width=768, last=5, final="relu", inner=64)


def drawn(seed: int, *shape: int) -> Array:
    return np.random.default_rng(seed).standard_normal(shape)


def tensor(array: Array) -> torch.Tensor:
    return torch.from_numpy(np.array(array, np.float64))


# -- D and attention ---------------------------------------------------------------------------------------------------


def test_the_difference_by_hand() -> None:
    first, second = np.array([3.0, 4.0]).reshape(2, 1, 1), np.array([4.0, -3.0]).reshape(2, 1, 1)
    # ((3 - 4)^2 + (4 + 3)^2) / 2 = 25, and the two are at right angles: 25 + 0.5 (1 - 0)
    assert ulsad.difference(first, second) == pytest.approx(25.5)
    assert reconstruction.difference(tensor(first[None]), tensor(second[None]), 0.5).item() == pytest.approx(25.5)
    assert reconstruction.difference(tensor(first[None]), tensor(second[None]), 3.0).item() == pytest.approx(28.0)
    assert ulsad.difference(first, -first) == pytest.approx(50.0 + 0.5 * 2)


def test_both_differences_equal_the_loops() -> None:
    first, second = drawn(0, 3, 7, 5, 4), drawn(1, 3, 7, 5, 4)
    wanted = [ulsad_oracle.difference(u, v) for u, v in zip(first, second, strict=True)]
    np.testing.assert_allclose([ulsad.difference(u, v) for u, v in zip(first, second, strict=True)], wanted, rtol=1e-12)
    np.testing.assert_allclose(reconstruction.difference(tensor(first), tensor(second), 0.5).numpy(), wanted, rtol=1e-12)


def test_features_of_nothing_differ_by_a_finite_amount_and_slope() -> None:
    nothing = torch.zeros(1, 4, 2, 2, requires_grad=True)  # what a ReLU may leave
    found = reconstruction.difference(torch.ones(1, 4, 2, 2), nothing, 0.5)
    found.sum().backward()  # type: ignore[no-untyped-call]
    assert found.detach().numpy() == pytest.approx(1.5) and nothing.grad is not None and torch.isfinite(nothing.grad).all()
    assert ulsad.difference(np.ones((4, 2, 2)), np.zeros((4, 2, 2))) == pytest.approx(1.5)


def test_attention_equals_the_loops() -> None:
    queries, teacher = drawn(2, 2, 6, 3, 5), drawn(3, 2, 6, 3, 5)
    wanted = [ulsad_oracle.attended(a, z) for a, z in zip(queries, teacher, strict=True)]
    np.testing.assert_allclose(reconstruction.attended(tensor(queries), tensor(teacher)).numpy(), wanted, rtol=1e-10)


def test_attention_of_two_places_by_hand() -> None:
    teacher = np.array([[0.0, np.log(3.0)]]).reshape(1, 1, 2)  # one channel, two places: d = 1
    found = reconstruction.attended(tensor(np.ones((1, 1, 1, 2))), tensor(teacher[None])).numpy()
    # weights 1 : 3, so 3/4 of log 3, whatever the place
    np.testing.assert_allclose(found.ravel(), 0.75 * np.log(3.0))


# -- losses ------------------------------------------------------------------------------------------------------------


def told_loss(teacher: Array, rebuilt: Array, guessed: Array, told: Array, balance: float = 0.5) -> float:
    """The loss of networks that answer so."""
    answers = tuple(tensor(each) for each in (rebuilt, guessed, told))
    found = Both.loss(lambda *_: answers, tensor(teacher), torch.zeros(1), balance)  # type: ignore[arg-type]
    return float(found)


@pytest.mark.parametrize("balance", [0.5, 0.0, 2.0])
def test_the_loss_is_the_sum_of_the_three(balance: float) -> None:
    arrays = [drawn(seed, 3, 5, 4, 2) for seed in range(4)]
    parts = ulsad_oracle.losses(*arrays, balance=balance)
    assert min(parts) > 0.1
    assert told_loss(*arrays, balance=balance) == pytest.approx(sum(parts), rel=1e-10)


def test_each_loss_stands_alone() -> None:
    z, rebuilt, guess, a = (drawn(seed, 2, 5, 4, 2) for seed in range(4))
    local, linked, agreed = ulsad_oracle.losses(z, rebuilt, guess, a)
    assert told_loss(z, rebuilt, z, z) == pytest.approx(local, rel=1e-10)  # T = C where A = Z
    assert told_loss(z, z, a, a) == pytest.approx(linked, rel=1e-10)
    assert told_loss(z, z, guess, z) == pytest.approx(ulsad_oracle.difference(z[0], guess[0]).mean() / 2
        + ulsad_oracle.difference(z[1], guess[1]).mean() / 2, rel=1e-10)  # fmt: skip
    assert told_loss(z, z, guess, a) == pytest.approx(linked + agreed, rel=1e-10)


def test_the_loss_is_zero_where_everything_is_rebuilt() -> None:
    z = drawn(0, 2, 6, 3, 3)
    assert told_loss(z, z, z, z) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("which", range(3), ids=["rebuilt", "guessed", "told"])
def test_every_network_is_moved_by_every_loss_it_is_in(which: int) -> None:
    z, *answers = (drawn(seed, 1, 3, 2, 2) for seed in range(4))
    leaves = tuple(tensor(each).requires_grad_() for each in answers)
    Both.loss(lambda *_: leaves, tensor(z), torch.zeros(1), 0.5).backward()  # type: ignore[arg-type, no-untyped-call]
    wanted = np.zeros(answers[which].size)
    for index in range(wanted.size):  # the oracle's slope along each number
        up, down = (np.array(answers[which]) for _ in range(2))
        up.flat[index] += 1e-5
        down.flat[index] -= 1e-5
        above, below = (
            sum(ulsad_oracle.losses(z, *[moved if i == which else a for i, a in enumerate(answers)])) for moved in (up, down)
        )
        wanted[index] = (above - below) / 2e-5
    gradient = leaves[which].grad
    assert gradient is not None
    np.testing.assert_allclose(gradient.numpy().ravel(), wanted, rtol=1e-5, atol=1e-8)


def test_the_networks_loss_is_that_of_what_they_answer() -> None:
    torch.manual_seed(0)
    networks = Both(SMALL).double().eval()
    teacher, image = tensor(drawn(0, 2, 6, 5, 4)), tensor(drawn(1, 2, 3, 40, 32))
    with torch.no_grad():
        answers = [each.numpy() for each in networks(teacher, image)]
        loss = float(networks.loss(teacher, image, 0.5))
    assert loss == pytest.approx(sum(ulsad_oracle.losses(teacher.numpy(), *answers)), rel=1e-9)


# -- layers ------------------------------------------------------------------------------------------------------------


def steps(network: nn.Module, *inputs: torch.Tensor) -> list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]]:
    """Convolutions, norms and activations in the order they are run, with the shapes that go in and come out."""
    met: list[tuple[nn.Module, tuple[int, ...], tuple[int, ...]]] = []

    def note(layer: nn.Module, given: Any, found: Any) -> None:
        met.append((layer, tuple(given[0].shape), tuple(found.shape)))

    for layer in network.modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d, nn.BatchNorm2d, nn.ReLU)):
            layer.register_forward_hook(note)
        elif not list(layer.children()) and not isinstance(layer, nn.Upsample):
            raise AssertionError(f"a layer that the paper does not have: {layer}")
    network.eval()(*inputs)
    return met


def described(met: Sequence[tuple[nn.Module, Any, Any]]) -> list[tuple[Any, ...]]:
    """One row a convolution, as the oracle's table has them."""
    rows: list[tuple[Any, ...]] = []
    for layer, _, _ in met:
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            kind = "deconv" if isinstance(layer, nn.ConvTranspose2d) else "conv"
            square = [each[0] for each in (layer.kernel_size, layer.stride, layer.padding)]  # type: ignore[index]
            rows.append((kind, layer.in_channels, layer.out_channels, *square, ""))
        else:
            *rest, after = rows[-1]
            name = "norm" if isinstance(layer, nn.BatchNorm2d) else "relu"
            rows[-1] = (*rest, f"{after}, {name}".lstrip(", "))
    return rows


@pytest.fixture(scope="module")
def full() -> Both:
    with torch.device("meta"):
        return Both(PAPER)


def test_the_full_local_network_has_the_papers_layers_and_size(full: Both) -> None:
    met = steps(full.local_network, torch.zeros(2, 384, 32, 32, device="meta"))
    assert described(met) == ulsad_oracle.LOCAL
    sides = [(given[2], found[2]) for layer, given, found in met if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d))]
    assert sides == [(32, 16), (16, 8), (8, 8), (8, 16), (16, 32), (32, 32)]
    count = sum(weights.numel() for weights in full.local_network.parameters())
    assert 0 <= count - ulsad_oracle.local_weights() < 20_000  # norms and biases
    assert count == pytest.approx(65.5e6, rel=1e-3)


def test_the_full_local_networks_answer_is_halved(full: Both) -> None:
    rebuilt, guessed = full.local_network(torch.zeros(2, 384, 32, 32, device="meta"))
    assert rebuilt.shape == guessed.shape == (2, 384, 32, 32)


def test_the_first_channels_rebuild_and_the_last_ones_guess() -> None:
    network = Local(SMALL)
    bias = network.layers[-1].bias
    assert isinstance(bias, torch.Tensor)
    with torch.no_grad():
        bias.copy_(torch.cat([torch.zeros(6), torch.full((6,), 1e6)]))
        rebuilt, guessed = network.eval()(torch.zeros(1, 6, 5, 4))
    assert float(rebuilt.abs().max()) < 1e3 < float(guessed.min())


def test_the_full_global_network_has_the_papers_layers_and_sizes(full: Both) -> None:
    met = steps(full.global_network, torch.zeros(2, 3, 256, 256, device="meta"))
    rows = described(met)
    assert [row[1:6] for row in rows[:6]] == ulsad_oracle.ENCODER
    assert [row[1:6] for row in rows[6:11]] == [(64, 64, 4, 1, 2)] * 5
    assert [row[1:6] for row in rows[11:]] == [(64, 64, 3, 1, 1), (64, 384, 3, 1, 1)]
    assert [row[6] for row in rows] == ["norm, relu"] * 12 + [""] and {row[0] for row in rows} == {"conv"}
    sides = [(given[2], found[2]) for layer, given, found in met if isinstance(layer, nn.Conv2d)]
    assert sides == ulsad_oracle.global_sizes(256)
    assert sides[5:] == [(8, 1), (3, 4), (8, 9), (15, 16), (31, 32), (63, 64), (32, 32), (32, 32)]


def test_the_global_networks_norms_learn_no_scale(full: Both) -> None:
    norms = [layer for layer in full.global_network.modules() if isinstance(layer, nn.BatchNorm2d)]
    assert len(norms) == 12 and all(norm.weight is None and norm.bias is None and norm.eps == 1e-4 for norm in norms)
    assert all(norm.affine for norm in full.local_network.modules() if isinstance(norm, nn.BatchNorm2d))


def test_the_local_network_starts_from_xaviers_uniform_weights() -> None:
    torch.manual_seed(0)
    gain = np.sqrt(2 / (1 + 0.01**2))  # of a leaky ReLU
    for layer in Local(Shape(channels=32, grid=(8, 8), width=32, last=5, final="relu", inner=4)).modules():
        if isinstance(layer, (nn.Conv2d, nn.ConvTranspose2d)):
            fans = (layer.in_channels + layer.out_channels) * layer.kernel_size[0] ** 2
            bound, largest = gain * np.sqrt(6 / fans), float(layer.weight.detach().abs().max())
            assert 0.99 * bound < largest <= bound * (1 + 1e-6)


@pytest.mark.parametrize("final", ["relu", "none"])
def test_only_a_final_relu_keeps_features_above_zero(final: Any) -> None:
    torch.manual_seed(0)
    network = Local(Shape(channels=6, grid=(4, 4), width=4, last=3, final=final, inner=4)).eval()
    with torch.no_grad():
        rebuilt, guessed = network(torch.randn(4, 6, 4, 4))
    for answer in (rebuilt, guessed):
        assert (float(answer.min()) >= 0) == (final == "relu") and float(answer.max()) > 0


@pytest.mark.parametrize("grid", [(4, 4), (4, 9), (5, 7), (6, 6), (13, 8), (16, 16), (31, 18)], ids=str)
def test_every_grid_goes_through_one_cell_and_comes_back(grid: tuple[int, int]) -> None:
    shape = Shape(channels=3, grid=grid, width=2, last=3, final="none", inner=2)
    assert shape.image == (8 * grid[0], 8 * grid[1])
    networks = Both(shape).eval()
    teacher, image = torch.zeros(1, 3, *grid), torch.zeros(1, 3, *shape.image)
    assert [tuple(answer.shape) for answer in networks(teacher, image)] == [(1, 3, *grid)] * 3
    narrowest = min(found[2:] for _, _, found in steps(Global(shape), image))
    assert narrowest == (1, 1)


def test_1536_channels_become_384_means_of_four_neighbours() -> None:
    vectors = drawn(0, 3, 1536)
    np.testing.assert_allclose(squeeze(vectors, 384), vectors.reshape(3, 384, 4).mean(axis=2), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(squeeze(vectors, 500), ulsad_oracle.pooled(vectors.T[..., None], 500)[..., 0].T, atol=1e-5)


def test_the_preset_full_is_the_papers() -> None:
    assert isinstance(detector := build(ULSAD, {}, preset="full"), ULSAD)
    wanted = {
        "layers": (8, 16), "grid": 8, "size": 256, "aspect": "square", "channels": 384, "width": 768, "last": 5,
        "final": "relu", "inner": 64, "rate": 2e-4, "decay": 2e-5, "batch": 8, "average": 0.0, "scale": "none",
        "maps": "both", "over": "map", "top": 0.0, "blur": 4.0,
    }  # fmt: skip
    assert {name: getattr(detector, name) for name in wanted} == wanted


# -- a whole fit -------------------------------------------------------------------------------------------------------

PLAIN: dict[str, Any] = {
    "layers": (4, 8), "grid": 8, "size": SIDE, "aspect": "square", "channels": 5, "width": 8, "last": 3, "final": "none",
    "inner": 4, "steps": 8, "batch": 3, "rate": 3e-3, "average": 0.5, "held_out": 0.25, "scale": "none", "blur": 2.0,
}  # fmt: skip
GOOD = [picture(seed, shape=(SIDE, SIDE)) for seed in range(12)]
JUDGED = [picture(99, defect=(20, 30), shape=(SIDE, SIDE)), picture(98, shape=(SIDE, SIDE))]


@dataclass
class Fit:
    """A fitted detector, its torch networks, and the batches they were trained on."""

    path: str
    fields: dict[str, Any]
    networks: list[nn.Module] = field(default_factory=list)
    batches: list[tuple[Array, Array]] = field(default_factory=list)

    def __post_init__(self) -> None:
        export, loss = ulsad.exported, Both.loss

        def exported(network: nn.Module, *rest: Any) -> Any:
            self.networks.append(network)
            return export(network, *rest)

        def watched(networks: Both, teacher: torch.Tensor, image: torch.Tensor, balance: float) -> torch.Tensor:
            assert balance == 0.5
            self.batches.append((teacher.numpy().copy(), image.numpy().copy()))
            return loss(networks, teacher, image, balance)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ulsad, "exported", exported)
            patch.setattr(Both, "loss", watched)
            self.detector = ULSAD(backbone=self.path, **self.fields).fit(GOOD)

    def trained_on(self, index: int) -> bool:
        """Whether a good part was in any batch."""
        return any(np.allclose(each, prepared(GOOD[index]), atol=1e-6) for _, images in self.batches for each in images)

    def split(self) -> tuple[list[int], list[int]]:
        """Good parts that were trained on, and those held out."""
        indices = range(len(GOOD))
        return [i for i in indices if self.trained_on(i)], [i for i in indices if not self.trained_on(i)]

    def z(self, samples: Sequence[Any]) -> list[Array]:
        """Standardised features, by the moments of the parts trained on."""
        mean, deviation = ulsad_oracle.moments([self.raw(GOOD[i]) for i in self.split()[0]])
        return [(self.raw(sample) - mean[:, None, None]) / deviation[:, None, None] for sample in samples]

    def raw(self, sample: Any) -> Array:
        return features(self.path, sample, self.fields)

    def maps(self, sample: Any) -> tuple[Array, Array]:
        """D(Z, Zl) and D(A, Gl), with what the graph answers to the oracle's features."""
        assert self.detector.networks_ is not None
        (z,) = self.z([sample])
        graph = self.detector.networks_(
            teacher=z[None].astype(np.float32), image=prepared(sample)[None].astype(np.float32)
        )  # fmt: skip
        rebuilt, guessed, told = (answer[0] for answer in graph)
        return ulsad_oracle.difference(z, rebuilt), ulsad_oracle.difference(told, guessed)

    def expected(self, sample: Any) -> tuple[Array, Array]:
        """Both maps, each measured by its quantiles over the held-out parts."""
        held = [self.maps(GOOD[i]) for i in self.split()[1]]
        local, whole = (
            ulsad_oracle.normalised(found, ulsad_oracle.levels([maps[which] for maps in held]))
            for which, found in enumerate(self.maps(sample))
        )
        return local, whole


def prepared(sample: Any) -> Array:
    """What the global network sees of a picture that needs no resizing: (3, H, W) in -1..1."""
    return np.asarray(sample.image / 255.0 * 2 - 1).transpose(2, 0, 1)


def features(path: str, sample: Any, fields: dict[str, Any]) -> Array:
    """Layers side by side on the grid, channels averaged, (C, h, w)."""
    side, parts = SIDE // fields["grid"], []
    for layer in fields["layers"]:
        grid = resampled(seen(path, sample)[{4: 0, 8: 1}[layer]], (side, side))
        lengths = [np.sqrt(vector @ vector) for vector in grid.reshape(side * side, -1)]
        parts.append(grid / (np.mean(lengths) if fields["scale"] == "picture" else 1))
    return ulsad_oracle.pooled(np.concatenate(parts, axis=2).transpose(2, 0, 1), fields["channels"])


@pytest.fixture(
    scope="module", params=[{}, {"scale": "picture", "final": "relu", "channels": 16, "average": 0.0, "seed": 5}], ids=str
)
def fit(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fit]:
    yield Fit(tiny.saved(tmp_path_factory.mktemp("backbone")), {**PLAIN, **request.param})


def judged(detector: ULSAD, sample: Any) -> Result:
    (result,) = detector.predict([sample])
    assert result.map is not None
    return result


def test_held_out_parts_are_never_trained_on_and_all_others_are(fit: Fit) -> None:
    trained, held = fit.split()
    assert len(held) == 3 and len(trained) == 9  # a quarter of twelve
    assert len(fit.batches) == 8 and {len(images) for _, images in fit.batches} == {3}


def test_the_features_are_standardised_by_the_parts_trained_on(fit: Fit) -> None:
    trained, _ = fit.split()
    mean, deviation = ulsad_oracle.moments([fit.raw(GOOD[i]) for i in trained])
    everyone, _ = ulsad_oracle.moments([fit.raw(sample) for sample in GOOD])
    assert fit.detector.mean_ is not None and fit.detector.deviation_ is not None
    np.testing.assert_allclose(fit.detector.mean_, mean, rtol=1e-4)
    np.testing.assert_allclose(fit.detector.deviation_, deviation, rtol=1e-4)
    assert np.abs(fit.detector.mean_ - everyone).max() > 1e-3 * everyone.max()  # the held-out ones would have been seen


def test_every_batch_holds_a_parts_standardised_features_beside_its_picture(fit: Fit) -> None:
    trained, _ = fit.split()
    wanted = dict(zip(trained, fit.z([GOOD[i] for i in trained]), strict=True))
    for teacher, images in fit.batches:
        for z, image in zip(teacher, images, strict=True):
            (which,) = (i for i in trained if np.allclose(image, prepared(GOOD[i]), atol=1e-6))
            np.testing.assert_allclose(z, wanted[which], rtol=1e-3, atol=1e-3)


def test_the_levels_are_the_quantiles_of_both_maps_over_held_out_parts(fit: Fit) -> None:
    held = [fit.maps(GOOD[i]) for i in fit.split()[1]]
    wanted = [ulsad_oracle.levels([maps[which] for maps in held]) for which in range(2)]
    np.testing.assert_allclose(fit.detector.levels_, wanted, rtol=1e-4)


@pytest.mark.parametrize("sample", JUDGED, ids=["defect", "good"])
def test_the_map_is_half_the_sum_of_both_measured_maps(fit: Fit, sample: Any) -> None:
    local, whole = fit.expected(sample)
    result = judged(fit.detector, sample)
    np.testing.assert_allclose(result.evidence["maps"]["local"], local, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(result.evidence["maps"]["global"], whole, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(result.map, 0.5 * local + 0.5 * whole, rtol=1e-3, atol=1e-4)
    assert result.evidence["local"] == pytest.approx(local.max(), rel=1e-3)
    assert result.evidence["global"] == pytest.approx(whole.max(), rel=1e-3)


def test_the_held_out_parts_lie_at_zero_and_a_tenth(fit: Fit) -> None:
    """0.1 (q - qa) / (qb - qa) is 0 at the first quantile and 0.1 at the second."""
    for which in ("local", "global"):
        values = [judged(fit.detector, GOOD[i]).evidence["maps"][which] for i in fit.split()[1]]
        np.testing.assert_allclose(ulsad_oracle.levels(values), (0.0, 0.1), atol=1e-5)


@pytest.mark.parametrize("sample", JUDGED, ids=["defect", "good"])
def test_the_score_is_the_largest_value_of_the_blurred_map(fit: Fit, sample: Any) -> None:
    local, whole = fit.expected(sample)
    blurred = [oracles.smoothed(each, (SIDE, SIDE), 2.0) for each in (local, whole)]  # each blurred, then joined
    result = judged(fit.detector, sample)
    assert result.score == pytest.approx(float((0.5 * blurred[0] + 0.5 * blurred[1]).max()), rel=2e-3)
    assert result.score == pytest.approx(float(result.image_map().max()), rel=1e-5)


@pytest.mark.parametrize("maps", ["local", "global"])
def test_one_map_may_count_alone(fit: Fit, maps: Any) -> None:
    again = ULSAD(backbone=fit.path, **{**fit.fields, "maps": maps}).restore(fit.detector.state())
    wanted = fit.expected(JUDGED[0])[("local", "global").index(maps)]
    np.testing.assert_allclose(judged(again, JUDGED[0]).map, wanted, rtol=1e-3, atol=1e-4)


def test_predict_gives_what_torch_gives(fit: Fit) -> None:
    (network,) = fit.networks
    assert isinstance(network, Both) and not network.training
    for sample in JUDGED:
        (z,) = fit.z([sample])
        with torch.no_grad():
            inputs = (torch.from_numpy(each[None].astype(np.float32)) for each in (z, prepared(sample)))
            rebuilt, guessed, told = (answer[0].numpy() for answer in network(*inputs))
        found = ulsad_oracle.difference(z, rebuilt), ulsad_oracle.difference(told, guessed)
        local, whole = (
            ulsad_oracle.normalised(each, quantiles) for each, quantiles in zip(found, fit.detector.levels_, strict=True)
        )
        result = judged(fit.detector, sample)
        np.testing.assert_allclose(result.map, (local + whole) / 2, rtol=1e-4, atol=1e-4 * float(np.abs(local + whole).max()))


def test_a_grid_finer_than_a_layer_interpolates_it(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Array] = []

    class Silent:
        content = b""

        def __call__(self, *, teacher: Array, image: Array) -> list[Array]:
            asked.append(teacher)
            return [teacher] * 3

    monkeypatch.setattr(ulsad, "exported", lambda *_: Silent())
    fields = {**PLAIN, "grid": 4, "steps": 0}
    path = tiny.saved(tmp_path)
    detector = ULSAD(backbone=path, **fields).fit(GOOD)
    judged(detector, JUDGED[0])
    assert detector.mean_ is not None and detector.deviation_ is not None
    wanted = (features(path, JUDGED[0], fields) - detector.mean_[:, None, None]) / detector.deviation_[:, None, None]
    np.testing.assert_allclose(asked[-1][0], wanted, rtol=1e-3, atol=1e-3)
