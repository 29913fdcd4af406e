"""The training loop: what a step sees, what a killed training resumes to, how a training ends, and what it refuses."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import nn

from amiss.errors import BadCheckpoint, BadField, CannotWrite, MissingExtra, TrainingFailed
from amiss.kit import training
from amiss.kit.training import Plan, Trained, load_torch, seeded, train

Array = npt.NDArray[Any]
DATA = torch.from_numpy(np.random.default_rng(0).standard_normal((12, 3)).astype(np.float32))
PLAN = Plan(steps=40, batch=4, rate=0.01, seed=3)


def silent(*_: Any) -> None:
    """Progress that nobody watches."""


def network(seed: int = 0) -> nn.Module:
    with seeded(seed):
        return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.ReLU(), nn.Linear(4, 3))


def loss(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
    """Rebuild samples from what noise leaves of them."""
    given = DATA[torch.from_numpy(batch)]
    return ((net(given + torch.randn(given.shape, generator=noise)) - given) ** 2).mean()


def weights(net: nn.Module) -> dict[str, Array]:
    return {name: value.detach().numpy().copy() for name, value in net.state_dict().items()}


def same(one: dict[str, Array], other: dict[str, Array]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def trained(plan: Plan, **rest: Any) -> tuple[dict[str, Array], Trained]:
    net = network()
    done = train(net, loss, len(DATA), plan, **{"progress": silent, **rest})
    return weights(net), done


class Weight(nn.Module):
    """One number, and what it costs at every step."""

    def __init__(self, start: float = 0.0) -> None:
        super().__init__()
        self.value = nn.Parameter(torch.tensor([start]))

    def forward(self) -> torch.Tensor:
        return self.value.sum()


def uphill(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
    """A slope of one everywhere: Adam takes steps of exactly its rate downwards."""
    found: torch.Tensor = net()
    return found


# -- batches -----------------------------------------------------------------------------------------------------------


def batches(samples: int, plan: Plan) -> list[list[int]]:
    met: list[list[int]] = []

    def watching(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
        met.append(batch.tolist())
        return uphill(net, batch, noise)

    train(Weight(), watching, samples, plan, progress=silent)
    return met


def test_every_pass_sees_every_sample_once_in_an_order_of_its_own() -> None:
    met = batches(12, Plan(steps=9, batch=4))
    passes = [np.concatenate(met[start : start + 3]).tolist() for start in (0, 3, 6)]
    assert [sorted(one) for one in passes] == [list(range(12))] * 3
    assert len({tuple(one) for one in passes}) == 3


def test_where_batches_do_not_fill_a_pass_the_rest_comes_another_time() -> None:
    met = batches(10, Plan(steps=40, batch=4))
    assert {len(batch) for batch in met} == {4}  # never a smaller one, whose statistics would be poor
    assert all(len({*met[start], *met[start + 1]}) == 8 for start in range(0, 40, 2))
    counts = np.bincount(np.concatenate(met), minlength=10)
    assert counts.min() >= 10  # of 16 expected


def test_a_batch_larger_than_the_samples_is_all_of_them() -> None:
    assert [sorted(batch) for batch in batches(3, Plan(steps=4, batch=8))] == [[0, 1, 2]] * 4


def test_the_seed_draws_the_batches() -> None:
    assert batches(12, Plan(steps=5, seed=1)) == batches(12, Plan(steps=5, seed=1)) != batches(12, Plan(steps=5, seed=2))


def test_every_step_has_noise_of_its_own_that_the_seed_draws() -> None:
    def drawn(seed: int) -> list[float]:
        met: list[float] = []

        def watching(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
            met.append(float(torch.rand(1, generator=noise)))
            return uphill(net, batch, noise)

        train(Weight(), watching, 4, Plan(steps=6, seed=seed), progress=silent)
        return met

    assert drawn(0) == drawn(0) != drawn(1)
    assert len({*drawn(0), *drawn(1)}) == 12


# -- the same again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_the_same_seed_gives_the_same_weights_and_another_one_others(average: float) -> None:
    plan = replace(PLAN, average=average)
    first, second, other = (trained(each)[0] for each in (plan, plan, replace(plan, seed=4)))
    assert same(first, second) and not same(first, other)


def test_weights_made_inside_seeded_hang_on_the_seed_alone() -> None:
    torch.manual_seed(123)
    one = weights(network(5))
    torch.manual_seed(7)
    assert same(one, weights(network(5))) and not same(one, weights(network(6)))


def test_torchs_own_random_state_is_left_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    trained(PLAN)
    assert torch.equal(torch.get_rng_state(), before)


def test_training_lowers_the_loss() -> None:
    _, start = trained(replace(PLAN, steps=1))
    _, end = trained(replace(PLAN, steps=400))
    assert end.loss < 0.9 * start.loss


def test_no_steps_leave_the_network_as_it_was_drawn_but_ready_to_be_used() -> None:
    for average in (0.0, 0.9):
        net = network()
        done = train(net, loss, len(DATA), replace(PLAN, steps=0, average=average), progress=silent)
        assert same(weights(net), weights(network())) and done.steps == 0 and not done.by_clock and not net.training


def test_the_network_ends_in_evaluation_mode_and_is_trained_in_training_mode() -> None:
    modes: list[bool] = []

    def watching(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
        modes.append(net.training)
        return loss(net, batch, noise)

    net = network().eval()
    train(net, watching, len(DATA), replace(PLAN, steps=3), progress=silent)
    assert modes == [True] * 3 and not any(part.training for part in net.modules())


# -- Adam, clip, average, by hand --------------------------------------------------------------------------------------


def moved(plan: Plan, start: float = 0.0, slopes: tuple[float, ...] = (1.0,)) -> float:
    """Where a weight ends whose cost has those slopes, one a step."""
    net, turn = Weight(start), iter(slopes * (1 if len(slopes) > 1 else plan.steps))

    def sloped(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
        found: torch.Tensor = net() * next(turn)
        return found

    train(net, sloped, 1, plan, progress=silent)
    return float(net.value.detach())


def test_adam_walks_its_rate_a_step() -> None:
    assert moved(Plan(steps=3, rate=0.1)) == pytest.approx(-0.3, rel=1e-5)


def test_the_moving_average_by_hand() -> None:
    # weights -0.1, -0.2, -0.3; shares kept 2/11, 3/12, 4/13 as long as they are below the decay
    # 9/11 (-0.1) = -0.0818182; 3/12 (that) + 9/12 (-0.2) = -0.1704545; 4/13 (that) + 9/13 (-0.3) = -0.2601399
    assert moved(Plan(steps=3, rate=0.1, average=0.9)) == pytest.approx(-0.2601399, rel=1e-5)
    # decay 0.2: 2/11 is below it, then 0.2 twice: 0.2 (-0.0818182) + 0.8 (-0.2) = -0.1763636; 0.2 (that) + 0.8 (-0.3)
    assert moved(Plan(steps=3, rate=0.1, average=0.2)) == pytest.approx(-0.2752727, rel=1e-5)


def test_the_moving_average_is_kept_of_running_statistics_too() -> None:
    last, averaged = trained(PLAN)[0], trained(replace(PLAN, average=0.9))[0]
    for name in ("0.weight", "1.running_mean", "1.running_var"):
        assert not np.array_equal(last[name], averaged[name])
    assert last["1.num_batches_tracked"] == averaged["1.num_batches_tracked"] == PLAN.steps


def test_a_gradient_is_clipped_by_the_length_of_all_of_it() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.second = nn.Parameter(torch.zeros(1)), nn.Parameter(torch.zeros(1))

    def steep(net: Any, batch: Array, noise: torch.Generator) -> torch.Tensor:
        found: torch.Tensor = (30 * net.first + 40 * net.second).sum()
        return found

    for clip, wanted in ((5.0, (3.0, 4.0)), (100.0, (30.0, 40.0)), (None, (30.0, 40.0))):
        net = Two()
        train(net, steep, 1, Plan(steps=1, clip=clip), progress=silent)
        assert (net.first.grad, net.second.grad) == (pytest.approx(wanted[0], rel=1e-5), pytest.approx(wanted[1], rel=1e-5))


def test_a_clipped_training_by_hand() -> None:
    # slopes 100 and 0.5, clipped to 1 and 0.5: m 0.1, then 0.14; v 0.001, then 0.001249
    # steps 1, then (0.14 / 0.19) / sqrt(0.001249 / 0.001999) = 0.932179
    assert moved(Plan(steps=2, rate=0.1, clip=1.0), slopes=(100.0, 0.5)) == pytest.approx(-0.1932179, rel=1e-5)
    # left as they are: m 10, then 9.05; v 10, then 9.99025: the second step is 47.631579 / 70.694279 = 0.673768
    assert moved(Plan(steps=2, rate=0.1), slopes=(100.0, 0.5)) == pytest.approx(-0.1673768, rel=1e-5)


def test_weight_decay_pulls_to_zero() -> None:
    assert moved(Plan(steps=1, rate=0.1, decay=0.5), start=1.0, slopes=(0.0,)) == pytest.approx(0.9, rel=1e-5)
    assert moved(Plan(steps=1, rate=0.1), start=1.0, slopes=(0.0,)) == 1.0


# -- killed and resumed ------------------------------------------------------------------------------------------------


@dataclass
class Killed:
    """Progress that kills the training once so many steps are done."""

    after: int
    said: list[tuple[str, int, int | None]] = field(default_factory=list)

    def __call__(self, stage: str, done: int, total: int | None) -> None:
        self.said.append((stage, done, total))
        if done >= self.after:
            raise KeyboardInterrupt


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where a training that saves itself at every step keeps its checkpoint."""
    monkeypatch.setattr(training, "_OFTEN", -1.0)
    return tmp_path / "part.training"


