"""Train cells, with torch: `run` takes claimed cells, `group` a pack of them, and `loop` is the training itself.

`data` makes batches of a task's examples, `model` is the frozen backbone with adapters and heads, `embeddings` computes
the cells that train nothing. `plan` defines the cells, `store` the paths of results, `launch` what runs when.
"""
