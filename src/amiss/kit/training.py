"""One plain training loop for every network in the house. Needs the extra `train`; judging never does.

A step is a function of the seed and its own number: which samples it sees and what noise it draws do not hang on the steps
before it. So a training that was killed resumes from its last checkpoint and ends where it would have ended.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from amiss.contract import Progress
from amiss.errors import BadCheckpoint, BadField, CannotWrite, MissingExtra, TrainingFailed

if TYPE_CHECKING:
    import torch

Array = npt.NDArray[Any]
Device = Literal["cpu", "cuda"]
Loss = Callable[["torch.nn.Module", Array, "torch.Generator"], "torch.Tensor"]
log = logging.getLogger(__name__)

_OFTEN = 30.0  # seconds between checkpoints
_SHOWN = 10  # steps between words of progress
_AVERAGE = "average."


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How long and how a network is trained.

    steps, minutes  whichever is over first; minutes None for no limit     batch  samples a step
    rate, decay  of Adam     clip  longest gradient, None for any     average  decay of the moving average of the weights that
    is kept in the end, 0 for the last weights     threads  of the CPU; the last digits of a training hang on how many
    """

    steps: int
    minutes: float | None = None
    batch: int = 8
    rate: float = 2e-4
    decay: float = 0.0
    clip: float | None = None
    average: float = 0.0
    seed: int = 0
    device: Device = "cpu"
    threads: int = 1


@dataclass(frozen=True)
class Trained:
    """How a training went: steps done, seconds they took, mean loss of the last steps, and whether the clock ended it."""

    steps: int
    seconds: float
    loss: float
    by_clock: bool


def load_torch() -> Any:
    """torch, imported here and nowhere else before a network is trained.

    raises  MissingExtra with the command that installs it
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"  # spinning threads starve one another: 2.8 s a step in place of 0.2, measured
    try:
        import torch
    except (ImportError, OSError) as error:  # OSError: installed, but one of its libraries is not
        raise MissingExtra(
            "training a network needs torch: pip install 'amiss[train]'. Judging does not: fit on another machine and bring "
            f"the model file ({error})"
        ) from error
    return torch


def check_device(device: Device) -> None:
    """raises  MissingExtra without torch, BadField where torch does not see the device"""
    torch = load_torch()
    if device == "cuda" and not torch.cuda.is_available():
        raise BadField("device = cuda: torch sees no CUDA device here; use device = cpu")


def checkpoint_file(workdir: Path, name: str, data: str, told: Mapping[str, Any]) -> Path:
    """Where a training keeps its checkpoint: one file for each method, data and settings, so that none is in another's way.

    name  of the method     data  digest of what it is trained on     told  every setting that its result hangs on
    Warns where a training of the same data with other settings was left behind.
    """
    settings = blake2b(json.dumps(told, sort_keys=True).encode(), digest_size=4).hexdigest()
    file = workdir / f"{name}-{data}-{settings}.training"
    others = sorted(other.name for other in workdir.glob(f"{name}-{data}-*.training") if other != file)
    if others and not file.exists():
        log.warning(
            "%s holds a training of the same parts that was begun with other settings (%s): it is left alone, and this one "
            "starts anew; set the fields as they were to go on with it, or delete it", workdir, ", ".join(others),
        )  # fmt: skip
    return file


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Weights made inside are drawn from the seed; torch's own random state is left as it was."""
    torch = load_torch()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield


def train(
    network: torch.nn.Module,
    loss: Loss,
    samples: int,
    plan: Plan,
    *,
    progress: Progress,
    checkpoint: Path | None = None,
    told: Mapping[str, Any] | None = None,
) -> Trained:
    """Train in place, and leave the network in evaluation mode on the CPU.

    loss     (network, indices of the batch (b,), generator for noise) to a scalar     samples  how many there are
    checkpoint  file to resume from where it exists, written now and then and at the end; who asked for it removes it once what
             the training was for is done
    told     what else the result hangs on, JSON values: a checkpoint that was begun with others is refused
    raises   BadField for a device that is not there, BadCheckpoint, TrainingFailed where the loss is no number any more
    """
    torch = load_torch()
    check_device(plan.device)
    run = _Run(torch, network.to(plan.device).train(), plan)
    settings = _settings(network, samples, plan, told or {})
    if checkpoint is not None and checkpoint.exists():
        run.resume(checkpoint, settings)
        log.info("resumed %s after %d steps", checkpoint, run.step)
    keep = None if checkpoint is None else lambda: run.save(checkpoint, settings)
    with _threads(torch, plan.threads):
        _advance(run, loss, samples, plan, progress, keep)
    run.finish()
    return Trained(run.step, run.seconds, run.mean_loss, by_clock=run.step < plan.steps)


