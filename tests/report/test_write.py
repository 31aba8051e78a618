"""All files of a gather, its summary, and no work done twice."""

import json

import pytest

from empslurm import reference
from empslurm.cli import main
from empslurm.cli.gathered import listed
from empslurm.gather import gather
from empslurm.report import formats
from empslurm.report import write as write_module
from empslurm.report.analyses import analyse
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather.grids import baseline, finish, grid


@pytest.fixture
def root(tmp_path):
    root = RunsRoot(tmp_path / "runs")
    for cell in grid(("epitome_er", "news_empathy"), seeds=(1, 2)):
        finish(root, cell)
    return root


def _gather(root, *more):
    return main(["--runs", str(root.path), "--data", str(root.path / "nothing"), "gather", *more])


def test_gather_names_its_files_and_ends_with_the_report(root, capsys):
    assert _gather(root) == 0
    said = capsys.readouterr()
    assert said.out.rstrip().endswith("report.html")
    assert "Table 7" not in said.out
    assert "8 cells have a verified result; 0 are missing" in said.out
    folder = root.gathered / "all"
    for name in (
        "verdicts.csv",
        "table2.csv",
        "table3.tex",
        "table5.md",
        "table7.csv",
        "figure6.pdf",
        "figure8.png",
        "overview.svg",
    ):
        assert (folder / name).is_file(), name


def test_the_document_is_one_and_whole(root, capsys):
    assert _gather(root, "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["name"], found["n_done"], found["missing"]) == ("all", 8, [])
    assert found["report"].endswith("report.html")
    assert {table["number"] for table in found["tables"]} >= {"Table 2", "Table 3", "Table 5", "Table 7", "Table 8"}
    assert "Figure 10" in found["lacking"]


def test_with_nothing_new_nothing_is_made_again(root, monkeypatch, capsys):
    assert _gather(root) == 0
    first = capsys.readouterr().out
    monkeypatch.setattr(write_module, "analyse", lambda *given, **more: pytest.fail("was made again"))
    assert _gather(root) == 0
    assert capsys.readouterr().out == first


def test_a_summary_of_an_earlier_version_is_made_again(root, capsys):
    """It lacks what was added since, also where its digest would do."""
    assert _gather(root) == 0
    first = capsys.readouterr().out
    path = root.gathered / "all" / "summary.json"
    whole = json.loads(path.read_text())
    for name in ("answers", "opening", "too_large"):
        path.write_text(json.dumps({key: value for key, value in whole.items() if key != name}))
        assert _gather(root) == 0
        assert capsys.readouterr().out == first
        assert json.loads(path.read_text()) == whole


@pytest.mark.parametrize("change", ["result", "file", "ratings"])
def test_something_new_or_lost_is_made_again(root, monkeypatch, change, tmp_path):
    assert _gather(root) == 0
    more = []
    if change == "result":
        finish(root, baseline("hope"))
    elif change == "file":
        (root.gathered / "all" / "table7.csv").unlink()
    else:
        path = tmp_path / "ratings.csv"
        path.write_text(
            "task,aspect,a,b\nhope,definition,1,2\nepitome_er,definition,3,3\nnews_empathy,definition,5,4\n"
        )
        more = ["--ratings", str(path)]
    made = []

    def noted(*arguments, **named):
        made.append(1)
        return analyse(*arguments, **named)

    monkeypatch.setattr(write_module, "analyse", noted)
    assert _gather(root, *more) == 0
    assert made == [1]
    assert (root.gathered / "all" / "table7.csv").is_file()


def test_a_refused_result_is_work_that_failed(root, capsys):
    path = root.cell(grid(("epitome_er",))[0].id).path / "output-0001" / "predictions.parquet"
    path.write_bytes(b"PAR1")
    assert _gather(root) == 1
    said = (root.gathered / "all" / "missing.csv").read_text()
    assert "predictions.parquet must match its checksum" in said
    assert "refused" in capsys.readouterr().out
    assert "must match its checksum" in (root.gathered / "all" / "report.html").read_text()


def test_two_inputs_are_wrong_use(root, capsys):
    assert _gather(root, "--published", "--results", "x.csv") == 2
    assert "must have one input" in capsys.readouterr().err
    assert _gather(root, "--predictions", "x") == 2


def test_the_long_table_of_a_gather_is_a_results_file(root, tmp_path):
    assert _gather(root) == 0
    made = root.gathered / "all"
    assert _gather(root, "--results", str(made / "long.csv"), "--out", str(tmp_path / "out")) == 0
    old, new = ((folder / "table7.csv").read_text() for folder in (made, tmp_path / "out"))
    assert new == old


@pytest.mark.parametrize("width", range(50, 90))
@pytest.mark.parametrize("n_columns", [2, 7])
def test_narrow_terminals_get_tables_in_parts(capsys, monkeypatch, width, n_columns):
    from empslurm.cli.gathered import show
    from empslurm.cli.output import Output

    monkeypatch.setenv("COLUMNS", str(width))
    head = ("target", *(f"name{at} of{at}" for at in range(n_columns)))
    row = tuple(formats.text(f"{at}" * 11) for at in range(n_columns + 1))
    table = formats.Table(name="x", title="wide", caption="end", head=(head,), columns=head, rows=(row,))
    show(table, Output(json=False))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= width
    words = {word for name in head for word in name.split()} | {entry.text for entry in row}
    assert words <= set(said.split())  # nothing is cut
    assert said.count("target") == 1 if n_columns == 2 else said.count("target") > 1


def test_several_settings_have_folders_of_their_own(tmp_path):
    root = RunsRoot(tmp_path)
    for cell in (*grid(("epitome_er", "hope")), *grid(("epitome_er", "hope"), backbone="minilm")):
        finish(root, cell)
    gathered = gather(root, None, registry())
    written = write_module.write(gathered, tmp_path / "out", ratings=reference.ratings())
    folders = {name.split("/")[0] for name in written.files if "/" in name}
    assert folders == {group.name for group in gathered.groups}
    assert len(folders) == 2


def test_files_are_told_in_a_line_for_each_folder_and_set_of_endings(tmp_path):
    names = [
        "report.html",
        "table7.csv",
        "table7.md",
        "table8.csv",
        "table8.md",
        "long.csv",
        "wide.csv",
        "figs/one.svg",
    ]
    assert listed(tmp_path, names) == [
        f"{tmp_path}/report.html",
        f"{tmp_path}/*.{{csv,md}}: table7, table8",
        f"{tmp_path}/*.csv: long, wide",
        f"{tmp_path}/figs/one.svg",
    ]
