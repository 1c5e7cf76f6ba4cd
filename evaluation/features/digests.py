"""What identifies a network: its weights."""

import hashlib

from torch import nn


def network_digest(network: nn.Module) -> str:
    """16 hex digits over the names and values of all weights and buffers, wherever they lie."""
    total = hashlib.sha256()
    for name, tensor in sorted(network.state_dict().items()):
        total.update(name.encode())
        total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return total.hexdigest()[:16]
