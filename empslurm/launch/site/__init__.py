"""What a cluster is like: what it says of itself, a profile for it, and the probe that tries one. Runs no cell."""
