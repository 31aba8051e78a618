"""Training: the only part that imports torch. `node` runs packs, `loop` trains one cell."""
