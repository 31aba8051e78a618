import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from empslurm import files
from empslurm.cli import main
from tests.tasks.server import serving


@pytest.fixture
def sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """The roots of an invented corpus, as arguments."""
    roots = ["--data", str(tmp_path / "data"), "--runs", str(tmp_path / "runs")]
    assert main([*roots, "data", "sample"]) == 0
    capsys.readouterr()
    return roots


def test_stats_is_one_document_and_files_beside_the_paper(
    sample: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert main([*sample, "data", "stats", "epitome", "conv", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert set(value["datasets"]) == {"epitome", "conv"}
    assert {row["name"] for row in value["compared"]} == {
        *("epitome", "epitome_er", "epitome_ex", "epitome_ip"),
        *("conv", "conv_emoint", "conv_emopol", "conv_empathy"),
    }
    assert all(Path(path).is_file() for path in value["files"])
    assert (tmp_path / "runs" / "gathered" / "data" / "table9.tex").is_file()


def test_stats_names_what_is_missing_and_goes_on(sample: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    Path(sample[1], "news", "goldstandard_dev.tsv").unlink()
    assert main([*sample, "data", "stats", "news", "hope"]) == 0
    shown = capsys.readouterr()
    assert "goldstandard_dev.tsv is not" in shown.out
    assert "not supportive" in shown.out


def test_stats_says_what_cannot_be_read_and_counts_the_rest(
    sample: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    Path(sample[1], "hope", "tweets.csv").write_bytes(b"\xff\xfe\x00broken")
    assert main([*sample, "data", "stats", "news", "hope", "--splits", "paper", "--json"]) == 1
    shown = capsys.readouterr()
    value = json.loads(shown.out)
    assert set(value["datasets"]) == {"news"}
    assert "tweets.csv must be UTF-8" in value["broken"]["hope"]
    assert "nested slices" in value["datasets"]["news"]["leaks"]


def test_an_unknown_dataset_is_wrong_use(sample: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*sample, "data", "stats", "epitom"]) == 2
    assert "did you mean epitome?" in capsys.readouterr().err


CARD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, label: mood}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""


def test_a_card_of_ones_own_is_counted_too(
    sample: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "kite.yaml").write_text(CARD)
    more = tmp_path / "more"
    more.mkdir()
    (more / "kites.csv").write_text("said,mood\n" + "".join(f"kite {n},{('up', 'down')[n % 2]}\n" for n in range(40)))
    roots = ["--data", str(more), *sample[2:]]
    assert main([*roots, "data", "stats", "kite_mood", "--cards", str(tmp_path / "cards"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)["datasets"]["kite_mood"]
    assert value["n_examples"] == 40
    assert value["tasks"]["kite_mood"]["rows"][2][:2] == ["up", 50.0]


def three_cards(tmp_path: Path, *, table: str, third: str) -> list[str]:
    """Two sound cards and a third, with their tables, as arguments of `main`."""
    for at, mood in enumerate(("calm", "wild", "third")):
        text = third if mood == "third" else CARD
        card = tmp_path / "cards" / f"{mood}.yaml"
        card.parent.mkdir(exist_ok=True)
        card.write_text(text.replace("kite_mood", f"kite_{mood}").replace("kites.csv", f"{mood}.csv"))
        rows = "".join(f"kite {n} {at},{('up', 'down')[n % 2]}\n" for n in range(40))
        (tmp_path / "own").mkdir(exist_ok=True)
        (tmp_path / "own" / f"{mood}.csv").write_text(table if mood == "third" else f"said,mood\n{rows}")
    return ["--data", str(tmp_path / "own"), "--runs", str(tmp_path / "runs"), "data"]


def test_cards_are_read_without_the_built_in_datasets_that_are_missing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cards = ["--cards", str(tmp_path / "cards")]
    words = three_cards(tmp_path, table="said,mood\n" + "one,up\ntwo,down\n" * 40, third=CARD)
    for action in ("stats", "audit"):
        assert main([*words, action, *cards]) == 0
        shown = capsys.readouterr().out
        assert "kite_calm" in shown
        for absent in ("missing", "epitome", "paper"):
            assert absent not in shown.replace(str(tmp_path), "")
    assert "by chance: " in shown
    assert main([*words, "stats", *cards, "kite_calm", "epitome"]) == 0  # by name it is looked for
    assert "missing: epitome" in capsys.readouterr().out


def test_with_cards_the_built_in_datasets_that_are_here_are_counted(
    sample: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    three_cards(tmp_path, table="said,mood\n", third=CARD)
    assert main([*sample, "data", "stats", "--cards", str(tmp_path / "cards" / "calm.yaml"), "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert "epitome" in value["datasets"]
    assert [*value["missing"]] == ["kite_calm"]


def test_a_refused_card_is_listed_beside_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cards = ["--cards", str(tmp_path / "cards")]
    words = three_cards(tmp_path, table="said,mood\n", third=CARD.replace("format: csv", "format: xls"))
    for action, key in (("stats", "datasets"), ("status", "datasets")):
        assert main([*words, action, *cards, "--json"]) == 1
        value = json.loads(capsys.readouterr().out)
        assert {"kite_calm", "kite_wild"} <= {one["dataset"] if isinstance(one, dict) else one for one in value[key]}
        ((card, (problem,)),) = value["refused"].items()
        assert card.endswith("third.yaml")
        assert "format must be" in problem
        assert main([*words, action, *cards]) == 1
        shown = capsys.readouterr()
        assert "third.yaml" in shown.out
        assert "refused: format must be" in " ".join(shown.err.split())
    for named in (["stats", "kite_third"], ["prepare"]):
        assert main([*words, *named, *cards]) == 2
        assert "format must be" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("table", "reason"), [("said,moods\nx,up\n", "mood"), ("said,mood\n" + "x,sideways\n" * 30, "rows")]
)
def test_a_card_whose_table_is_refused_is_listed_beside_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], table: str, reason: str
) -> None:
    words = three_cards(tmp_path, table=table, third=CARD)
    assert main([*words, "stats", "--cards", str(tmp_path / "cards"), "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert {"kite_calm", "kite_wild"} <= set(value["datasets"])
    assert reason in value["broken"]["kite_third"]
    assert main([*words, "stats", "--cards", str(tmp_path / "cards")]) == 1
    assert "cannot be read" in capsys.readouterr().out
    manifest = tmp_path / "cards" / "m" / "m.yaml"
    manifest.parent.mkdir()
    manifest.write_text("name: m\ncards: [..]\ntasks: [kite_*]\nbackbone: tiny\n")
    assert main([*words[:-1], "plan", str(manifest), "--json"]) == 0
    (told,) = [text for text in json.loads(capsys.readouterr().out)["warnings"] if text.startswith("card ")]
    assert told.startswith("card kite_third: ")
    assert reason in told


def test_a_folder_without_cards_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "data", "audit", "--cards", str(tmp_path)]) == 2
    assert "must hold *.yaml files, but" in capsys.readouterr().err


def test_an_unreadable_file_is_listed_beside_the_others(
    sample: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = files.sha256_file

    def refuse(path: Path) -> str:
        if path.name == "tweets.csv":
            raise PermissionError(13, "Permission denied")
        return honest(path)

    monkeypatch.setattr(files, "sha256_file", refuse)
    assert main([*sample, "data", "status", "--json"]) == 1
    found = {one["dataset"]: one for one in json.loads(capsys.readouterr().out)["datasets"]}
    assert (found["hope"]["state"], found["news"]["state"]) == ("unreadable", "sample")
    assert "Permission denied; get read access" in found["hope"]["problem"]
    assert main([*sample, "data", "stats", "news", "hope", "--json"]) == 1
    value = json.loads(capsys.readouterr().out)
    assert set(value["datasets"]) == {"news"}
    assert "Permission denied" in value["broken"]["hope"]


def test_audit_of_the_sample_is_kept_and_shown_by_plan(
    sample: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    manifest = tmp_path / "leaky.yaml"
    text = "name: leaky\ntasks: [news_empathy, news_distress, epitome_er]\nseeds: [1]\nbackbone: tiny\n"
    manifest.write_text(text + "data: {per_dataset: {news: {splits: paper}}}\n")
    assert main([*sample, "plan", str(manifest)]) == 0
    assert "not audited in its present state: epitome, news" in capsys.readouterr().out
    assert main([*sample, "data", "audit", "news", "epitome", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert ["paper", "news_distress", "news_empathy"] in [row[:3] for row in value["flagged"]]
    assert not [row for row in value["overlaps"] if row["splits"] == "family" and row["shared_groups"]]
    assert all(Path(path).is_file() for path in value["files"])
    matrix = (tmp_path / "runs" / "gathered" / "data" / "overlap_matrix_paper.csv").read_text().splitlines()
    assert matrix[0] == "source,epitome_er,epitome_ex,epitome_ip,news_distress,news_emotion,news_empathy"
    assert main([*sample, "plan", str(manifest), "--json"]) == 0
    leaks = {(row["source"], row["target"]) for row in json.loads(capsys.readouterr().out)["leaks"]}
    both = ("news_empathy", "news_distress")
    assert leaks == {(source, target) for source in both for target in both}


def test_the_truncated_share_is_that_of_training(sample: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    from empslurm.config import Backbone, DataUse
    from empslurm.tasks import registry
    from empslurm.tasks.prepare import load_task, prepare
    from empslurm.train.data.tokenizer import load_tokenizer
    from empslurm.train.data.tokens import tokenise

    assert main([*sample, "data", "audit", "conv", "epitome", "--max-length", "16", "--json"]) == 0
    found = {row["task"]: row["truncated_share"] for row in json.loads(capsys.readouterr().out)["tasks"]}
    data, prepared = Path(sample[1]), Path(sample[3]) / "prepared"
    for task in ("conv_emoint", "epitome_er"):
        dataset = registry().dataset_of(task)
        table = load_task(prepare(dataset, data, prepared), registry().tasks[task], DataUse(), "all")
        tokens = tokenise(table, lambda: load_tokenizer(Backbone(name="minilm")), "digest", 16, prepared)
        assert 0 < found[task] < 1
        assert found[task] == tokens.n_truncated / len(table.ids)


def test_audit_without_data_says_how_to_get_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--data", str(tmp_path), "--runs", str(tmp_path / "runs"), "data", "audit"]) == 1
    assert "run `empslurm data status`" in capsys.readouterr().err


def test_fetch_from_a_mirror_makes_the_same_data_root(
    sample: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """A data root that is served is a mirror; checksums of what is pinned refuse the invented bytes."""
    there = {path.name: path for path in Path(sample[1]).rglob("*") if path.is_file()}
    roots = ["--data", str(tmp_path / "other"), *sample[2:]]
    with serving() as site:
        for name in ("condolence/condolence.tsv", "hope/supportive_annotation.csv", "hope/tweets.csv"):
            site.files[f"/root/{name}"] = there[Path(name).name].read_bytes()
        site.files["/root/epitome/emotional-reactions-reddit.csv"] = b"invented"
        words = ("data", "fetch", "hope", "condolence", "--mirror", f"{site.url}/root/", "--json")
        assert main([*roots, *words]) == 0
        value = json.loads(capsys.readouterr().out)
        assert [(item["dataset"], item["state"]) for item in value["datasets"]] == [
            ("condolence", "fetched"),
            ("hope", "fetched"),
        ]
        assert (tmp_path / "other" / "hope" / "tweets.csv").read_bytes() == there["tweets.csv"].read_bytes()
        assert main([*roots, *words]) == 0
        assert [item["state"] for item in json.loads(capsys.readouterr().out)["datasets"]] == ["here", "here"]
        assert main([*roots, "data", "fetch", "epitome", "--mirror", f"{site.url}/root"]) == 1
    shown = capsys.readouterr()
    assert "wrong bytes" in shown.err
    assert list((tmp_path / "other" / "epitome").iterdir()) == []
    assert "Traceback" not in shown.err


def test_fetch_prints_the_steps_for_what_a_person_must_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is asked of a network for what needs a registration or a request."""
    monkeypatch.setattr("httpx.stream", lambda *_, **__: pytest.fail("the network was asked"))
    roots = ["--data", str(tmp_path), "--runs", str(tmp_path / "runs")]
    assert main([*roots, "data", "fetch", "news", "conv", "condolence", "--json"]) == 1
    for item in json.loads(capsys.readouterr().out)["datasets"]:
        assert (item["state"], item["files"]) == ("steps", [])
        assert "register for" in item["steps"] or "ask its authors" in item["steps"]


def test_fetch_of_a_card_saves_its_hub_section(
    sample: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    import datasets

    rows = {"said": [f"kite {n}" for n in range(20)], "mood": ["up", "down"] * 10}
    datasets.Dataset.from_dict(rows).save_to_disk(tmp_path / "cards" / "kites")
    text = CARD.replace("kites.csv", "kites.parquet").replace("format: csv", "format: parquet")
    (tmp_path / "cards" / "kite.yaml").write_text(text + "hub: {name: ./kites}\n")
    capsys.readouterr()
    words = ("fetch", "kite_mood", "--cards", str(tmp_path / "cards"))
    roots = ["--data", str(tmp_path / "own"), *sample[2:]]
    assert main([*roots, "data", *words]) == 0
    capsys.readouterr()
    assert main([*roots, "data", "stats", *words[1:], "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["datasets"]["kite_mood"]["n_examples"] == 20


def test_prepare_parses_and_tokenises_once(sample: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ("data", "prepare", "epitome", "news", "--max-length", "32", "--json")
    assert main([*sample, *words]) == 0
    first = json.loads(capsys.readouterr().out)
    assert set(first["tasks"]) == {
        *("epitome_er", "epitome_ex", "epitome_ip", "news_distress", "news_emotion", "news_empathy")
    }
    folders = {Path(task["folder"]) for task in first["tasks"].values()}
    assert len(folders) == 2  # the tasks of a dataset share their texts, and so their tokens
    assert all((folder / "flat.npy").is_file() for folder in folders)
    stamps = {path: path.stat().st_mtime_ns for path in Path(sample[3]).rglob("*") if path.is_file()}
    assert main([*sample, *words]) == 0
    assert json.loads(capsys.readouterr().out) == first
    assert {path: path.stat().st_mtime_ns for path in Path(sample[3]).rglob("*") if path.is_file()} == stamps
    gone = folders.pop()
    shutil.rmtree(gone)
    assert main([*sample, *words]) == 0
    assert (gone / "done.json").is_file()


def test_a_second_prepare_loads_no_torch_and_reads_no_raw_file(sample: list[str]) -> None:
    words = [*sample, "data", "prepare", "epitome", "--backbone", "tiny"]
    assert main(words) == 0
    code = "import sys; from empslurm.cli import main; main(sys.argv[1:]); print('heavy', 'torch' in sys.modules)"
    raw = f"str(args[0]).startswith({sample[1]!r}) and str(args[0]).endswith('.csv')"
    spy = f"import sys; sys.addaudithook(lambda name, args: name == 'open' and {raw} and 1 / 0)\n"
    done = subprocess.run([sys.executable, "-c", spy + code, *words], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[-1]) == (0, "heavy False"), done.stderr