def kill(file: Path, plan: Plan = PLAN, after: int = 20, net: nn.Module | None = None, **rest: Any) -> None:
    with pytest.raises(KeyboardInterrupt):
        train(network() if net is None else net, loss, len(DATA), plan, progress=Killed(after), checkpoint=file, **rest)
    assert file.exists()


@pytest.mark.parametrize(
    "changes", [{}, {"average": 0.9}, {"clip": 0.1, "decay": 0.1}, {"batch": 5, "average": 0.5}], ids=str
)  # fmt: skip
def test_a_killed_training_ends_where_it_would_have_ended(file: Path, changes: dict[str, Any]) -> None:
    plan = replace(PLAN, **changes)
    wanted, told = trained(plan)
    kill(file, plan)
    kill(file, plan, after=30)  # and once more
    net, calls = network(seed=9), []  # what it was drawn as does not matter any more

    def watching(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
        calls.append(batch)
        return loss(net, batch, noise)

    done = train(net, watching, len(DATA), plan, progress=silent, checkpoint=file)
    assert same(weights(net), wanted)
    assert (done.steps, done.loss, done.by_clock) == (40, told.loss, False)
    assert len(calls) == 11  # killed before step 30 was saved: it went on, it did not start again
    assert not net.training


def test_a_checkpoint_outlives_the_training_and_nothing_lies_beside_it(file: Path) -> None:
    wanted, told = trained(PLAN, checkpoint=file)
    assert list(file.parent.iterdir()) == [file]
    found, again = trained(PLAN, checkpoint=file)
    assert same(found, wanted) and (again.steps, again.loss) == (told.steps, told.loss)


def test_a_checkpoint_is_written_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, saves = Clock(), []
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=clock))
    monkeypatch.setattr(training._Run, "save", lambda self, *_: saves.append(self.step))
    train(Weight(), clock.costing(9.0), 1, Plan(steps=20), progress=silent, checkpoint=tmp_path / "x")
    assert saves == [4, 8, 12, 16, 20]  # more than 30 seconds apart, at 9 a step


