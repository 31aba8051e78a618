"""A cell kind is a class and an entry of `KINDS`, a planner, and a runner; no id of another kind moves."""

import json
from pathlib import Path

from tests.extension.tree import copy_of_tree

CLASS = '''@dataclass(frozen=True, kw_only=True)
class WordCount(Cell):
    """How many words the texts of `target` have."""

    kind = "words"
    at_most: Annotated[int, Range(low=1)]  # texts that are counted


'''
ENTRY = "Kind(cell=WordCount),\n        "
PLANNER = """def _word_counts(grid: Grid) -> Iterator[Cell]:
    for task in grid.manifest.tasks:
        yield WordCount.like(grid.baseline(task, grid.manifest.seeds[0]), seed=0, at_most=5)


"""
RUNNER = '''def count_words(cell: WordCount, node: Node, _: Path | None) -> Derived:
    """The number of words of each text, by the name `words`."""
    table = load_task(node.examples(cell), node.registry.tasks[cell.target], cell.data.use, cell.data.labels)
    counts = np.array([len(text.split()) for text in table.texts[: cell.at_most]], np.float32)
    return {"words": counts}, {"n_examples": len(counts)}


'''
MANIFEST = "name: counted\ntasks: [epitome_er]\npairs: none\nseeds: [1]\nbackbone: tiny\ntraining: {epochs: 1}\n"
IDS = """
from empslurm.manifest.load import load_manifest
from empslurm.plan import Inputs, Known, expand

manifest = load_manifest("manifests/full_study.yaml")
known = dict.fromkeys(manifest.backbones, Known(digest="weights"))
inputs = Inputs(raw=dict.fromkeys(manifest.data, "raw"), missing={}, notes={}, backbones=known)
print(*(cell.id for cell in expand(manifest, inputs).cells))
"""
ROOTS = ("--data", "data", "--runs", "runs")


def test_a_kind_is_planned_run_verified_and_gathered(tmp_path: Path) -> None:
    tree = copy_of_tree(tmp_path / "tree")
    before = set(tree.python(IDS).split())
    tree.insert("empslurm/cells.py", "@dataclass(frozen=True, kw_only=True)\nclass TrialCell(Cell):", CLASS)
    tree.insert("empslurm/cells.py", "Kind(cell=TrialCell", ENTRY)
    tree.insert("empslurm/plan.py", "# Every planner adds", PLANNER)
    tree.insert("empslurm/plan.py", "_embeddings)\n", "_word_counts, ")
    tree.insert("empslurm/plan.py", "    Transfer,\n", "    WordCount,\n")
    tree.insert("empslurm/train/embeddings/run.py", "def save(", RUNNER)
    tree.insert(
        "empslurm/train/embeddings/run.py", "from empslurm.store.cell_folder", "from empslurm.cells import WordCount\n"
    )
    tree.insert(
        "empslurm/train/run.py", '    "trial": train_trials,', '    "words": partial(derive_members, count_words),\n'
    )
    tree.insert("empslurm/train/run.py", "dataset_embedding, derive_members", "count_words, ")
    tree.write("manifests/counted.yaml", MANIFEST)

    after = set(tree.python(IDS).split())
    assert before < after
    assert {cell.split("-")[-2] for cell in after - before} == {"words"}
    tree.verb(*ROOTS, "data", "sample")
    planned = json.loads(tree.verb(*ROOTS, "plan", "counted", "--json"))
    assert planned["kinds"] == {"baseline": 1, "words": 1}
    tree.verb(*ROOTS, "submit", "counted", "--profile", "local")
    (folder,) = tree.path.glob("runs/cells/epitome_er-s0-words-*")
    assert json.loads((folder / "cell.json").read_text())["at_most"] == 5
    assert json.loads((folder / "result.json").read_text())["n_examples"] == 5
    again = json.loads(tree.verb(*ROOTS, "plan", "counted", "--json"))
    assert again["actions"] == {"reuse": 2}
    gathered = json.loads(tree.verb(*ROOTS, "gather", "counted", "--json"))
    assert (gathered["n_done"], gathered["missing"]) == (2, []), gathered.keys()
