"""What to run: the keys of a manifest, the patterns and presets in it, and the one frozen value that it means.

Where to run is a profile's matter (`launch/profile.py`); cells are made from a manifest in `plan.py`.
"""
