# Copyright 2026 roborefer_ros contributors
# SPDX-License-Identifier: Apache-2.0
"""Processes and devices: one process, or several that average (DDP) or share (FSDP2) the weights.

The launcher is torchrun; its variables (RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT)
are all that is read.  Without them there is one process.  Ray Train has made the process group
before (see ``ray_cluster``).
"""

from __future__ import annotations

import contextlib
import math
import os
import warnings
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor

from roborefer_ros.errors import ConfigurationError
from roborefer_ros.models.roborefer.labels import collate, training_item
from roborefer_ros.models.roborefer.modeling import RoboRefer
from roborefer_ros.models.roborefer.processing import RoboReferProcessor
from roborefer_ros.training.sft.objective import ANSWERS, Objective
from roborefer_ros.training.sft.recipe import SftRecipe, TrainingRecipe


@dataclass(frozen=True)
class StepResult:
    """What a step did.

    Attributes:
        loss: Mean over the learned tokens of all processes; NaN where there is none.
        gradient_norm: Of all weights, before clipping.
        tokens: Learned tokens, of all processes.
        skipped: Whether the weights were left as they were: no learned token, or a number that
            is not finite.
        rows: This process' rows: ``(loss summed over its tokens, tokens)`` each.
        parts: Name -> further loss that is learned, mean over this process' batches.
    """

    loss: float
    gradient_norm: float
    tokens: float
    skipped: bool
    rows: tuple[tuple[float, float], ...]
    parts: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Processes:
    """This process among those of the run.

    Attributes:
        rank: Number of this process.
        world: How many there are.
        device: Where it computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """Whether this is the process that writes files and logs."""
        return self.rank == 0

    def total(self, values: Sequence[float]) -> list[float]:
        """Sums over all processes."""
        if not dist.is_initialized():
            return list(values)
        tensor = torch.tensor(values, dtype=torch.float64, device=self.device)
        dist.all_reduce(tensor)
        return [float(value) for value in tensor]

    def wait(self) -> None:
        """Until all processes are here."""
        if dist.is_initialized():
            dist.barrier()

    def gathered(self, value: object) -> list[object]:
        """Everyone's value, by rank."""
        if not dist.is_initialized():
            return [value]
        values: list[object] = [None] * self.world
        dist.all_gather_object(values, value)
        return values


@contextlib.contextmanager
def processes(device: str = "auto") -> Iterator[Processes]:
    """Join the run's other processes, if torchrun started this one; leave them in the end.

    Args:
        device: ``cpu``, ``cuda``, or ``auto``.

    Raises:
        ConfigurationError: no such device, or torchrun's variables are incomplete.
    """
    kind = ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device
    if kind not in ("cpu", "cuda"):
        raise ConfigurationError(f"device is {device!r}, not auto, cpu or cuda")
    if kind == "cuda" and not torch.cuda.is_available():
        raise ConfigurationError("device is cuda, but PyTorch finds no GPU: use --device cpu")
    if dist.is_initialized():  # by Ray Train
        yield Processes(dist.get_rank(), dist.get_world_size(), _own_device(kind))
        return
    if "WORLD_SIZE" not in os.environ:
        yield Processes(0, 1, torch.device(kind))
        return
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT")
    absent = [name for name in names if name not in os.environ]
    if absent:
        raise ConfigurationError(
            f"WORLD_SIZE is set, but not {' and '.join(absent)}: start the command with torchrun, "
            "or unset WORLD_SIZE for one process"
        )
    own = _own_device(kind)
    if kind == "cuda":
        dist.init_process_group("nccl", device_id=own)
    else:
        dist.init_process_group("gloo")
    try:
        yield Processes(dist.get_rank(), dist.get_world_size(), own)
    finally:
        dist.destroy_process_group()


def _own_device(kind: str) -> torch.device:
    """Where this process of several computes.

    Raises:
        ConfigurationError: more processes than GPUs on this machine.
    """
    if kind == "cpu":
        return torch.device("cpu")
    local = int(os.environ["LOCAL_RANK"])
    if local >= torch.cuda.device_count():
        raise ConfigurationError(
            f"this machine has {torch.cuda.device_count()} GPUs, but process {local} was started "
            "on it: lower --nproc-per-node"
        )
    own = torch.device("cuda", local)
    torch.cuda.set_device(own)
    return own


