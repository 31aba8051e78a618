"""Find out what a cluster is like, propose a profile for it, and test a profile with a probe job. Trains no cell."""
