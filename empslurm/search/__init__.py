"""Hyper-parameter searches: what their sampler draws, and what their results say. Training is `train/trials.py`."""
