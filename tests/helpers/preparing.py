"""How the tests of prepare.py call it."""

from collections.abc import Callable

Prepare = Callable[..., tuple[int, str, str]]  # words -> exit code, stdout, stderr
