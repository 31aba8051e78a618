"""The study's statistics, as functions of arrays: frozen results, with any random generator as an argument.

Nothing here reads a file, the registry of tasks or the runs root; `report` reads them and calls these functions.
"""
