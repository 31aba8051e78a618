"""Read input as typed values, with all problems at once: YAML written by people, stored JSON, tables.

Nothing here knows what a manifest, a cell or a dataset is.
"""
