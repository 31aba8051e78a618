"""doctor with a profile: what is wrong use, what the answer looks like, and its JSON."""

import json
from pathlib import Path
from typing import Any

import pytest

from empslurm import api, provenance
from empslurm.cli import doctor
from empslurm.launch.site import openness
from tests.backbones.files import weights_and_vocabulary
from tests.backbones.real import REAL
from tests.cli.test_errors import call, problems

SLURM = "kind: slurm\npartition: gpu\ntime: 60\n"
REFUSES = "#!/bin/sh\ncat > /dev/null\necho 'allocation failure: Invalid qos specification' >&2\nexit 1\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project with a local and a slurm profile and stand-ins for Slurm's commands, of which sbatch refuses."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("EMPSLURM_RUNS", raising=False)
    monkeypatch.delenv("EMPSLURM_DATA", raising=False)
    for name, text in {"local": "kind: local\n", "mine": SLURM, "broken": "kind: slurm\ntime: long\n"}.items():
        path = tmp_path / "slurm" / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    tools = {"sbatch": REFUSES, **dict.fromkeys(("srun", "squeue", "scontrol"), "#!/bin/sh\n")}
    for name, text in tools.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    for name in ("_packages", "_device"):
        monkeypatch.setattr(doctor, name, lambda: iter(()))
    return tmp_path


def answer(*words: str, expect: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The JSON document, and its checks by name."""
    status, out, err = call("doctor", *words, "--json")
    assert status == expect, (out, err)
    value = json.loads(out)
    assert value["ok"] is (expect == 0)
    return value, {check["what"]: check for check in value["checks"]}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--probe",), "add --profile NAME"),
        (("--profile", "local", "--probe"), "local is local"),
        (("--profile", "absent"), "known: broken, debug, example-multi-gpu"),
        (("--profile", "broken"), "time"),
        (("--profile", "mine", "--probe", "--wait", "0"), "above 0 minutes"),
        (("--profile", "mine", "--probe", "--wait", "nan"), "above 0 minutes"),
    ],
)
def test_wrong_use_is_a_sentence_and_status_2(here: Path, words: tuple[str, ...], said: str) -> None:
    assert any(said in sentence for sentence in problems("doctor", *words, expect=2))


def test_without_a_profile_it_looks_at_this_machine_and_the_answer_comes_first(here: Path) -> None:
    value, checks = answer(expect=0)
    assert "profile" not in value
    assert checks["privacy"]["ok"] is True
    status, out, _ = call("doctor")
    assert status == 0
    assert out.startswith("ready: ")
    assert not (here / "runs").exists()


@pytest.mark.parametrize(
    ("versions", "ok", "found"),
    [
        ({"numpy": "2.4", "adapters": "1.3.0"}, {"packages": True, "adapters": True}, "1.3.0: every kind"),
        ({"numpy": "2.4", "adapters": "1.2.0"}, {"packages": True, "adapters": False}, "1.2.0"),
        ({"numpy": "2.4"}, {"packages": True, "adapters": None}, "not installed: seq_bn works, the kinds double_"),
        ({"adapters": "1.3.0"}, {"numpy": False, "packages": True, "adapters": True}, "1.3.0: every kind"),
    ],
)
def test_the_library_of_other_kinds_of_adapters_is_no_problem_where_it_is_missing(
    versions: dict[str, str], ok: dict[str, bool | None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    required = ["numpy>=2", 'adapters<1.4,>=1.3; extra == "adapters"', 'pytest; extra == "dev"']
    monkeypatch.setattr("importlib.metadata.requires", lambda name: required)
    monkeypatch.setattr(provenance, "version", versions.get)
    monkeypatch.setattr(provenance, "installed", versions.__contains__)
    checks = {check.what: check for check in doctor._packages()}
    assert {what: check.ok for what, check in checks.items()} == ok
    assert checks["adapters"].found.startswith(found)


def test_a_local_profile_says_what_it_would_use(here: Path) -> None:
    value, checks = answer("--profile", "local", expect=0)
    assert value["profile"] == "local"
    assert "trains on this machine" in checks["profile local"]["found"]


def test_a_refusal_of_sbatch_is_a_problem_and_no_probe_is_sent(here: Path) -> None:
    value, checks = answer("--profile", "mine", "--probe", expect=1)
    assert "`qos`" in checks["profile mine: sbatch"]["fix"]
    assert "mine.yaml" in checks["profile mine: sbatch"]["fix"]
    assert checks["probe: job"]["ok"] is None
    assert value["probe"] is None
    assert not (here / "runs").exists()
    status, out, _ = call("doctor", "--profile", "mine")
    assert status == 1
    assert out.startswith("1 problem: profile mine: sbatch")


def test_a_probe_that_sbatch_refuses_after_all_is_a_check_too(here: Path) -> None:
    text = REFUSES.replace("cat > /dev/null", '[ "$2" != --test-only ] || { cat > /dev/null; exit 0; }')
    (here / "bin" / "sbatch").write_text(text)
    value, checks = answer("--profile", "mine", "--probe", expect=1)
    assert checks["profile mine: sbatch"]["ok"] is True
    assert "Invalid qos specification" in checks["probe: job"]["found"]
    assert "`qos`" in checks["probe: job"]["fix"]
    assert value["probe"] is None
    assert not (here / "runs" / "probes").exists()


def test_files_that_others_can_read_are_a_problem_with_the_command_that_closes_them(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = here / "runs" / "prepared" / "texts.jsonl"
    path.parent.mkdir(parents=True)
    path.write_text("said in confidence")
    path.chmod(0o644)
    path.parent.chmod(0o755)
    path.parents[1].chmod(0o755)
    assert answer(expect=0)[1]["privacy"]["ok"] is True  # nobody else may enter the folder of this test
    real, outside = openness._lets_pass, {here, *here.parents}
    monkeypatch.setattr(openness, "_lets_pass", lambda folder: folder in outside or real(folder))
    _, checks = answer(expect=1)
    assert "can read 1 file below" in checks["privacy"]["found"]
    assert checks["privacy"]["fix"] == "run `chmod -R o-rwx runs`"


# ---- what a manifest or a card needs ---------------------------------------------------------------------------------

CARD = """id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, label: mood}
kind: classification
labels: [up, down]
data_source: invented
language_setting: conversation
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""


