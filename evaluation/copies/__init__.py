"""Whether synthetic cells are copies of training cells."""
