"""What EDM's network is trained for: scalings, the denoiser, the loss and its class-balancing term.

Source:
    Karras et al., "Elucidating the Design Space of Diffusion-Based Generative Models",
    arXiv:2206.00364 ("EDM" below); Qin et al., "Class-Balancing Diffusion Models",
    arXiv:2305.00562 ("CBDM").
"""

from __future__ import annotations

from torch import Tensor, nn

COMMITMENT = 0.25  # CBDM's γ
BETA_MIN, BETA_RISE = 0.1, 19.9  # of DDPM's noise schedule in continuous time: EDM table 1, "VP"


def preconditioning(sigma: Tensor, sigma_data: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Scalings around the network, so that its input and target have unit variance at every σ.

    Args:
        sigma: Noise levels, any shape, positive.
        sigma_data: Standard deviation of clean images.

    Returns:
        c_skip, c_out, c_in, c_noise, each of the shape of `sigma`.

    Source:
        EDM, table 1, last column.
    """
    total = (sigma**2 + sigma_data**2).sqrt()
    return sigma_data**2 / total**2, sigma * sigma_data / total, 1 / total, sigma.log() / 4


def denoise(network: nn.Module, noisy: Tensor, sigma: Tensor, labels: Tensor, sigma_data: float) -> Tensor:
    """The clean images that the network expects behind noisy ones: D(x; σ), EDM equation 7.

    Args:
        network: Maps (scaled images, c_noise, labels) to images.
        noisy: Shape (b, 3, h, w).
        sigma: Shape (b,).
        labels: int64, shape (b,), the number of classes standing for "any"; or what
            `generators.transforms.described` makes of them.
        sigma_data: Standard deviation of clean images.
    """
    c_skip, c_out, c_in, c_noise = preconditioning(sigma, sigma_data)
    c_skip, c_out, c_in = (c[:, None, None, None] for c in (c_skip, c_out, c_in))
    output = network(c_in * noisy, c_noise, class_labels=labels).sample.float()  # (b, 3, h, w)
    return c_skip * noisy + c_out * output


def denoising_loss(
    network: nn.Module,
    images: Tensor,
    sigma: Tensor,
    eps: Tensor,
    labels: Tensor,
    sigma_data: float,
    rivals: Tensor | None = None,
    balancing: float = 0.0,
) -> Tensor:
    """Mean weighted squared error of the denoiser: EDM equation 2 with λ(σ) of table 1.

    Args:
        network: See `denoise`.
        images: Clean, in [-1, 1], shape (b, 3, h, w).
        sigma: Shape (b,).
        eps: Standard normal, shape of `images`.
        labels: See `denoise`.
        sigma_data: Standard deviation of clean images.
        rivals: Other labels of the same images, for the class-balancing term.
        balancing: Weight τ of that term (`balancing_error`); 0, or no rivals: without it.
    """
    noisy = images + sigma[:, None, None, None] * eps
    own = denoise(network, noisy, sigma, labels, sigma_data)
    loss = weighted_error(own, images, sigma, sigma_data).mean()
    if rivals is None or balancing == 0:
        return loss
    other = denoise(network, noisy, sigma, rivals, sigma_data)
    return loss + balancing * balancing_error(own, other, sigma, sigma_data).mean()


def weighted_error(one: Tensor, other: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """λ(σ) times the mean squared difference of images (b, 3, h, w) at noise levels (b,): shape (b,)."""
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * ((one - other) ** 2).mean(dim=(1, 2, 3))


def balancing_error(own: Tensor, other: Tensor, sigma: Tensor, sigma_data: float) -> Tensor:
    """What denoising as another class changes: small where classes may learn from each other.

    CBDM writes it of the predicted noise, t ‖ε(x, y) - sg ε(x, y')‖² + γ t ‖sg ε(x, y) - ε(x, y')‖²
    with sg for "no gradient", beside a loss that is the plain error of ε. Here both are errors of the
    denoised image under the same λ(σ), which leaves at each σ the share of the two that CBDM has.

    Args:
        own: Denoised as their own class, shape (b, 3, h, w).
        other: The same noisy images, denoised as a class y' drawn uniformly.
        sigma: Shape (b,).
        sigma_data: Standard deviation of clean images.

    Returns:
        Shape (b,), not negative.

    Source:
        CBDM, L_r and its commitment term L_rc, for uniform target classes.
    """
    pulled = weighted_error(own, other.detach(), sigma, sigma_data)
    committed = weighted_error(own.detach(), other, sigma, sigma_data)
    return noise_time(sigma) * (pulled + COMMITMENT * committed)


def noise_time(sigma: Tensor) -> Tensor:
    """The time t / T at which DDPM's chain has this noise, 0 without noise and 1 at σ = 152.

    Source:
        EDM table 1, "VP": σ(t) solved for t.
    """
    return ((BETA_MIN**2 + 2 * BETA_RISE * (1 + sigma**2).log()).sqrt() - BETA_MIN) / BETA_RISE
