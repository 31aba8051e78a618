"""What `prepare` cannot get or use is named and ends with 1; what does not need it goes on."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from empslurm.backbones import ResolvedBackbone, fetch
from empslurm.cli import prepare, submit
from empslurm.config import Backbone
from empslurm.errors import BackboneError
from empslurm.tasks.schema import PARTS
from tests.cli.test_errors import call

MANIFEST = "name: {name}\ntasks: [epitome_er]\nbackbone: {backbone}\n"
ENCODER = "someone/an-encoder"
AT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with the sample; making tokens takes no time."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EMPSLURM_RUNS", "runs")
    monkeypatch.setenv("EMPSLURM_DATA", "data")
    monkeypatch.setattr(prepare, "tokenise_all", tokens)
    (tmp_path / "two.yaml").write_text(MANIFEST.format(name="two", backbone="[tiny, minilm]"))
    embed = f"embed: {{encoder: {{name: {ENCODER}, revision: {AT}}}}}\n"
    (tmp_path / "embed.yaml").write_text(MANIFEST.format(name="embed", backbone="tiny") + embed)
    assert call("data", "sample")[0] == 0
    return tmp_path


def tokens(jobs: Any, prepared: Any, backbone: Backbone, *_: Any) -> dict[str, prepare.TokenCounts]:
    if backbone.name == "minilm":
        raise BackboneError("backbone minilm must have a tokenizer that loads, but it does not")
    n: dict[str, int] = dict.fromkeys(PARTS, 1000)
    made = prepare.TokenCounts(n_examples=3000, n=n, n_tokens=3000, n_truncated=0, folder="")
    return {job.task.id: made for job in jobs}


def test_a_bad_tokenizer_stops_only_its_own_backbone(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    status, out, err = call("prepare", "two.yaml", "--json")
    assert out, err
    ready = json.loads(out)
    assert (status, list(ready["backbones"])) == (1, ["tiny"])
    assert "must have a tokenizer that loads" in ready["not_here"]["minilm"]
    sent: list[Any] = []

    def run_here(plan: Any, wanted: Any, *_: Any) -> int:
        sent.extend(plan.label(cell) for cell in wanted)
        return 0

    monkeypatch.setattr(submit, "_run_here", run_here)
    status, _, said = call("submit", "two.yaml", "--profile", "local")
    assert (status, {*sent}) == (1, {"tiny"})
    assert f"{len(sent)} cells on minilm are left out: backbone minilm must have a tokenizer" in " ".join(said.split())


def test_where_no_tokenizer_works_it_is_an_error(here: Path) -> None:
    (here / "one.yaml").write_text(MANIFEST.format(name="one", backbone="minilm"))
    status, _, said = call("prepare", "one.yaml")
    assert status != 0
    assert "must have a tokenizer that loads" in " ".join(said.split())


@pytest.mark.parametrize("fetched", [True, False])
def test_the_encoder_of_embed_is_fetched_or_named(here: Path, monkeypatch: pytest.MonkeyPatch, fetched: bool) -> None:
    asked: list[str] = []

    def fetched_or_not(backbone: Backbone) -> Path:
        if backbone.name != ENCODER:
            return fetch(backbone)
        asked.append(backbone.name)
        if not fetched:
            raise BackboneError(f"backbone {ENCODER} could not be fetched")
        return here

    def resolve_encoder(backbone: Backbone) -> ResolvedBackbone:
        absent = ResolvedBackbone(backbone=backbone, digest="d", path=None, problem="run `empslurm prepare`")
        return replace(absent, path=here, problem="") if asked and fetched else absent

    monkeypatch.setattr(prepare, "fetch", fetched_or_not)
    monkeypatch.setattr(prepare, "resolve_encoder", resolve_encoder)
    status, out, err = call("prepare", "embed.yaml", "--json")
    assert asked == [ENCODER], err
    assert status == (0 if fetched else 1)
    assert json.loads(out)["not_here"] == ({} if fetched else {"encoder": f"backbone {ENCODER} could not be fetched"})