def _advance(run: _Run, loss: Loss, samples: int, plan: Plan, progress: Progress, keep: Callable[[], None] | None) -> None:
    """All steps that remain, with a word of progress now and then, and checkpoints now and then and at the end."""
    saved, saved_at = run.step, time.perf_counter()
    limit = math.inf if plan.minutes is None else plan.minutes * 60
    while run.step < plan.steps and run.seconds < limit:
        run.one(loss, _batch(samples, plan, run.step))
        if run.step % _SHOWN == 0 or run.step == plan.steps:
            log.debug("step %d, loss %.4g", run.step, run.mean_loss)
            progress("training", run.step, _ahead(run, plan, limit))
        if keep is not None and time.perf_counter() - saved_at > _OFTEN:
            keep()
            saved, saved_at = run.step, time.perf_counter()
    if keep is not None and run.step > saved:
        keep()


@contextmanager
def _threads(torch: Any, count: int) -> Iterator[None]:
    """torch computes with so many threads inside, and with as many as before outside."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _batch(samples: int, plan: Plan, step: int) -> Array:
    """Indices of one step: consecutive pieces of a permutation that is drawn anew for every pass over the samples."""
    size = min(plan.batch, samples)
    a_pass = samples // size
    order = np.random.default_rng([plan.seed, step // a_pass]).permutation(samples)
    start = step % a_pass * size
    return order[start : start + size]


def _ahead(run: _Run, plan: Plan, limit: float) -> int:
    """The step at which the training will end: the last one, or the one that the clock will allow at this pace."""
    each = (run.seconds - run.resumed_seconds) / (run.step - run.resumed)  # asked only after a step
    allowed = math.inf if math.isinf(limit) else run.step + max(0.0, limit - run.seconds) / max(each, 1e-9)
    return plan.steps if allowed >= plan.steps else math.ceil(allowed)


def _settings(network: torch.nn.Module, samples: int, plan: Plan, told: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the result of a training hangs on, but for how long it may go on."""
    kept = {
        name: value for name, value in dataclasses.asdict(plan).items() if name not in ("steps", "minutes", "device", "threads")
    }
    weights = sum(value.numel() for value in network.state_dict().values())
    return json.loads(json.dumps({**kept, "samples": samples, "weights": weights, **told}))  # type: ignore[no-any-return]


