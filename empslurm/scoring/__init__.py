"""Score texts with the adapters of finished cells, and export these adapters. Scripts start from `scorer.Scorer`.

This package uses adapters: it chooses them, reads texts, runs all adapters in one pass, and writes model cards. `train`
trains them, and has the model.
"""
