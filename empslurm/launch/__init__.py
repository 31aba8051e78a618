"""Run packs: profiles, submissions, Slurm arrays, notes that jobs leave for each other, retries after failures.

`node/` is what a job does on its node; `site/` finds out what a cluster is like. What to train and how to store it is
decided elsewhere: cells come from `plan`, their folders from `store`, and only the train processes import torch.
"""
