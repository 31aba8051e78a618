"""Score texts with the adapters of finished cells, and publish them; `scorer.Scorer` is the way in for scripts.

Here belongs what uses adapters: choosing them, reading texts, one pass over all of them, model cards. Training them is
`train`, which also has the model.
"""