class Engine:
    """A stage's network on all processes: losses, gradients, steps of the optimizer.

    Args:
        model: Complete network in float32 on the CPU, the weights that learn already chosen.
        processor: Of the same checkpoint.
        recipe: Precision, parallelism, packing, checkpointing, clipping.
        group: The processes.
        learns: Whether gradients are exchanged; False for a network that is only asked.
        objective: What is learned.

    Raises:
        ConfigurationError: sharded weights with an optimizer that needs whole matrices.
    """

    def __init__(
        self,
        model: RoboRefer,
        processor: RoboReferProcessor,
        recipe: TrainingRecipe,
        group: Processes,
        *,
        learns: bool = True,
        objective: Objective = ANSWERS,
    ) -> None:
        self.objective = objective
        self.group, self.recipe, self.model = group, recipe, model
        self.parallel = parallel_mode(recipe, group)
        half = use_bfloat16(recipe, group.device)
        if recipe.gradient_checkpointing:
            _recompute_activations(model)
        model.train()
        cast = torch.bfloat16 if half and self.parallel != "fsdp" else None
        self.module: Any = self._make_module(model, processor, cast)
        self.wrapped: nn.Module = self.module
        if self.parallel == "fsdp":
            self._shard(half)
        else:
            if half:
                for parameter in model.parameters():
                    if not parameter.requires_grad:
                        parameter.data = parameter.data.to(torch.bfloat16)
            self.module.to(group.device)
            if self.parallel == "ddp" and learns:
                with warnings.catch_warnings():
                    # broadcast_buffers has another name from torch 2.13 on
                    warnings.simplefilter("ignore", FutureWarning)
                    self.wrapped = nn.parallel.DistributedDataParallel(
                        self.module, broadcast_buffers=False, gradient_as_bucket_view=True
                    )

    def _make_module(
        self, model: RoboRefer, processor: RoboReferProcessor, autocast: torch.dtype | None
    ) -> nn.Module:
        """The network with its loss."""
        assert isinstance(self.recipe, SftRecipe)
        if self.parallel == "fsdp" and self.recipe.optimizer == "muon":
            raise ConfigurationError(
                "optimizer muon needs whole matrices, parallel fsdp shares them out: set parallel "
                "to ddp, or optimizer to adamw"
            )
        return self.objective.module(model, processor, self.recipe, autocast)

    def _shard(self, half: bool) -> None:
        """Each layer, then the rest; float32 masters, computed and exchanged as the recipe says."""
        policy = MixedPrecisionPolicy()
        if half:
            policy = MixedPrecisionPolicy(param_dtype=torch.bfloat16, reduce_dtype=torch.float32)
        mesh = dist.init_device_mesh(self.group.device.type, (self.group.world,))
        model = self.model
        layers = list(model.llm.model.layers)
        for tower in (model.vision_tower, model.depth_tower):
            if tower is not None:
                layers += list(tower.encoder.layers)
        for layer in layers:
            fully_shard(layer, mesh=mesh, mp_policy=policy)
        fully_shard(self.module, mesh=mesh, mp_policy=policy)
        if self.group.device.type == "cuda":
            self.module.to(self.group.device)  # buffers

    def step(self, batches: Sequence[Any], *optimizers: torch.optim.Optimizer) -> StepResult:
        """One step of the optimizer on the batches of all processes.

        The loss is the mean over the learned tokens of all processes and all batches, so that the
        result does not depend on how the rows are spread.

        Args:
            batches: This process'; every process has equally many.
            optimizers: Of the weights that learn.
        """
        tokens = self.group.total([sum(self.module.weight(batch) for batch in batches)])[0]
        if tokens == 0:
            return StepResult(math.nan, 0.0, 0, True, ())
        total = 0.0
        rows: list[tuple[float, float]] = []
        parts: dict[str, float] = defaultdict(float)
        for index, batch in enumerate(batches):
            with self._exchange(index == len(batches) - 1):
                loss = self.wrapped(batch)
                (loss.total * (self.group.world / tokens)).backward()
            total += float(loss.total.detach())
            rows += list(zip(loss.per_row.tolist(), loss.tokens.tolist(), strict=True))
            for name, part in loss.parts.items():
                parts[name] += float(part.detach()) / len(batches)
        norm = self._clip()
        mean = self.group.total([total])[0] / tokens
        skipped = not (math.isfinite(norm) and math.isfinite(mean))
        for optimizer in optimizers:
            if not skipped:
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        return StepResult(mean, norm, tokens, skipped, tuple(rows), dict(parts))

    @contextlib.contextmanager
    def whole(self) -> Iterator[RoboRefer]:
        """The network for answers: whole weights on every process, nothing recomputed.

        Processes may run it differently often and long inside.  Training goes on behind it as if
        it had not been: neither weights nor random numbers change.

        Yields:
            The network in evaluation mode; where the computation is in bfloat16, its weights are,
            as they are exported.
        """
        sharded = [module for module in self.module.modules() if isinstance(module, FSDPModule)]
        state = torch.get_rng_state()
        was_training = self.module.training
        self.module.eval()
        masters: list[tuple[nn.Parameter, torch.Tensor]] = []
        try:
            if sharded:
                self._become_root()
            for module in sharded:
                if module is not self.module:
                    module.set_reshard_after_forward(False, recurse=False)
                module.unshard()
            if self.module.autocast is not None:
                masters = [(weight, weight.data) for weight in self.module.parameters()]
                for weight, value in masters:
                    weight.data = value.to(self.module.autocast)
            with torch.no_grad():
                yield self.model
        finally:
            for weight, value in masters:
                weight.data = value
            for module in sharded:
                module.reshard()
                if module is not self.module:
                    module.set_reshard_after_forward(True, recurse=False)
            self.module.train(was_training)
            torch.set_rng_state(state)

    def _become_root(self) -> None:
        """One pass on a text: sharded layers must not run before the module that holds them all."""
        processor = self.module.processor
        turns = [{"from": "human", "value": "-"}, {"from": "gpt", "value": "-"}]
        item = training_item(processor, turns)
        with torch.no_grad():
            self.module(collate([item], processor.tokenizer.pad_token_id, processor.max_length))

    @contextlib.contextmanager
    def _exchange(self, last: bool) -> Iterator[None]:
        """Exchange gradients behind the last batch of a step only."""
        if isinstance(self.module, FSDPModule):
            self.module.set_requires_gradient_sync(last)
            yield
        elif isinstance(self.wrapped, nn.parallel.DistributedDataParallel) and not last:
            with self.wrapped.no_sync():
                yield
        else:
            yield

    def _clip(self) -> float:
        """Norm of all gradients, which are scaled down where the recipe asks for it."""
        learning = [p for p in self.module.parameters() if p.requires_grad]
        limit = self.recipe.max_grad_norm or math.inf
        norm = nn.utils.clip_grad_norm_(learning, limit)
        return float(norm.full_tensor() if isinstance(norm, DTensor) else norm)


def parallel_mode(recipe: TrainingRecipe, _group: Processes) -> str:
    """``single``, ``ddp`` or ``fsdp``."""
    if not dist.is_initialized():
        return "single"
    if recipe.parallel != "auto":
        return recipe.parallel
    return "ddp" if all("projector" in part for part in recipe.learning_parts) else "fsdp"


def use_bfloat16(recipe: TrainingRecipe, device: torch.device) -> bool:
    """Whether the computation is in bfloat16 (the weights that learn stay float32)."""
    return recipe.precision == "bf16" or (recipe.precision == "auto" and device.type == "cuda")


def _recompute_activations(model: RoboRefer) -> None:
    """Keep no activations of layers: of all whose inputs or weights have a gradient."""
    towers = [t for t in (model.vision_tower, model.depth_tower) if t is not None]
    for network in (model.llm, *towers):
        # renamed in transformers 5
        enable = getattr(network, "activation_checkpointing_enable", None)
        enable = enable or network.gradient_checkpointing_enable
        enable({"use_reentrant": False})
