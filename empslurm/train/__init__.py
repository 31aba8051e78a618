"""Training, the only part that imports torch: `node` runs packs, `loop` trains the cells of one, `bank` is their model."""
