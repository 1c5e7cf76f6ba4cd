"""Which moment of a training is kept: figures at an interval, the best weights so far remembered.

The last step of a training is not always its best one, least of all on few cells, which a network
ends up knowing by heart. Who looks, and with what networks, is handed in from above: a generator
does not judge itself.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from torch import Tensor, nn

from generators.protocol import Generator, Monitor
from runtime.checkpoint import fit_state
from runtime.errors import InputError
from runtime.rundir import RunDir

PREFIX = "best/"


@dataclass(frozen=True)
class Watch:
    """A monitor with an interval, and the word on what its figures decide.

    Attributes:
        look: Called with (steps done, generator).
        every: Steps between looks; the last step is always looked at.
        decide_by: Figures in the order in which they decide, each with which end is the good one:
            the second one counts where the first is equal, and the earlier step where all are.
        choose: Keep the ``best`` moment as the model, or the ``last``; the other is kept beside it.
        fingerprint: What the figures were measured with, as JSON values.
    """

    look: Monitor
    every: int
    decide_by: tuple[tuple[str, Literal["low", "high"]], ...]
    choose: Literal["best", "last"] = "best"
    fingerprint: Mapping[str, Any] = field(default_factory=dict)

    def __call__(self, step: int, generator: Generator) -> Mapping[str, float]:
        """The figures of a moment."""
        return self.look(step, generator)

    def words(self) -> dict[str, Any]:
        """What makes this watch this watch, as JSON values."""
        return {
            "every": self.every,
            "decide_by": [list(each) for each in self.decide_by],
            "choose": self.choose,
            "fingerprint": dict(self.fingerprint),
        }

    def rank(self, figures: Mapping[str, float]) -> tuple[float, ...]:
        """Lower is better.

        Raises:
            InputError: If a figure that decides is absent or not a number.
        """
        for name, _ in self.decide_by:
            if not math.isfinite(figures.get(name, math.nan)):
                raise InputError(
                    f"the monitor gave no figure '{name}', which is to decide (it gave {sorted(figures)})."
                )
        return tuple(figures[name] if end == "low" else -figures[name] for name, end in self.decide_by)


class Choosing:
    """The looks at one training, and its best moment so far.

    Args:
        watch: Who looks, and when.
        modules: Networks to remember, by name; those that draw among them.
    """

    def __init__(self, watch: Watch, modules: Mapping[str, nn.Module]) -> None:
        self.watch = watch
        self.modules = modules
        self.best: dict[str, Any] | None = None
        self.last: dict[str, Any] | None = None
        self._tensors: dict[str, Tensor] = {}

    def due(self, done: int, steps: int) -> bool:
        """Whether to look after so many steps."""
        return done % self.watch.every == 0 or done == steps

    def look(self, done: int, generator: Generator, run: RunDir) -> None:
        """Measure this moment, log the figures, and remember the weights if it is the best so far."""
        figures = {name: float(value) for name, value in self.watch(done, generator).items()}
        run.scalars(done, **{f"monitor/{name}": value for name, value in figures.items()})
        self.last = {"step": done, "figures": figures}
        if self.best is None or self.watch.rank(figures) < self.watch.rank(self.best["figures"]):
            self.best = self.last
            self._tensors = {
                f"{PREFIX}{name}/{key}": value.detach().cpu().clone()
                for name, module in self.modules.items()
                for key, value in module.state_dict().items()
            }
            run.log(step=done, best_so_far=figures)

    def tensors(self) -> dict[str, Tensor]:
        """The best weights so far, by name, for a checkpoint."""
        return self._tensors

    def state(self) -> dict[str, Any]:
        """The rest of what a checkpoint keeps, as JSON values."""
        return {"best": self.best, "last": self.last}

    def restore(self, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Put back what `tensors` and `state` gave; other tensors are passed over."""
        self.best, self.last = state["best"], state["last"]
        self._tensors = {name: value for name, value in tensors.items() if name.startswith(PREFIX)}

    def take_best(self, where: Path) -> None:
        """Give the networks the weights of the best moment."""
        for name, module in self.modules.items():
            start = f"{PREFIX}{name}/"
            own = {key[len(start) :]: value for key, value in self._tensors.items() if key.startswith(start)}
            fit_state(module, own, where)

    def chosen(self, which: Literal["best", "last"]) -> dict[str, Any]:
        """What a model's config says of a moment: its step and figures, and those of the last step."""
        moment = self.best if which == "best" else self.last
        assert moment is not None and self.last is not None, "the last step is looked at"
        return {
            "choose": which,
            "step": moment["step"],
            "figures": moment["figures"],
            "last": self.last,
            "decide_by": [list(each) for each in self.watch.decide_by],
            "fingerprint": dict(self.watch.fingerprint),
        }
