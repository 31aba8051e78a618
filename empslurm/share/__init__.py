"""A study that others can open, check and add to: bundles, merged runs roots, rating sheets, a reviewer's check.

`study` is what all of them work on, whether it comes from a manifest or from a bundle. Computing is in `analysis`, the
tables and pages of a study in `report`.
"""
