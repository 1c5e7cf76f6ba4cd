"""The features that cells are compared by: encoders, by one config key, and their cache."""
