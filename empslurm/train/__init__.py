"""Training, the only part that imports torch: `node` runs packs, `loop` trains a pack, `bank` is its model."""