def test_more_steps_may_be_asked_for_on_resuming(file: Path) -> None:
    wanted, _ = trained(replace(PLAN, steps=60))
    kill(file)
    found, done = trained(replace(PLAN, steps=60, minutes=5), checkpoint=file)
    assert same(found, wanted) and done.steps == 60


def test_fewer_steps_than_a_checkpoint_has_done_are_refused(file: Path) -> None:
    kill(file)
    for steps in (0, 10):
        with pytest.raises(BadCheckpoint, match=r"(?s)19.*steps"):
            trained(replace(PLAN, steps=steps), checkpoint=file)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"rate": 0.02}, "rate was 0.01, is 0.02"), ({"batch": 3}, "batch was 4, is 3"), ({"seed": 4}, "seed was 3, is 4"),
        ({"decay": 0.1}, "decay was 0.0, is 0.1"), ({"clip": 1.0}, "clip was None, is 1.0"),
        ({"average": 0.5}, "average was 0.0, is 0.5"),
    ],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_of_another_plan_is_refused_with_what_differs(file: Path, changes: dict[str, Any], said: str) -> None:
    kill(file)
    with pytest.raises(BadCheckpoint, match=said) as met:
        trained(replace(PLAN, **changes), checkpoint=file)
    others = {"rate", "batch", "seed", "decay", "clip", "average"} - changes.keys()
    assert not any(f"{name} was" in str(met.value) for name in others) and file.name in str(met.value)
    assert file.exists()  # nothing is thrown away


