"""From a task's examples to batches: tokens, targets, rows. Models are in `model`, raw files and splits in `tasks`."""
