"""PatchCore on point clouds with an encoder of points: what it finds, what it carries along, and what it refuses."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from tests.backbones.encoders import SMALL, encoder
from tests.clouds import bad_clouds, good_clouds, surface, turned
from tests.methods.separation import judged

from amiss.errors import AmissError, BadBackbone, BadField, BadModelFile, BadSample
from amiss.kit.memory import MemoryBank
from amiss.kit.sides import Sides
from amiss.kit.tokens import balance, drawn_matrix
from amiss.methods.patchcore import PatchCore
from amiss.metrics.ranking import auroc
from amiss.model import Model
from amiss.types import Sample

Array = npt.NDArray[Any]


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A token is where the middle of its group lies in the group's own frame, and where its centre lies on the part."""
    path = tmp_path_factory.mktemp("encoders") / "means.onnx"
    path.write_bytes(encoder(replace(SMALL, groups=256, frame="local")))
    return path


def detector(file: Path, **fields: Any) -> PatchCore:
    return PatchCore(places=800, most=2000, encoder=str(file), **fields)


@pytest.fixture(scope="module")
def fitted(file: Path) -> PatchCore:
    return detector(file).fit(good_clouds(3))


def test_a_bump_is_found_and_in_its_place(fitted: PatchCore) -> None:
    bad = bad_clouds(3)
    results = list(fitted.predict([sample for sample, _ in bad]))
    assert min(result.score for result in results) > max(judged(fitted, good_clouds(3, seed=1)))
    maps = np.concatenate([result.point_map() for result in results])
    assert auroc(maps, np.concatenate([marked for _, marked in bad])) > 0.95


def test_tokens_change_scores_and_alone_they_leave_descriptors_out(fitted: PatchCore, file: Path) -> None:
    good, bad = good_clouds(3), [sample for sample, _ in bad_clouds(1)]
    plain, alone = PatchCore(places=800, most=2000).fit(good), detector(file, share=1.0).fit(good)
    assert len({round(judged(one, bad)[0], 6) for one in (plain, fitted, alone)}) == 3
    assert alone.bank_ is not None and not alone.bank_.vectors[:, :99].any() and alone.bank_.vectors[:, 99:].any()


def test_scores_of_scans_from_one_side_lie_where_those_of_whole_ones_do(file: Path) -> None:
    detected, good = detector(file).fit(good_clouds(4)), good_clouds(4, seed=1)
    whole, side = (np.median(judged(detected, each)) for each in (good, list(Sides(good, 2, 0.05))))
    assert 0.7 < side / whole < 1.4


def test_order_of_points_and_pose_change_no_score(fitted: PatchCore) -> None:
    rng = np.random.default_rng(0)
    points, _ = surface(rng, bump=0.3)
    moved = [points, points[rng.permutation(len(points))], turned(points, rng), turned(points, rng)]
    scores = judged(fitted, [Sample(id=str(i), points=cloud.astype(np.float32)) for i, cloud in enumerate(moved)])
    np.testing.assert_allclose(scores, scores[0], rtol=2e-2)


def test_a_unit_a_thousand_times_smaller_changes_no_score(fitted: PatchCore, file: Path) -> None:
    bad = [sample for sample, _ in bad_clouds(2)]
    there = detector(file).fit([scaled(sample) for sample in good_clouds(3)])
    np.testing.assert_allclose(judged(there, [scaled(sample) for sample in bad]), judged(fitted, bad), rtol=2e-2)


def scaled(sample: Sample) -> Sample:
    assert sample.points is not None
    return Sample(id=sample.id, points=sample.points * np.float32(1000))


def test_a_model_file_judges_without_the_encoders_file(tmp_path: Path) -> None:
    path = tmp_path / "means.onnx"
    path.write_bytes(encoder(SMALL))
    model, bad = Model(detector(path, channels=3).fit(good_clouds(2))), [sample for sample, _ in bad_clouds(2)]
    model.save(tmp_path / "gear.amiss")
    path.unlink()
    loaded = Model.load(tmp_path / "gear.amiss")
    assert [loaded.judge(sample).score for sample in bad] == judged(model.detector, bad)  # type: ignore[arg-type]
    assert loaded.detector.bank_.vectors.shape == (800, 99 + 4 + 3)  # type: ignore[attr-defined]


def test_tokens_are_kept_in_the_workdir_and_another_encoder_has_its_own(file: Path, tmp_path: Path) -> None:
    samples, other = good_clouds(2), tmp_path / "other.onnx"
    other.write_bytes(encoder(replace(SMALL, groups=100)))
    for path, count in ((file, 4), (file, 4), (other, 6)):
        kept = detector(path, views=0).fit(samples, workdir=tmp_path)
        assert len(list(tmp_path.glob("*.npz"))) == count
    np.testing.assert_array_equal(kept.bank_.vectors, detector(other).fit(samples).bank_.vectors)  # type: ignore[union-attr]


