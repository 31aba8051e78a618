"""The lines of a model card give what `score` gives, also for a family that the library `adapters` lacks."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoTokenizer

from empslurm.backbones import resolve
from empslurm.config import Backbone
from empslurm.scoring import export, selection
from empslurm.scoring.quality import with_evidence
from empslurm.scoring.scorer import Scorer
from empslurm.store.runs import RunsRoot
from tests.project import create
from tests.train.model.encoders import random_encoder

MANIFEST = """\
name: small
tasks: [epitome_er, news_empathy]
pairs: [epitome_er -> news_empathy, news_empathy -> epitome_er]
seeds: [1]
backbone: ./model
adapter: {non_linearity: swish}
training: {epochs: 1, batch_size: 8, lr: 0.02, max_length: 24, max_train_examples: 32, max_eval_examples: 16}
"""


@pytest.mark.parametrize("model_type", ["mpnet", "modernbert"])
def test_the_cards_lines_give_the_same_in_plain_transformers(model_type: str, tmp_path: Path) -> None:
    model = tmp_path / "model"
    random_encoder(model_type, 2, vocab_size=30522).save_pretrained(model)
    AutoTokenizer.from_pretrained(resolve(Backbone(name="minilm")).path).save_pretrained(model)
    project = create(tmp_path, {"small": MANIFEST.replace("./model", "../model")})
    project.call("data", "sample")
    project.call("submit", "small", "--profile", "local")
    root = RunsRoot(tmp_path / "runs")
    chosen = selection.of_cells(root.cells(), root)
    export.export(chosen, with_evidence(chosen), tmp_path / "exported")
    scorer = Scorer.load(tmp_path / "exported")
    assert len(scorer.measures) == 4
    found = scorer.score(["a text"], contexts=[("an earlier turn",)])[0]["measures"]
    code = []
    for name in scorer.measures:
        (lines,) = re.findall(r"```python\n(.*?)```", (tmp_path / "exported" / name / "README.md").read_text(), re.S)
        lines = lines.replace("FOLDER OF THE BACKBONE", str(model))
        code += [lines.replace("FOLDER OF THIS CARD", str(tmp_path / "exported" / name)), "print(*logits[0].tolist())"]
    command = [sys.executable, "-W", "ignore", "-I", "-c", "\n".join(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for (name, measure), line in zip(scorer.measures.items(), done.stdout.splitlines(), strict=True):
        numbers = [float(number) for number in line.split()]
        if measure.kind == "regression":
            assert numbers[0] * measure.scale + measure.centre == pytest.approx(found[name]["value"], abs=1e-4)
        else:
            shares = list(found[name]["probabilities"].values())
            assert max(range(len(shares)), key=shares.__getitem__) == max(range(len(numbers)), key=numbers.__getitem__)
