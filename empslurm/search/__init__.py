"""Hyper-parameter searches: what their sampler draws, and what their results say. `train/trials.py` trains trials."""