def test_what_is_no_encoder_of_points_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(BadBackbone, match=r"efficientnet_lite0: not an encoder of points .*docs/points\.md"):
        PatchCore(encoder="efficientnet_lite0").fit(good_clouds(1))
    with pytest.raises(BadBackbone, match=r"nowhere\.onnx"):
        PatchCore(encoder=str(tmp_path / "nowhere.onnx")).fit(good_clouds(1))


def test_pictures_take_no_encoder(file: Path) -> None:
    with pytest.raises(BadField, match="for point clouds, it is a picture"):
        detector(file).fit([Sample(id="it", image=np.zeros((32, 32, 3), np.uint8))])


def test_a_cloud_smaller_than_a_group_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "wide.onnx"
    path.write_bytes(encoder(replace(SMALL, members=5000)))
    with pytest.raises(BadSample, match=r"good 0: .* groups of 5000 are wanted"):
        detector(path).fit(good_clouds(1))


@pytest.mark.parametrize(
    "spoilt",
    [
        lambda arrays, graphs: (arrays, {}),
        lambda arrays, graphs: (arrays, {"encoder": b"no graph"}),
        lambda arrays, graphs: ({**arrays, "matrix": np.ones((5, 2), np.float32)}, graphs),
        lambda arrays, graphs: ({**arrays, "matrix": np.full((6, 2), np.nan, np.float32)}, graphs),
        lambda arrays, graphs: ({**arrays, "scale": arrays["scale"][:3]}, graphs),
    ],
    ids=["no graph", "another graph", "matrix", "nan", "scale"],
)
def test_a_state_that_does_not_hold_together_is_refused(fitted: PatchCore, file: Path, spoilt: Any) -> None:
    state = fitted.state()
    arrays, graphs = spoilt(dict(state.arrays), dict(state.graphs))
    with pytest.raises(AmissError) as caught:
        detector(file).restore(type(state)(arrays, state.facts, graphs))
    assert isinstance(caught.value, BadModelFile | BadBackbone)


# -- the balance of descriptors and tokens -----------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.2, 0.5, 1.0])
def test_tokens_have_their_share_of_how_far_apart_good_places_are(share: float) -> None:
    rng = np.random.default_rng(0)
    vectors = np.concatenate([rng.standard_normal((600, 3)), 50 * rng.standard_normal((600, 4))], axis=1).astype(np.float32)
    owners = np.repeat([0, 1, 2], 200)
    plain, tokens = balance(vectors, owners, 3, share, rng)
    gaps = [apart(part, owners) for part in (vectors[:, :3] * plain, vectors[:, 3:] * tokens)]
    assert gaps[1] ** 2 / (gaps[0] ** 2 + gaps[1] ** 2) == pytest.approx(share, abs=0.01)


def apart(vectors: Array, owners: Array) -> float:
    """Mean distance to the nearest of another cloud, one by one."""
    return float(np.mean([
        np.linalg.norm(vectors[owners != owner] - vector, axis=1).min() for vector, owner in zip(vectors, owners, strict=True)
    ]))  # fmt: skip


def test_the_balance_of_one_cloud_looks_at_its_other_places() -> None:
    vectors = np.array([[0, 0], [1, 10], [2, 20]], np.float32)
    assert balance(vectors, np.zeros(3), 1, 0.5, np.random.default_rng(0)) == pytest.approx((0.5**0.5, 0.5**0.5 / 10))


def test_places_that_are_all_alike_leave_tokens_as_they_are() -> None:
    assert balance(np.ones((4, 2), np.float32), np.arange(4), 1, 1.0, np.random.default_rng(0)) == (0.0, 1.0)


def test_a_projection_keeps_distances_and_short_tokens_need_none() -> None:
    rng = np.random.default_rng(0)
    matrix = drawn_matrix(400, 100, rng)
    assert matrix is not None and drawn_matrix(100, 100, rng) is None and drawn_matrix(400, None, rng) is None
    bank = MemoryBank(rng.standard_normal((50, 400)).astype(np.float32), np.zeros((50, 3), np.int32))
    before, after = (np.linalg.norm(x[:25] - x[25:], axis=1) for x in (bank.vectors, bank.vectors @ matrix))
    np.testing.assert_allclose(after, before, rtol=0.35)


def test_judging_with_an_encoder_needs_no_torch(fitted: PatchCore, tmp_path: Path) -> None:
    Model(fitted).save(tmp_path / "gear.amiss")
    ((bad, _),) = bad_clouds(1)
    assert bad.points is not None
    np.save(tmp_path / "bad.npy", bad.points)
    code = (
        "import sys; sys.modules['torch'] = None; import numpy as np, amiss\n"
        f"part = amiss.Sample(id='bad', points=np.load({str(tmp_path / 'bad.npy')!r}))\n"
        f"print(amiss.load({str(tmp_path / 'gear.amiss')!r}).judge(part).score)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert float(said.stdout) == pytest.approx(judged(fitted, [bad])[0], rel=1e-5)
