"""Near duplicates: the same image turned, flipped, cropped a little, relit or saved again.

Three sieves, each finer and over fewer pairs (docs/results/near_duplicates.md says what they cost;
the tree of the first visits most points at 24 components, so time grows with the square of n):

1. Thumbnails are reduced to numbers that no symmetry of the square changes. The nearest neighbors
   by these are the candidates; as one image may be a crop of the other, each image also asks with
   its middle part.
2. In the best of the eight orientations the thumbnails must agree.
3. Shift and scale are fitted, and what is left when light and coarse shape are taken away
   (chromatin, granules, outline) must agree: cells of a class share the shape, not the detail.
"""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.spatial import cKDTree
from torch import Tensor
from torch.nn.functional import grid_sample

from cells.cellset import CellSet
from cells.mapped import release
from runtime.devices import with_denormals
from runtime.progress import progress

Floats = NDArray[np.float32]
Rows = NDArray[np.int64]

SMALLEST_SIZE = 16  # pixels; smaller cells have no detail to be told apart by
KEPT = (1.0, 0.96, 0.92)  # shares of the edge that a crop may have left
THUMBNAIL = 8  # edge in pixels
THUMBNAIL_AGREEMENT = 0.91
COMPONENTS = 24  # of the invariants, in which neighbors are searched
NEIGHBORS = 5
SLACK = 2.0  # a neighbor may be missed for one up to 1 + SLACK times as far; a copy has none so near
SAMPLE = 4_000  # images that the components are computed from
DETAIL_SIZE = 32  # edge in pixels at which details are compared
DETAIL_AGREEMENT = 0.96
FINE, COARSE = 0.02, 0.07  # scales of detail, in image widths
FITTING_STEPS = 5
FARTHEST = 0.12  # how far a fit may go, in half edges
LOWEST_CONTRAST = 2.0  # gray levels; flatter images are not stretched to noise
BLOCK = 256  # images at a time
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


class NearDuplicate(NamedTuple):
    """Two rows that show the same image; `agreement` is the correlation of their details."""

    first: int
    second: int
    agreement: float


def near_duplicates(cells: CellSet) -> list[NearDuplicate]:
    """Pairs of cells that are the same image up to small changes; those with equal pixels aside.

    Found are quarter turns and flips, also with a crop of up to 8 % of the edge, another brightness
    and contrast, or another lossy encoding. Of cells with equal pixels only the first takes part. An
    image with many copies is paired with the nearest of them, which are paired with others.

    Args:
        cells: Of at least 16 px; among smaller ones none are found.

    Returns:
        Pairs of rows, first < second, in ascending order.
    """
    _, rows = np.unique(cells.digests.astype(str), return_index=True)
    rows = np.sort(rows).astype(np.int64)
    if cells.image_size < SMALLEST_SIZE or len(rows) < 2:
        return []
    best: dict[tuple[int, int], float] = {}
    for asked, found, agreement in _agreeing(cells.pixels, rows):
        for one, other, value in zip(asked.tolist(), found.tolist(), agreement.tolist(), strict=True):
            pair = (min(one, other), max(one, other))
            best[pair] = max(value, best.get(pair, 0.0))
    return [NearDuplicate(*pair, round(best[pair], 4)) for pair in sorted(best)]


def _agreeing(pixels: NDArray[np.uint8], rows: Rows) -> Iterator[tuple[Rows, Rows, Floats]]:
    """Pairs of rows that pass all three sieves, a block of rows at a time."""
    thumbnails = np.empty((len(rows), THUMBNAIL, THUMBNAIL, 3), np.float32)
    for block in _blocks(np.arange(len(rows))):
        thumbnails[block] = _thumbnails(pixels[rows[block]], 1.0)
        release(pixels)
    mean, axes = _principal_axes(thumbnails)
    places = np.concatenate([(_invariants(block) - mean) @ axes for block in _blocks(thumbnails)])
    with with_denormals():
        tree = cKDTree(places)
    neighbors = min(NEIGHBORS + 1, len(rows))  # the nearest is the image itself
    # The invariants of two thumbnails are at least as near as the thumbnails in their best orientation.
    reach = np.sqrt(2 - 2 * THUMBNAIL_AGREEMENT)
    with progress(len(rows), "comparing images") as bar:
        for block in _blocks(np.arange(len(rows))):
            for kept in KEPT:
                questions = _thumbnails(pixels[rows[block]], kept)
                points = (_invariants(questions) - mean) @ axes
                _, near = tree.query(points, neighbors, eps=SLACK, distance_upper_bound=reach)
                i, j = np.repeat(np.arange(len(block)), neighbors), near.reshape(-1)
                there = (j < len(rows)) & (j != block[i])
                i, j = i[there], j[there]
                agreement, orientation = _best_orientation(questions[i], thumbnails[j])
                alike = agreement >= THUMBNAIL_AGREEMENT
                asked, found = rows[block[i[alike]]], rows[j[alike]]
                fitted = _fitted(pixels, asked, found, orientation[alike], kept)
                same = fitted >= DETAIL_AGREEMENT
                yield asked[same], found[same], fitted[same]
            release(pixels)
            bar.update(len(block))


