"""Weights for Inception where the real ones cannot be had: random, in the shape of the real file."""

from pathlib import Path
from unittest import mock

import torch
from torch_fidelity import feature_extractor_inceptionv3 as inception

from cells.phantom import CLASSES, phantoms


def random_weights(file: Path, each: int, edge: int) -> Path:
    """Write random weights, with batch norms that keep values in range.

    Args:
        file: Where to.
        each: Phantoms of each class that the batch norms see.
        edge: Of these, in pixels.
    """
    torch.manual_seed(0)
    with (
        mock.patch.object(inception, "load_state_dict_from_url", lambda *_, **__: {}),
        mock.patch.object(torch.nn.Module, "load_state_dict", lambda *_: None),
    ):
        network = inception.FeatureExtractorInceptionV3("random", ["2048"])
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None  # the statistics of all that was shown
    pixels = phantoms(dict.fromkeys(CLASSES, each), edge, 3).pixels
    network.train()
    with torch.no_grad():
        network(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy()))
    torch.save(network.state_dict(), file)
    return file
