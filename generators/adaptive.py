"""How often the critic's images are transformed: always as often, or as often as it overfits.

A critic of few images learns them by heart; transformed more often, they seem to be more. The
probability climbs while the critic is ahead of the maker by more than a target, and falls while it
is not.

Source:
    Karras et al., "Training Generative Adversarial Networks with Limited Data", arXiv:2006.06676,
    section 3.2 ("ADA" below).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

EVERY = 4  # steps between changes of the probability, as in ADA


class Transforms(nn.Module):
    """The probability of each transform in front of the critic, kept with the networks.

    ADA reads overfitting from E[sign(D_train)]. A relativistic critic's scores have no zero, so
    that its sign says nothing; what it learns is to rank a training image above a made one of its
    class, and that is what is read: `generators.game_losses.lead`. Where scores of training and of
    made images are normal with equal spread, ADA's target of 0.6 is a lead of 0.77.

    Args:
        start: The probability at first, in [0, 0.8).
        target: Lead above which the probability climbs; None keeps it as it is.
        cap: It climbs no higher, below 0.8.
        climb: Images in which it may climb from 0 to 1.
    """

    def __init__(
        self, start: float, target: float | None = None, cap: float = 0.0, climb: float = 1.0
    ) -> None:
        super().__init__()
        self.target, self.cap, self.climb = target, cap, climb
        self.probability: Tensor
        self.ahead: Tensor
        self.pairs: Tensor
        self.register_buffer("probability", torch.tensor(start, dtype=torch.float64))
        self.register_buffer("ahead", torch.tensor(0))
        self.register_buffer("pairs", torch.tensor(0))

    @property
    def now(self) -> float:
        """The probability."""
        return float(self.probability)

    def note(self, ahead: float, pairs: int, step: int) -> None:
        """Take in a step of the critic.

        Args:
            ahead: Sum of the signs of D(real) - D(made) over the batch, of all processes. It is
                rounded: float sums of a divided batch differ in their last bits, and a sign of
                theirs would decide.
            pairs: Pairs in the batch.
            step: Its number.
        """
        if self.target is None:
            return
        self.ahead += round(ahead)
        self.pairs += pairs
        if step % EVERY == EVERY - 1:
            over = torch.sign(self.ahead / self.pairs - self.target)
            self.probability.add_(over * self.pairs / self.climb).clamp_(0, self.cap)
            self.ahead.zero_()
            self.pairs.zero_()
