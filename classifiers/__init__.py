"""Downstream networks: what synthetic cells are meant to make better."""