def test_every_setting_that_differs_is_named(file: Path) -> None:
    kill(file, told={"width": 8, "layers": [1, 2], "final": "relu"})
    with pytest.raises(BadCheckpoint) as met:
        trained(replace(PLAN, rate=0.02), checkpoint=file, told={"width": 9, "layers": (1, 2), "inner": 4})
    for said in ("rate was 0.01, is 0.02", "width was 8, is 9", "final was 'relu', is None", "inner was None, is 4"):
        assert said in str(met.value)
    assert "layers was" not in str(met.value)


def test_a_checkpoint_of_other_samples_is_refused(file: Path) -> None:
    kill(file)
    with pytest.raises(BadCheckpoint, match="samples was 12, is 11"):
        train(network(), loss, 11, PLAN, progress=silent, checkpoint=file)


def test_a_checkpoint_of_another_network_is_refused(file: Path) -> None:
    kill(file)
    with pytest.raises(BadCheckpoint, match="weights was"):
        train(nn.Linear(3, 3), loss, len(DATA), PLAN, progress=silent, checkpoint=file)


def test_a_checkpoint_of_a_network_of_as_many_weights_is_refused(file: Path) -> None:
    kill(file, net=nn.Sequential(nn.Linear(3, 5), nn.Linear(5, 3)))  # 20 + 18
    twin = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3), nn.Linear(3, 3, bias=False), nn.Linear(5, 1, bias=False))  # 38
    with pytest.raises(BadCheckpoint, match="delete it"):
        train(twin, loss, len(DATA), PLAN, progress=silent, checkpoint=file)


def rewritten(file: Path, change: Callable[[dict[str, torch.Tensor], dict[str, Any]], None]) -> None:
    """Change a checkpoint's tensors and facts."""
    with safe_open(file, "pt") as opened:
        facts = json.loads(opened.metadata()["amiss"])
        tensors = {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118
    change(tensors, facts)
    save_file(tensors, file, {"amiss": json.dumps(facts)})


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "empty": lambda file: file.write_bytes(b""),
    "truncated": lambda file: file.write_bytes(file.read_bytes()[:-100]),
    "half its head": lambda file: file.write_bytes(file.read_bytes()[:40]),
    "text": lambda file: file.write_text("a training"),
    "foreign": lambda file: save_file({"a": torch.zeros(3)}, file),
    "foreign facts": lambda file: save_file({"a": torch.zeros(3)}, file, {"amiss": "{}"}),
    "no json": lambda file: save_file({"a": torch.zeros(3)}, file, {"amiss": "{"}),
    "a list": lambda file: save_file({"a": torch.zeros(3)}, file, {"amiss": "[]"}),
    "a folder": lambda file: (file.unlink(), file.mkdir()),
    "a weight missing": lambda file: rewritten(file, lambda tensors, facts: tensors.__delitem__("network.0.weight")),
    "an average missing": lambda file: rewritten(file, lambda tensors, facts: tensors.__delitem__("average.0.weight")),
    "a momentum missing": lambda file: rewritten(file, lambda tensors, facts: tensors.__delitem__("adam.0.exp_avg")),
    "no momenta": lambda file: rewritten(
        file, lambda tensors, facts: [tensors.pop(name) for name in [*tensors] if name.startswith("adam")]  # type: ignore[func-returns-value]
    ),
    "a momentum of another shape": lambda file: rewritten(
        file, lambda tensors, facts: tensors.update({"adam.0.exp_avg": torch.zeros(2, 2)})
    ),
    "an average of another shape": lambda file: rewritten(
        file, lambda tensors, facts: tensors.update({"average.0.weight": torch.zeros(2, 2)})
    ),
    "a strange tensor": lambda file: rewritten(file, lambda tensors, facts: tensors.update(other=torch.zeros(2))),
    "no steps": lambda file: rewritten(file, lambda tensors, facts: facts.pop("step")),
    "steps in words": lambda file: rewritten(file, lambda tensors, facts: facts.update(step="many")),
    "settings in words": lambda file: rewritten(file, lambda tensors, facts: facts.update(settings="as usual")),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_checkpoint_is_refused_with_the_way_out(file: Path, damage: str) -> None:
    plan = replace(PLAN, average=0.5)
    kill(file, plan)
    DAMAGES[damage](file)
    with pytest.raises(BadCheckpoint, match=rf"(?s){file.name}.*delete"):
        trained(plan, checkpoint=file)


def test_a_checkpoint_that_cannot_be_written_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "_OFTEN", -1.0)
    with pytest.raises(CannotWrite, match="workdir"):
        trained(PLAN, checkpoint=tmp_path / "nowhere" / "part.training")


