"""Cells that train nothing: task embeddings from trained adapters, dataset embeddings from texts.

Here they are computed; how alike two of them are is `analysis.similarity`.
"""