def _blocks(column: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (column[start : start + BLOCK] for start in range(0, len(column), BLOCK))


# ------------------------------------------------------------------------ thumbnails, as they are


def _thumbnails(images: NDArray[np.uint8], kept: float) -> Floats:
    """The middle of each image, small: uint8 (n, h, w, 3) to (n, 8, 8, 3) of mean 0 and length 1."""
    weights = _area_weights(images.shape[1], THUMBNAIL, kept)  # (8, h)
    small = np.einsum("ah,nhwc,bw->nabc", weights, images.astype(np.float32), weights, optimize=True)
    small -= small.mean(axis=(1, 2, 3), keepdims=True)
    length = np.sqrt((small**2).sum(axis=(1, 2, 3), keepdims=True))
    lowest = LOWEST_CONTRAST * np.sqrt(small.shape[1:]).prod()
    return np.asarray(small / np.maximum(length, lowest), np.float32)


def _area_weights(size: int, bins: int, kept: float = 1.0) -> Floats:
    """What each pixel of an edge gives to each bin over its middle part, shape (bins, size)."""
    edges = size * (0.5 + kept * (np.arange(bins + 1) / bins - 0.5))
    pixel = np.arange(size)
    shared = np.minimum(edges[1:, None], pixel + 1) - np.maximum(edges[:-1, None], pixel)
    shared = shared.clip(0)
    return (shared / shared.sum(axis=1, keepdims=True)).astype(np.float32)


def _oriented(images: NDArray[Any], orientation: int) -> NDArray[Any]:
    """One of the eight symmetries of the square: bits for two flips, then a transposition."""
    images = images[:, ::-1] if orientation & 1 else images
    images = images[:, :, ::-1] if orientation & 2 else images
    return images.swapaxes(1, 2) if orientation & 4 else images  # (n, h, w, ...)


def _best_orientation(asked: Floats, found: Floats) -> tuple[Floats, Rows]:
    """The highest correlation over the orientations of `found`, and which it is; shapes (n,)."""
    flat = asked.reshape(len(asked), np.prod(asked.shape[1:]))
    turned = (_oriented(found, which).reshape(flat.shape) for which in range(8))
    correlations = np.stack([np.einsum("nd,nd->n", flat, image) for image in turned])  # (8, n)
    return correlations.max(axis=0), correlations.argmax(axis=0)


# ------------------------------------------------------------------------ thumbnails, whichever way up


def _invariants(thumbnails: Floats) -> Floats:
    """What the symmetries of the square leave alone, (n, 8, 8, 3) to (n, 240).

    These are the lengths of the parts in the irreducible representations of the group D4 (Serre,
    Linear Representations of Finite Groups, sections 2.6 and 5.3): four of dimension one, in which
    a symmetry changes at most the sign, and one of dimension two.
    """
    turned = [_oriented(thumbnails, which) for which in range(8)]
    parts = []
    for flipped, transposed in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
        signs = [flipped ** (s & 1) * flipped ** (s >> 1 & 1) * transposed ** (s >> 2) for s in range(8)]
        part = sum(sign * image for sign, image in zip(signs, turned, strict=True)) / 8
        parts.append(part if flipped == transposed == 1 else np.abs(part))
    odd = [(image - _oriented(image, 3)) / 2 for image in turned]
    parts.append(np.sqrt(sum(image**2 for image in odd) / 8))
    half = THUMBNAIL // 2  # the four quadrants of each part are alike
    return np.concatenate([2 * part[:, :half, :half].reshape(len(part), -1) for part in parts], axis=1)


def _principal_axes(thumbnails: Floats) -> tuple[Floats, Floats]:
    """Mean of the invariants and their main directions, shapes (240,) and (240, 24)."""
    sample = _invariants(thumbnails[:: max(1, len(thumbnails) // SAMPLE)])
    mean = sample.mean(axis=0)
    _, axes = np.linalg.eigh((sample - mean).T @ (sample - mean))
    return mean, axes[:, -COMPONENTS:]


# ------------------------------------------------------------------------ details


def _fitted(pixels: NDArray[np.uint8], asked: Rows, found: Rows, orientation: Rows, kept: float) -> Floats:
    """How well the details of each pair agree once shift and scale are fitted, shape (n,)."""
    if not len(asked):
        return np.zeros(0, np.float32)
    details = _details(pixels[found])
    for which in range(8):
        these = orientation == which
        details[these] = _oriented(details[these], which)
    return _aligned(torch.from_numpy(_details(pixels[asked])), torch.from_numpy(details), kept).numpy()


def _details(images: NDArray[np.uint8]) -> Floats:
    """Gray images without light and coarse shape, uint8 (n, h, w, 3) to (n, v, v), v at most 32."""
    size = images.shape[1]
    edge = min(size, DETAIL_SIZE)
    weights = _area_weights(size, edge)
    gray = weights @ (images @ LUMINANCE) @ weights.T  # (n, v, v)
    fine, coarse = (_gaussian(edge, scale * edge) for scale in (FINE, COARSE))
    return np.asarray(fine @ gray @ fine.T - coarse @ gray @ coarse.T, np.float32)


def _gaussian(size: int, scale: float) -> Floats:
    """A blur along one edge as a matrix, shape (size, size)."""
    place = np.arange(size)
    weights = np.exp(-(((place[:, None] - place) / scale) ** 2) / 2)
    return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)


def _aligned(asked: Tensor, found: Tensor, kept: float) -> Tensor:
    """The highest correlation while `asked` is moved onto `found`, shapes (n, v, v), (n, v, v), (n,).

    Gauss-Newton steps in shift, scale and contrast: Lucas and Kanade, IJCAI 1981, section 4.
    """
    count, edge = asked.shape[:2]
    margin = max(1, edge // 12)
    inside = slice(margin, edge - margin)
    place = torch.tensor([kept, 0.0, 0.0]).repeat(count, 1)  # scale, right, down, in half edges
    axis = (torch.arange(edge) + 0.5) * (2 / edge) - 1  # (v,)
    best = torch.full((count,), -1.0)
    for _ in range(FITTING_STEPS):
        moved = _moved(asked, place, axis)
        best = torch.maximum(best, _correlation(moved[:, inside, inside], found[:, inside, inside]))
        down, right = torch.gradient(moved, spacing=2 / edge, dim=(1, 2))
        columns = torch.stack([moved, axis * right + axis[:, None] * down, right, down], dim=3)
        columns = columns[:, inside, inside].flatten(1, 2)  # (n, pixels, 4)
        normal = columns.mT @ columns
        ridge = 1e-4 * normal.diagonal(dim1=1, dim2=2).mean(dim=1) + 1e-6  # (n,)
        target = columns.mT @ found[:, inside, inside].flatten(1)[..., None]
        step = torch.linalg.solve(normal + ridge[:, None, None] * torch.eye(4), target)[..., 0]  # (n, 4)
        change = (step[:, 1:] / step[:, :1].clamp(min=0.1)).clamp(-FARTHEST / 2, FARTHEST / 2)
        place = place + place[:, :1] * change
        start = torch.tensor([1.0, 0.0, 0.0])
        place = place.clamp(start - FARTHEST, start + FARTHEST)
    return best


def _moved(images: Tensor, place: Tensor, axis: Tensor) -> Tensor:
    """Images read at scaled and shifted places, (n, v, v) to (n, v, v)."""
    scale, right, down = place[:, :, None].unbind(1)  # (n, 1)
    x, y = scale * axis + right, scale * axis + down  # (n, v)
    grid = torch.stack(
        [x[:, None, :].expand(-1, len(axis), -1), y[:, :, None].expand(-1, -1, len(axis))], dim=3
    )
    read = grid_sample(images[:, None], grid, padding_mode="border", align_corners=False)
    return read[:, 0]


def _correlation(one: Tensor, other: Tensor) -> Tensor:
    """Pearson's, of each pair, shapes (n, v, v) to (n,)."""
    one, other = (part.flatten(1) - part.flatten(1).mean(dim=1, keepdim=True) for part in (one, other))
    return (one * other).sum(dim=1) / (one.norm(dim=1) * other.norm(dim=1)).clamp(min=1e-6)
