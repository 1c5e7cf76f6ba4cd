"""What the smallest studies of the tests have in common."""

from typing import Any

FAST = {"network": "fast", "width": 4, "steps": 3, "batch": 8}
CELLS: dict[str, Any] = {
    "kind": "phantom",
    "image_size": 16,
    "counts": {"lobed": 24, "blast": 5},
    "val_per_class": 4,
    "test_per_class": 6,
}
ENCODER = {"kind": "domain", "classifier": FAST}
GAN = {"steps": 2, "batch": 4, "channels": [8, 16], "latent": 8}
UNFILTERED = {"min_probability": 0.0, "copies": False}  # curation that lets cells of two steps pass
