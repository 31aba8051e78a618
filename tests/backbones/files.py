"""Files in the place of a model's weights and vocabulary, for tests that load neither."""

from pathlib import Path

from safetensors.numpy import save


def weights(folder: Path, name: str = "") -> None:
    """Write whole weights without a tensor, of other bytes for each name."""
    (folder / "model.safetensors").write_bytes(save({}, metadata={"name": name}))


def vocabulary(folder: Path) -> None:
    """Write a vocabulary of one word."""
    (folder / "vocab.txt").write_text("the\n")


def weights_and_vocabulary(folder: Path, name: str = "") -> None:
    """Write both."""
    weights(folder, name)
    vocabulary(folder)
