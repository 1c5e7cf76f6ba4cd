"""Names the classes that a training is losing, while it still runs.

At every grid a few samples of each class are drawn from the weight average, from the same seeds each
time, and compared with the training cells in small: 8×8 pixels show form and color.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from generators.protocol import Generator
from runtime.rundir import RunDir
from runtime.seeds import seed_of

SAMPLES = 32  # per class
EDGE = 8  # of the images in small
COLLAPSED = 0.25  # share of the training cells' spread
FROZEN = 0.005  # change since the last look, as a share of the training cells' spread
CLEAR = 0.25  # two classes differ clearly where their means are so far apart, in variances
ALIKE = 0.15  # share of the training cells' distance of means
EARLY = 0.25  # share of the training in which nobody is warned: at first all classes look alike


def small(images: Tensor) -> Tensor:
    """Images in [-1, 1] in small: uint8 (n, 3, h, w) to float32 (n, 3, 8, 8)."""
    parts = [functional.adaptive_avg_pool2d(part.float() / 127.5 - 1, EDGE) for part in images.split(256)]
    return torch.cat(parts).cpu()


def spread(cells: Tensor, most: int = 256) -> Tensor:
    """Mean absolute difference of two different images, in small; 0 for one image alone."""
    flat = cells[:most].flatten(1)
    pairs = max(1, len(flat) * (len(flat) - 1))
    return torch.cdist(flat, flat, p=1).sum() / (pairs * flat.shape[1])


def separation(one: Tensor, other: Tensor) -> tuple[float, float]:
    """How far the means of two sets of images are apart, whichever way each image is turned.

    Args:
        one: In small, shape (n, 3, 8, 8), n at least 2.
        other: Of the other class, shape (m, 3, 8, 8).

    Returns:
        Squared distance of the means, less what two means of one distribution differ by: 0 on
        average where both sets have one mean. And the sum of both variances.
    """
    (mean, var), (mean_other, var_other) = (_moments(_unturned(cells)) for cells in (one, other))
    apart = (mean - mean_other).square().sum() - var / len(one) - var_other / len(other)
    return float(apart), float(var + var_other)


def _unturned(cells: Tensor) -> Tensor:
    """Each image averaged over its eight flips and quarter turns, flat."""
    turned = torch.stack([torch.rot90(cells, k, (-2, -1)) for k in range(4)]).mean(dim=0)
    return ((turned + turned.flip(-1)) / 2).flatten(1)


def _moments(flat: Tensor) -> tuple[Tensor, Tensor]:
    return flat.mean(dim=0), flat.var(dim=0).sum()


class ClassWatch(nn.Module):
    """Looks at the samples of every class; what it keeps between looks is saved with the networks.

    Args:
        images: Training cells, uint8, shape (n, 3, h, w).
        labels: int64, shape (n,), every class present.
        classes: Class names.
        steps: Of the whole training.

    Source:
        The symptoms are those of class-conditional collapse in NoisyTwins (arXiv:2304.05866,
        section 3); the measures are ours.
    """

    def __init__(self, images: Tensor, labels: Tensor, classes: tuple[str, ...], steps: int) -> None:
        super().__init__()
        self.classes, self.steps = classes, steps
        cells, own = small(images), labels.cpu()
        by_class = [cells[own == label] for label in range(len(classes))]
        self._spread = [float(spread(each)) for each in by_class]
        self._apart = {
            (i, j): apart
            for i in range(len(classes))
            for j in range(i)
            for apart, variance in [_separated(by_class[i], by_class[j])]
            if apart > CLEAR * variance
        }
        self.before: Tensor
        self.losses: Tensor
        self.looks: Tensor
        self.named: Tensor
        self.register_buffer("before", torch.zeros(len(classes), SAMPLES, 3, EDGE, EDGE))
        self.register_buffer("losses", torch.tensor([torch.inf, -torch.inf]))  # lowest, highest
        self.register_buffer("looks", torch.tensor(0))
        self.register_buffer("named", torch.zeros(len(classes), 3, dtype=torch.bool))
        self.findings: dict[str, list[str]] = {}

    def note(self, loss: Tensor) -> None:
        """Take in the loss of a step."""
        loss = loss.detach().float().cpu()
        self.losses[0], self.losses[1] = (
            torch.minimum(self.losses[0], loss),
            torch.maximum(self.losses[1], loss),
        )

    def look(self, step: int, generator: Generator, run: RunDir) -> None:
        """Draw samples; log what is found as ``collapsed``, and say each finding once on stderr.

        Args:
            step: Steps done.
            generator: Draws from its weight average.
            run: Receives a line of the log where something is found.
        """
        labels = torch.arange(len(self.classes)).repeat_interleave(SAMPLES)
        seeds = torch.tensor([seed_of(generator.seed, "watch", i) for i in range(SAMPLES)])
        drawn = small(generator.sample(labels, seeds.repeat(len(self.classes))))
        found = self.judge(drawn.unflatten(0, (len(self.classes), SAMPLES)))
        self.findings = {
            name: [_sentence(symptom, value) for symptom, value in symptoms.items()]
            for name, symptoms in found.items()
        }
        if found:
            run.log(step=step, collapsed=found)
        if step >= EARLY * self.steps:
            self._warn(step, found)

    def judge(self, drawn: Tensor) -> dict[str, dict[str, float | str]]:
        """What is wrong with each class, by its name; classes without fault are left out.

        Args:
            drawn: In small, shape (classes, SAMPLES, 3, 8, 8); sample i of every class has the
                same seed. It is remembered until the next time.

        Returns:
            ``collapsed``: spread of the samples as a share of the training cells'. ``frozen``:
            change since the last time, as such a share. ``like``: a class that they cannot be
            told from.
        """
        found: dict[str, dict[str, float | str]] = {}
        moving = bool(self.losses[1] - self.losses[0] > 0.01 * self.losses.abs().max())
        for label, name in enumerate(self.classes):
            whole = self._spread[label]
            share = float(spread(drawn[label])) / whole if whole > 0 else 1.0
            change = float((drawn[label] - self.before[label]).abs().mean()) / max(whole, 1e-6)
            like = self._like(label, drawn)
            symptoms: dict[str, float | str] = {}
            if share < COLLAPSED:
                symptoms["collapsed"] = round(share, 3)
            if moving and int(self.looks) and change < FROZEN:
                symptoms["frozen"] = round(change, 5)
            if like is not None:
                symptoms["like"] = self.classes[like]
            if symptoms:
                found[name] = symptoms
        self.before.copy_(drawn)
        self.losses.copy_(torch.tensor([torch.inf, -torch.inf]))
        self.looks += 1
        return found

    def _like(self, label: int, drawn: Tensor) -> int | None:
        """The class whose samples are most this one's, if any: image by image, or on average."""
        shares: dict[int, float] = {}
        for other in range(len(self.classes)):
            if other == label:
                continue
            same = float((drawn[label] - drawn[other]).abs().mean())
            if same < COLLAPSED * min(self._spread[label], self._spread[other]):
                return other  # the class changes nothing: the same seed is the same image
            apart = self._apart.get((max(label, other), min(label, other)))
            if apart is not None:
                shares[other] = separation(drawn[label], drawn[other])[0] / apart
        nearest = min(shares, key=lambda other: shares[other], default=None)
        return nearest if nearest is not None and shares[nearest] < ALIKE else None

    def _warn(self, step: int, found: Mapping[str, Mapping[str, float | str]]) -> None:
        for name, symptoms in found.items():
            for symptom, value in symptoms.items():
                place = self.classes.index(name), ("collapsed", "frozen", "like").index(symptom)
                if not self.named[place]:
                    self.named[place] = True
                    print(f"step {step}: class '{name}': {_sentence(symptom, value)}", file=sys.stderr)


def _separated(one: Tensor, other: Tensor) -> tuple[float, float]:
    """`separation`; classes of a single cell have no variance, and are not judged."""
    return separation(one, other) if min(len(one), len(other)) > 1 else (0.0, 1.0)


def _sentence(symptom: str, value: float | str) -> str:
    if symptom == "collapsed":
        return f"collapsed: its samples differ {value} times as much as its training cells do"
    if symptom == "frozen":
        return "frozen: its samples no longer change, though the training goes on"
    return f"its samples cannot be told from those of '{value}'"
