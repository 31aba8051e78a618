"""The study's statistics: arrays and small frozen values in, frozen results out, randomness passed in.

Nothing here reads a file or asks the registry of tasks or the runs root; `report` does, and runs these.
"""