@pytest.fixture
def kites(here: Path) -> Path:
    """A card, a manifest that uses it, and one whose backbone is not there."""
    (here / "kites.yaml").write_text(CARD)
    text = "name: {}\ncards: [kites.yaml]\ntasks: [kite_mood]\nseeds: [1]\nbackbone: {}\n"
    (here / "sound.yaml").write_text(text.format("sound", "tiny"))
    (here / "lacking.yaml").write_text(text.format("lacking", "./nowhere"))
    return here


def write_table(folder: Path, n_bad: int = 0) -> None:
    rows = [f"kite {index} is in the air,{('up', 'down')[index % 2]}" for index in range(200)]
    rows += [f"kite {index} is gone,sideways" for index in range(n_bad)]
    path = folder / "data" / "kite_mood" / "kites.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(["said,mood", *rows, ""]))


def needed(checks: dict[str, Any]) -> list[str]:
    """What was checked of data, tables and backbones."""
    return [what for what in checks if what.split(":")[0] in ("data", "table", "backbone")]


def test_of_a_manifest_only_what_it_needs_is_checked(kites: Path) -> None:
    value, checks = answer("sound.yaml", expect=1)
    assert value["subject"] == "sound"
    assert needed(checks) == ["data: kite_mood", "backbone: tiny"]
    assert checks["data: kite_mood"]["ok"] is False
    write_table(kites)
    _, checks = answer("sound.yaml", expect=0)
    assert checks["table: kite_mood"]["ok"] is not False
    assert call("doctor", "sound.yaml")[1].startswith("ready: sound")
    _, checks = answer("lacking.yaml", expect=1)
    (backbone,) = [check for what, check in checks.items() if what.startswith("backbone")]
    assert (backbone["ok"], backbone["found"]) == (False, "missing")
    assert "config.json" in backbone["fix"]


