import pytest

from runtime.progress import duration


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.2, "less than a second"),
        (40.4, "about 40 s"),
        (1500, "about 25 min"),
        (12600, "about 3.5 h"),
    ],
)
def test_times_are_said_as_exactly_as_they_are_known(seconds: float, words: str) -> None:
    assert duration(seconds) == words
