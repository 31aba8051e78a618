"""Train cells, with torch: `run` takes claimed cells, `group` a pack of them, and `loop` is the training itself.

`data` makes batches of a task's examples, `model` is the frozen backbone with adapters and heads, `embeddings` are the
cells that train nothing. Which cells there are is said in `plan`, where a result lies in `store`, what runs when in
`launch`.
"""
