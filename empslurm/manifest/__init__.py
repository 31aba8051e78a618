"""What to run: the keys of a manifest, its patterns and presets, and the frozen value that it resolves to.

Where to run is in profiles (`launch/profile.py`); cells are made from a manifest in `plan.py`.
"""
