"""Dataset embeddings: the mean sentence embedding of a task's texts (Poth et al. 2021; Reimers and Gurevych 2019)."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from empslurm.backbones import encoder_files, tokenizer_files
from empslurm.errors import BackboneError
from empslurm.tasks.prepare import TaskTable
from empslurm.train.data.tokenizer import class_problem, keep_to_file

CHUNK = 4_096  # texts encoded at a time, so that memory stays flat


def load_encoder(folder: Path, device: Any) -> Any:
    """A sentence-transformers model from local files, checked before the library sees them. Raises BackboneError."""
    family, _ = encoder_files.read(folder)
    settings = tokenizer_files.read(folder)
    problem = class_problem(settings)
    if problem:
        must, but = problem
        raise BackboneError(
            f"{folder} must have a tokenizer that {must}, but {but}; name another encoder in the manifest"
        )
    from sentence_transformers import SentenceTransformer

    try:
        encoder = SentenceTransformer(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True, "dtype": "float32"},  # some are stored in half precision
        )
        if encoder.tokenizer.is_fast:
            keep_to_file(encoder.tokenizer, folder, family, settings)
        return encoder
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        raise BackboneError(
            f"{folder} must hold a sentence-transformers model, but does not load: {str(error).splitlines()[0]}; name "
            "another encoder in the manifest"
        ) from error


def chosen(table: TaskTable, max_examples: int | None) -> list[int]:
    """Rows of the examples to embed, each example once: all, or the first `max_examples` by a hash of their ids."""
    rows = list({example: row for row, example in enumerate(table.ids)}.values())
    if max_examples is None or max_examples >= len(rows):
        return rows
    return sorted(rows, key=lambda row: hashlib.sha256(f"embed:{table.ids[row]}".encode()).digest())[:max_examples]


def mean_embedding(encoder: Any, table: TaskTable, max_examples: int | None) -> NDArray[np.float32]:
    """(n_dimensions,): the mean over texts of their unit-length embeddings."""
    rows = chosen(table, max_examples)
    total = np.zeros(encoder.get_embedding_dimension(), np.float64)
    for start in range(0, len(rows), CHUNK):
        texts = [table.texts[row] for row in rows[start : start + CHUNK]]
        total += encoder.encode(texts, normalize_embeddings=True, show_progress_bar=False).sum(0, dtype=np.float64)
    return (total / len(rows)).astype(np.float32)