class _Run:
    """A training under way: the network, its optimiser and its moving average."""

    def __init__(self, torch: Any, network: torch.nn.Module, plan: Plan) -> None:
        self._torch, self._network, self._plan = torch, network, plan
        self._parameters = [value for value in network.parameters() if value.requires_grad]
        self._adam = torch.optim.Adam(self._parameters, lr=plan.rate, weight_decay=plan.decay)
        self._average = {name: value.detach().clone() for name, value in self._floats()} if plan.average else {}
        self.step = self.resumed = 0
        self.seconds = self.resumed_seconds = 0.0
        self.mean_loss = math.nan

    def _floats(self) -> Iterator[tuple[str, torch.Tensor]]:
        """Weights and running statistics."""
        return ((name, value) for name, value in self._network.state_dict().items() if value.is_floating_point())

    def one(self, loss: Loss, batch: Array) -> None:
        """One step."""
        started = time.perf_counter()
        noise = self._torch.Generator(device=self._plan.device)
        noise.manual_seed(int(np.random.SeedSequence([self._plan.seed, self.step]).generate_state(1, np.uint64)[0] >> 1))
        value = loss(self._network, batch, noise)
        now = float(value.detach())
        if not math.isfinite(now):
            raise TrainingFailed(f"the loss is {now} in step {self.step + 1}; lower the learning rate")
        self._adam.zero_grad(set_to_none=True)
        self._torch.autograd.backward(value)
        if self._plan.clip is not None:
            self._torch.nn.utils.clip_grad_norm_(self._parameters, self._plan.clip)
        self._adam.step()
        self.step += 1
        self._follow()
        self.mean_loss = now if math.isnan(self.mean_loss) else 0.98 * self.mean_loss + 0.02 * now
        self.seconds += time.perf_counter() - started

    def _follow(self) -> None:
        """Move the average; early on it forgets faster, so that it does not hold the first weights for long."""
        share = min(self._plan.average, (1 + self.step) / (10 + self.step))
        for name, value in self._floats() if self._average else ():
            self._average[name].lerp_(value.detach(), 1 - share)

    def finish(self) -> None:
        """Leave the averaged weights in the network, ready to be used."""
        if self._average and self.step:
            self._network.load_state_dict(self._average, strict=False)
        self._network.to("cpu").eval()

    def save(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Write a checkpoint under a temporary name, then rename it."""
        from safetensors import SafetensorError
        from safetensors.torch import save_file

        tensors = {f"network.{name}": value for name, value in self._network.state_dict().items()}
        tensors |= {f"{_AVERAGE}{name}": value for name, value in self._average.items()}
        for index, state in self._adam.state_dict()["state"].items():
            tensors |= {f"adam.{index}.{name}": value for name, value in state.items()}
        facts = {"step": self.step, "seconds": self.seconds, "loss": self.mean_loss, "settings": settings}
        part = path.with_name(f"{path.name}.{os.getpid()}.part")
        try:
            save_file(
                {name: value.detach().cpu().clone() for name, value in tensors.items()}, part, {"amiss": json.dumps(facts)}
            )
            os.replace(part, path)
        except (OSError, SafetensorError) as error:
            part.unlink(missing_ok=True)
            reason = getattr(error, "strerror", None) or error
            raise CannotWrite(
                f"{path}: no checkpoint can be written ({reason}); make the folder, free space, or leave out workdir"
            ) from error

    def resume(self, path: Path, settings: Mapping[str, Any]) -> None:
        """Take over a checkpoint; raises BadCheckpoint where it belongs to another training or is damaged."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, "pt") as file:
                facts = json.loads(file.metadata()["amiss"])
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            _check_settings(path, dict(facts["settings"]), settings)
            self.step = self.resumed = int(facts["step"])
            _check_steps(path, self.step, self._plan)
            self._take(tensors)
            self.seconds = self.resumed_seconds = float(facts["seconds"])
            self.mean_loss = float(facts["loss"])
        except (SafetensorError, OSError, LookupError, TypeError, ValueError, RuntimeError) as error:
            raise BadCheckpoint(
                f"{path}: this checkpoint cannot be read ({error}); delete it to train from the start"
            ) from error

    def _take(self, tensors: Mapping[str, torch.Tensor]) -> None:
        parts: dict[str, dict[str, Any]] = {"network": {}, "average": {}, "adam": {}}
        for name, value in tensors.items():
            kind, _, rest = name.partition(".")
            parts[kind][rest] = value
        self._network.load_state_dict(parts["network"])
        _check_shapes(parts["average"], self._average)
        self._average = {name: value.to(self._plan.device) for name, value in parts["average"].items()}
        state: dict[int, dict[str, Any]] = {}
        for name, value in parts["adam"].items():
            index, _, key = name.partition(".")
            state.setdefault(int(index), {})[key] = value
        if not state:
            raise ValueError("it lacks the state of the optimiser")
        for place, found in state.items():
            like = self._parameters[place]
            _check_shapes(found, {"step": self._torch.zeros(()), "exp_avg": like, "exp_avg_sq": like})
        self._adam.load_state_dict({"state": state, "param_groups": self._adam.state_dict()["param_groups"]})


def _check_shapes(found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]) -> None:
    if {name: value.shape for name, value in found.items()} != {name: value.shape for name, value in wanted.items()}:
        raise ValueError("its tensors are of another network")


def _check_steps(path: Path, done: int, plan: Plan) -> None:
    if done > plan.steps:
        raise BadCheckpoint(
            f"{path}: this training has done {done} steps, asked for are {plan.steps}; ask for as many steps or more, give "
            "another workdir, or delete the file to train from the start"
        )


def _check_settings(path: Path, begun: Mapping[str, Any], now: Mapping[str, Any]) -> None:
    differ = [
        f"{name} was {begun.get(name)!r}, is {now.get(name)!r}"
        for name in sorted({*begun, *now})
        if begun.get(name) != now.get(name)
    ]
    if differ:
        raise BadCheckpoint(
            f"{path}: this training was begun with other settings ({'; '.join(differ)}); set them as they were, give another "
            "workdir, or delete the file to train from the start"
        )
