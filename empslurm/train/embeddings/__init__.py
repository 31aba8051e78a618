"""Cells that train nothing: task embeddings from trained adapters, dataset embeddings from texts."""
