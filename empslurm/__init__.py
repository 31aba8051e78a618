"""Intermediate-task transfer studies with adapters, fanned out over Slurm."""

__version__ = "0.1.0"
