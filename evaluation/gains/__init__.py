"""What the trials of a study show: gains, their intervals and tests, and the verdict."""
