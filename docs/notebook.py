# %% [markdown]
# From a runs root to a figure. Run it cell by cell in an editor, as a notebook with jupytext, or whole: `python
# docs/notebook.py`. By default it reads what `make demo` made.

# %%
import os
from collections import Counter

from matplotlib.figure import Figure

import empslurm

MANIFEST = os.environ.get("EMPSLURM_MANIFEST", "demo")  # a name in manifests/, or a path
RUNS = os.environ.get("EMPSLURM_RUNS", "demo/runs")
DATA = os.environ.get("EMPSLURM_DATA", "demo/data")
FIGURE = os.environ.get("EMPSLURM_FIGURE", "changes.pdf")

# %% [markdown]
# How much of the study is there?

# %%
manifest = empslurm.load_manifest(MANIFEST)
states = empslurm.status(manifest, runs=RUNS, data=DATA)
print(Counter(state.state for state in states.values()))

# %% [markdown]
# Verify the results and analyse them, as `empslurm gather` does. Tables are data frames at full precision.

# %%
study = empslurm.gathered(manifest, runs=RUNS, data=DATA)
verdicts = study.frame("verdicts").sort_values(["target", "difference"])
print(verdicts[["source", "target", "verdict", "baseline", "difference", "low", "high"]].to_string(index=False))

# %% [markdown]
# A figure of your own: each pair's change with its 95 % interval.

# %%
COLOURS = {"helps": "#2166ac", "harms": "#b35806"}
figure = Figure(figsize=(7, 0.35 * len(verdicts) + 1), layout="constrained")
axes = figure.add_subplot(xlabel="change in the target's metric")
for row, pair in enumerate(verdicts.itertuples()):
    colour = COLOURS.get(pair.verdict, "#777777")
    axes.plot([pair.low, pair.high], [row, row], color=colour)
    axes.plot(pair.difference, row, marker="o", color=colour)
axes.set_yticks(range(len(verdicts)), verdicts["source"] + " → " + verdicts["target"])
axes.axvline(0, color="#777777", linewidth=0.8)
figure.savefig(FIGURE)
print(f"wrote {FIGURE}")

# %% [markdown]
# The figures of the page are there, too: `study.figures` has their names.

# %%
overview = study.figure("overview")