def test_a_write_that_fails_leaves_the_last_checkpoint(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kill(file)
    before, replace_file = file.read_bytes(), os.replace

    def full(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(CannotWrite, match=r"(?s)No space left.*workdir"):
        trained(PLAN, checkpoint=file)
    monkeypatch.setattr(os, "replace", replace_file)
    assert file.read_bytes() == before and list(file.parent.iterdir()) == [file]


# -- the clock ---------------------------------------------------------------------------------------------------------


class Clock:
    """Seconds that pass only where somebody works."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def costing(self, seconds: float) -> Callable[..., torch.Tensor]:
        def working(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
            self.now += seconds
            return uphill(net, batch, noise)

        return working


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    made = Clock()
    monkeypatch.setattr(training, "time", SimpleNamespace(perf_counter=made))
    yield made


def test_minutes_end_a_training_and_its_steps_are_recorded(clock: Clock) -> None:
    net = Weight()
    done = train(net, clock.costing(10), 1, Plan(steps=50, minutes=0.5, rate=0.1), progress=silent)
    assert (done.steps, done.seconds, done.by_clock) == (3, 30.0, True)
    assert float(net.value.detach()) == pytest.approx(-0.3, rel=1e-5)


def test_steps_end_a_training_that_has_minutes_left(clock: Clock) -> None:
    done = train(Weight(), clock.costing(10), 1, Plan(steps=2, minutes=5), progress=silent)
    assert (done.steps, done.seconds, done.by_clock) == (2, 20.0, False)


def test_minutes_before_a_kill_count(clock: Clock, file: Path) -> None:
    plan = Plan(steps=100, minutes=5)
    with pytest.raises(KeyboardInterrupt):
        train(Weight(), clock.costing(10), 1, plan, progress=Killed(10), checkpoint=file)
    done = train(Weight(), clock.costing(10), 1, plan, progress=silent, checkpoint=file)
    assert (done.steps, done.seconds, done.by_clock) == (30, 300.0, True)


def words(seconds: float, plan: Plan, clock: Clock) -> list[tuple[str, int, int | None]]:
    met = Killed(after=10**9)
    train(Weight(), clock.costing(seconds), 1, plan, progress=met)
    return met.said


def test_progress_tells_the_steps_and_where_they_end(clock: Clock) -> None:
    assert words(2, Plan(steps=25), clock) == [("training", done, 25) for done in (10, 20, 25)]


def test_the_end_told_is_where_the_clock_will_stop_at_this_pace(clock: Clock) -> None:
    assert words(10, Plan(steps=1000, minutes=5), clock) == [("training", done, 30) for done in (10, 20, 30)]  # 300 s
    assert words(10, Plan(steps=1000, minutes=2), clock) == [("training", 10, 12)]
    assert words(10, Plan(steps=20, minutes=60), clock) == [("training", 10, 20), ("training", 20, 20)]


def test_the_pace_after_a_kill_is_that_of_the_steps_since(clock: Clock, file: Path) -> None:
    plan = Plan(steps=1000, minutes=35)
    with pytest.raises(KeyboardInterrupt):
        train(Weight(), clock.costing(100), 1, plan, progress=Killed(20), checkpoint=file)
    met = Killed(after=20)
    with pytest.raises(KeyboardInterrupt):
        train(Weight(), clock.costing(1), 1, plan, progress=met, checkpoint=file)
    assert met.said == [("training", 20, 219)]  # 19 steps took 1900 of 2100 s, one more took one: 199 more at that pace


def test_the_loss_told_is_a_moving_mean() -> None:
    costs = iter([1.0, 2.0, 4.0])

    def costing(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
        return uphill(net, batch, noise) * 0 + next(costs)

    done = train(Weight(), costing, 1, Plan(steps=3), progress=silent)
    assert done.loss == pytest.approx(0.98 * (0.98 * 1 + 0.02 * 2) + 0.02 * 4)


# -- what goes wrong ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_no_number_ends_the_training(bad: float) -> None:
    costs = iter([1.0, 1.0, bad, 1.0])

    def costing(net: nn.Module, batch: Array, noise: torch.Generator) -> torch.Tensor:
        return uphill(net, batch, noise) * next(costs)

    with pytest.raises(TrainingFailed, match=rf"{bad} in step 3.*learning rate"):
        train(Weight(1.0), costing, 1, Plan(steps=4), progress=silent)


def test_a_device_that_is_not_there_is_refused_before_anything_is_trained(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(BadField, match=r"device = cuda.*cpu"):
        trained(replace(PLAN, device="cuda"))


def test_missing_torch_is_told_with_the_command_that_installs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(MissingExtra, match=r"pip install 'amiss\[train\]'"):
        load_torch()
