"""Two folders of images scored against each other: settings, figures and the page of `evaluate.py`."""
