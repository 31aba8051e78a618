"""What people and files bring, as typed values with every problem told at once: YAML trees, stored JSON, tables.

Nothing here knows what a manifest, a cell or a dataset is.
"""
