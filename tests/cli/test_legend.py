"""Words that a stranger may not know are explained where they are printed, and only there."""

import json
from pathlib import Path

import pytest

from empslurm.store.runs import RunsRoot
from tests.cli.test_errors import call
from tests.store.cells import dead_claim, plant

TEXT = "name: small\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: tiny\npairs: {}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.delenv("EMPSLURM_RUNS", raising=False)
    return tmp_path


def explained(out: str) -> list[str]:
    return [word for word in ("pack", "wave", "lost") if f"{word}: " in out]


@pytest.mark.parametrize(("pairs", "words"), [("all_ordered", ["pack", "wave"]), ("none", ["pack"])])
def test_plan_explains_pack_and_wave(here: Path, pairs: str, words: list[str]) -> None:
    (here / "small.yaml").write_text(TEXT.format(pairs))
    status, out, _ = call("plan", "small.yaml")
    assert status == 0
    assert explained("\n".join(line for line in out.splitlines() if line.startswith("pack: "))) == words


def test_status_explains_lost_where_a_cell_is(here: Path) -> None:
    (here / "small.yaml").write_text(TEXT.format("none"))
    assert explained(call("status", "small.yaml")[1]) == []
    cell = json.loads(call("plan", "small.yaml", "--json")[1])["cells"][0]["id"]
    plant(RunsRoot(here / "runs").cell(cell), dead_claim())
    assert explained(call("status", "small.yaml")[1]) == ["lost"]
