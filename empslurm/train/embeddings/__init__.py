"""Cells that train nothing: task embeddings from trained adapters, dataset embeddings from texts.

Their similarity is computed in `analysis.similarity`.
"""
