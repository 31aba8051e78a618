"""The study's statistics: arrays and small frozen values in, frozen results out, randomness passed in."""
