"""What the two networks of the conditional GAN play for: pure functions of scores, styles and images.

Source:
    Huang et al., "The GAN is dead; long live the GAN! A Modern GAN Baseline", arXiv:2501.05441
    ("R3GAN" below).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from runtime.seeds import torch_generator

EFFECTIVE = 0.99  # α of NoisyTwins' effective number of training cells
REDUNDANCY = 0.05  # γ, the weight of correlations between different entries of a style


def maker_loss(real: Tensor, made: Tensor) -> Tensor:
    """Loss of the network that makes images: R3GAN equation 2, f(t) = -softplus(-t), descended.

    Args:
        real: Scores of real images, shape (b,).
        made: Scores of made images of the same classes, shape (b,).
    """
    return functional.softplus(real - made).mean()


def critic_loss(real: Tensor, made: Tensor) -> Tensor:
    """Loss of the critic: the same game from the other side. Shapes (b,)."""
    return functional.softplus(made - real).mean()


def lead(real: Tensor, made: Tensor) -> Tensor:
    """How much oftener the critic ranks a training image above a made one than below it.

    Args:
        real: Scores of training images, shape (b,).
        made: Scores of made images of the same classes, shape (b,).

    Returns:
        E[sign(D(real) - D(made))], in [-1, 1]: 0 for a critic that guesses, 1 for one that tells
        every pair.

    Source:
        r_t = E[sign(D_train)] of Karras et al., arXiv:2006.06676, section 3.2, for a critic whose
        scores have no zero: the relativistic loss changes with their differences only.
    """
    return torch.sign(real - made).mean()


def gradient_penalty(critic: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
    """Mean squared norm of the score's gradient: R1 on real images, R2 on made ones.

    Args:
        critic: Maps (images, labels) to scores.
        images: Shape (b, 3, h, w); treated as constants.
        labels: int64, shape (b,).

    Source:
        R3GAN, equations 3 and 4 (γ/2 is applied by the caller).
    """
    images = images.detach().requires_grad_(True)
    scores = critic(images, labels)
    (gradient,) = torch.autograd.grad(scores.sum(), images, create_graph=True)
    return gradient.square().sum(dim=(1, 2, 3)).mean()


def pooled(images: Tensor) -> Tensor:
    """A 4×4-averaged copy: form and color of a cell without its noise. Shape (b, 3, h/4, w/4)."""
    return functional.avg_pool2d(images, 4)


def class_spread(images: Tensor, labels: Tensor, pairs: int = 256) -> Tensor:
    """Distance that three in four pairs of different training cells of a class exceed.

    The distance is the mean absolute difference of pooled images.

    Args:
        images: uint8, shape (n, 3, h, w).
        labels: int64, shape (n,), every class present.
        pairs: Random pairs per class.

    Returns:
        Shape (classes,), in units of [-1, 1] images, above zero.
    """
    spread = []
    for label in range(int(labels.max()) + 1):
        members = torch.nonzero(labels == label).flatten().cpu()
        draws = torch_generator("spread", label)
        first = torch.randint(len(members), (pairs,), generator=draws)
        ahead = torch.randint(1, max(2, len(members)), (pairs,), generator=draws)
        chosen = (first, (first + ahead) % len(members))
        one, other = (pooled(images[members[rows]].float() / 127.5 - 1) for rows in chosen)
        spread.append((one - other).abs().mean(dim=(1, 2, 3)).quantile(0.25))
    return torch.stack(spread).clamp_min(1e-3)


def diversity_loss(one: Tensor, other: Tensor, spread: Tensor) -> Tensor:
    """How much more alike two made images of a class are than two training cells of it.

    Args:
        one: Made images, shape (b, 3, h, w).
        other: Images of the same classes from other latents.
        spread: Least distance of each pair, shape (b,), from `class_spread`.

    Returns:
        0 where pairs differ as most training cells do, 1 where they are the same.

    Source:
        After mode seeking (Mao et al., arXiv:1903.05628), bounded by the training cells' own
        spread, so that it has no say once that is reached.
    """
    distance = (pooled(one) - pooled(other)).abs().mean(dim=(1, 2, 3))
    return functional.relu(1 - distance / spread).mean()


def embedding_noise(counts: Tensor, scale: float) -> Tensor:
    """Standard deviation of the noise on each class's embedding: much for few cells.

    Args:
        counts: Training cells per class, shape (classes,), 1 or more.
        scale: σ, that of a class with one cell.

    Returns:
        σ (1 - α) / (1 - α^n), shape (classes,): σ over the effective number of cells.

    Source:
        NoisyTwins (Rangwani et al., arXiv:2304.05866), section 4.1.
    """
    return scale * (1 - EFFECTIVE) / (1 - EFFECTIVE ** counts.float())


def twins_loss(one: Tensor, other: Tensor) -> Tensor:
    """Styles of one latent under two noises of its class embedding: alike, and no entry redundant.

    Args:
        one: Styles, shape (n, d).
        other: Those of the same latents and classes under another noise.

    Returns:
        Σ_j (1 - C_jj)² + γ Σ_j Σ_{k≠j} C_jk² over d, C the cross-correlation of both over the n
        styles: 0 where each entry of a style is kept and says something of its own. A style that
        depends on its class alone is mostly noise here, and pays.

    Source:
        NoisyTwins, section 4.2, after Barlow Twins (Zbontar et al., arXiv:2103.03230, equations 1
        and 2); divided by d, so that a weight means the same for every size of the latent.
    """
    one, other = (
        (style - style.mean(dim=0)) / style.std(dim=0, correction=0).clamp_min(1e-6) for style in (one, other)
    )
    correlation = one.T @ other / len(one)  # (d, d)
    kept = correlation.diagonal()
    redundant = correlation.square().sum() - kept.square().sum()
    return ((1 - kept).square().sum() + REDUNDANCY * redundant) / len(kept)
