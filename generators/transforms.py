"""Augmentation whose parameters the network is told, so that it does not draw what they did.

Each transform is applied to some training images only. What was done to an image is a row of numbers,
all zero where nothing was; it enters the network beside the class. Images are drawn with zeros, that
is: as they come, undistorted.

Source:
    Karras et al., arXiv:2206.00364 ("EDM" below), appendix F.2; the transforms of color are those of
    Karras et al., arXiv:2006.06676, appendix B, all of which leave gray images gray.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional

from generators.augment import Symmetry
from runtime.seeds import Draws

LABELS = 8  # numbers that say what was done to an image
# Standard deviations, but for the turn, which is uniform.
SHIFT, SCALE, TURN = 0.125, 0.2, math.pi  # of the edge; log2; largest angle
BRIGHTNESS, CONTRAST, SATURATION = 0.1, 0.2, 0.4  # of the range [-1, 1]; log2; log2


class DescribedEmbedding(nn.Embedding):
    """A class embedding to which what was done to the image is added.

    Of classes alone it gives what the plain embedding gives: without `description` its weights are
    those of a plain one, and a trained network is a plain UNet.

    Args:
        plain: Whose weights it takes.
    """

    def __init__(self, plain: nn.Embedding) -> None:
        super().__init__(plain.num_embeddings, plain.embedding_dim, _weight=plain.weight.detach().clone())
        self.description = nn.Linear(LABELS, plain.embedding_dim, bias=False)  # 0 stays 0
        nn.init.zeros_(self.description.weight)

    def forward(self, labels: Tensor) -> Tensor:
        """Classes, int64 (b,), or `described` ones, float (b, 1 + LABELS), to (b, width)."""
        if labels.ndim == 1:
            return super().forward(labels)
        told: Tensor = self.description(labels[:, 1:])
        return super().forward(labels[:, 0].long()) + told


def described(labels: Tensor, done: Tensor) -> Tensor:
    """Classes and what was done to their images as one tensor.

    Args:
        labels: int64, shape (b,).
        done: Shape (b, LABELS).

    Returns:
        float32, shape (b, 1 + LABELS).
    """
    return torch.cat([labels[:, None].float(), done], dim=1)


def transformed(
    images: Tensor, draws: Draws, probability: float, symmetry: Symmetry
) -> tuple[Tensor, Tensor]:
    """Images under a random shift, scale, turn, brightness, contrast and saturation, and which.

    Args:
        images: In [-1, 1], shape (b, 3, h, h).
        draws: Randomness of these images.
        probability: In [0, 1): of each transform for each image.
        symmetry: Of the cells: what may not be quarter-turned (X-rays) is not turned at all.

    Returns:
        Images, of which those that nothing was done to are exactly as they were, and what was done:
        shapes (b, 3, h, h) and (b, LABELS).
    """
    chosen = (draws.uniform(6) < probability).float()  # shift, scale, brightness, contrast, saturation, turn
    spreads = draws.normal(6) * chosen[:, [0, 0, 1, 2, 3, 4]]
    angle = (2 * draws.uniform() - 1) * TURN * chosen[:, 5] * (symmetry == "dihedral")
    done = torch.cat([spreads, torch.stack([angle.cos() - 1, angle.sin()], dim=1)], dim=1).to(images.device)
    log_scale, brightness, contrast, saturation = done[:, 2:6].unbind(1)
    moved = _move(images, SHIFT * done[:, :2], (SCALE * log_scale).exp2(), angle.to(images.device))
    still = (done[:, [0, 1, 2, 6, 7]] == 0).all(1)[:, None, None, None]  # interpolation would blur these
    kept = torch.where(still, images, moved)
    return _relight(kept, BRIGHTNESS * brightness, CONTRAST * contrast, SATURATION * saturation), done


def _move(images: Tensor, shift: Tensor, scale: Tensor, angle: Tensor) -> Tensor:
    """Turned, scaled and shifted about the middle; what comes in from outside is mirrored."""
    cos, sin = angle.cos() / scale, angle.sin() / scale
    # grid_sample asks where each pixel comes from: the inverse of what is done.
    back = torch.stack([torch.stack([cos, sin], dim=1), torch.stack([-sin, cos], dim=1)], dim=1)
    offset = -(back * 2 * shift[:, None]).sum(2, keepdim=True)  # (b, 2, 1), in halves of the edge
    grid = functional.affine_grid(torch.cat([back, offset], dim=2), list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, padding_mode="reflection", align_corners=False)


def _relight(images: Tensor, brightness: Tensor, contrast: Tensor, saturation: Tensor) -> Tensor:
    """Colors away from gray, then contrast about mid gray, then brightness; a factor of 1 is exact."""
    gray = images.mean(dim=1, keepdim=True)
    images = images + (saturation.exp2() - 1)[:, None, None, None] * (images - gray)
    return images * contrast.exp2()[:, None, None, None] + brightness[:, None, None, None]