def test_a_backbone_that_is_not_safe_and_an_adapter_that_it_cannot_have_are_problems(kites: Path) -> None:
    write_table(kites)
    (kites / "mine").mkdir()
    weights_and_vocabulary(kites / "mine")
    config = REAL["microsoft/mpnet-base"][0]
    text = "name: mine\ncards: [kites.yaml]\ntasks: [kite_mood]\nbackbone: ./mine\nadapter: {kind: lora}\npairs: none\n"
    (kites / "mine.yaml").write_text(f"{text}embed: {{encoder: ./mine}}\n")
    (kites / "mine" / "config.json").write_text(json.dumps(config))
    _, checks = answer("mine.yaml", expect=1)
    assert checks["adapter: lora"]["ok"] is False
    assert "on a backbone of the family mpnet, but is lora" in checks["adapter: lora"]["fix"]
    assert {check["ok"] for what, check in checks.items() if what.startswith(("backbone", "encoder"))} == {True}
    (kites / "mine" / "config.json").write_text(json.dumps({**config, "auto_map": {"AutoModel": "evil.Model"}}))
    _, checks = answer("mine.yaml", expect=1)
    refused = [check for what, check in checks.items() if what.startswith(("backbone", "encoder"))]
    assert [(check["ok"], check["found"]) for check in refused] == [(False, "refused")] * 2
    assert all("must not have auto_map, but does" in check["fix"] for check in refused)
    status, out, err = call("submit", "mine.yaml", "--profile", "local")
    assert status == 1
    assert "2 skipped: " in out + err
    assert "must not have auto_map, but does" in out + err
    assert not list((kites / "runs").rglob("cell.json"))


def test_a_cards_table_is_read(kites: Path) -> None:
    write_table(kites, n_bad=3)
    value, _ = answer("kites.yaml", expect=0)
    found = [check["found"] for check in value["checks"] if check["what"] == "table: kite_mood"]
    assert found[0] == "200 examples, 3 bad rows"
    assert any("3 of 203 rows are bad" in text for text in found)
    write_table(kites, n_bad=50)
    value, checks = answer("kites.yaml", expect=1)
    assert needed(checks) == ["data: kite_mood", "table: kite_mood"]
    assert "at most 5% bad rows" in checks["table: kite_mood"]["found"]
    assert "leave_out" in checks["table: kite_mood"]["fix"]


def test_a_card_or_manifest_that_is_wrong_is_a_sentence(kites: Path) -> None:
    (kites / "kites.yaml").write_text(CARD.replace("kind: classification", "kind: sorting"))
    for name in ("kites.yaml", "sound.yaml"):
        assert any("kind" in sentence for sentence in problems("doctor", name, expect=2))
    assert "must be a known manifest" in problems("doctor", "absent", expect=2)[0]


def test_a_path_that_does_not_exist_is_answered_with_the_nearest_file(kites: Path) -> None:
    for name, fix in (
        ("kite.yaml", "does not exist; did you mean kites.yaml?"),
        (f"{kites}/kite.yaml", f"does not exist; did you mean {kites}/kites.yaml?"),
        ("here/kites.yaml", "its folder here does not exist"),
        (f"{kites}/", "is a folder; name a file in it"),
    ):
        (problem,) = problems("doctor", name, expect=2)
        assert fix in problem
        assert "known:" not in problem


def test_the_data_folder_of_another_study_is_named(kites: Path) -> None:
    (kites / "study" / "manifests").mkdir(parents=True)
    (kites / "study" / "data").mkdir()
    (kites / "study" / "kites.yaml").write_text(CARD)
    text = (kites / "sound.yaml").read_text().replace("kites.yaml", "../kites.yaml")
    (kites / "study" / "manifests" / "mine.yaml").write_text(text)
    _, checks = answer("study/manifests/mine.yaml", expect=1)
    assert checks["data: kite_mood"]["fix"].endswith(", or add `--data study/data`")
    missing = api.planned("study/manifests/mine.yaml").inputs.missing
    assert missing["kite_mood"].endswith(", or add `--data study/data`")
    assert "--data" not in api.planned("study/manifests/mine.yaml", data="study/data").inputs.missing["kite_mood"]
