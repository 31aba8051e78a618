"""From a task's examples to batches: tokens, targets, rows. No model in here; raw files and splits are `tasks`."""
