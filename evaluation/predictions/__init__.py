"""Labels for new images: the table and the page of `predict.py`."""
