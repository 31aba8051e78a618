"""A small invented corpus in the datasets' own raw formats: seeded, with a planted truth and no real sentence.

This package holds what `data sample` writes: the story (`story.py`), each dataset's version of it (`corpora.py`), and
which task helps or harms which by construction (`truth.py`). Nothing here reads data or trains.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

from empslurm import files
from empslurm.errors import DataError
from empslurm.tasks.raw import SAMPLE_NOTE, SampleNote, sample_sums
from empslurm.tasks.sample.corpora import MAKERS
from empslurm.tasks.sample.story import Writer
from empslurm.tasks.sample.truth import truth_files


def write_sample(data_root: Path, seed: int = 1) -> list[Path]:
    """Write the corpus and its truth; the same seed gives the same bytes.

    Raises DataError where other files are in the folder.
    """
    _only_ours(data_root)
    texts = {
        f"{folder}/{name}": text for folder, make in MAKERS.items() for name, text in make(Writer(seed, folder)).items()
    }
    sums: dict[str, str] = {}
    for name, text in (texts | truth_files(seed)).items():
        files.write_text(data_root / name, text)
        sums[name] = files.sha256_bytes(text.encode())
    note = SampleNote(seed=seed, what="an invented corpus of empslurm, no real data", files=sums)
    files.write_json(data_root / SAMPLE_NOTE, asdict(note))
    return [data_root / name for name in sums]


def _only_ours(data_root: Path) -> None:
    """Raise DataError where anything but an unchanged earlier sample is there: no other file is replaced."""
    known = sample_sums(data_root)
    for path in sorted(data_root.rglob("*")) if data_root.exists() else ():
        name = path.relative_to(data_root).as_posix()
        ours = path.is_dir() or name == SAMPLE_NOTE or (name in known and files.sha256_file(path) == known[name])
        if path.is_symlink() or not ours:
            raise DataError(
                f"{data_root} must be empty for the invented corpus, but holds {name}; name another folder with --data"
            )
