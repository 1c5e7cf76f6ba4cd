"""Where the trials of a study run: in this process, a pool of them, or a cluster."""
