"""Tables of results: every name, number and blank is read as written, or refused with its position."""

import io
import json
import re
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from empslurm.errors import DataError
from empslurm.gather import from_file, results
from empslurm.tasks import registry

HEAD = "source,target,seed,metric,value\n"


def write(folder: Path, text: str, name: str = "t.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def grid(one: str = "aa", two: str = "bb", *, metric: str = "f1_macro", seeds=(1, 2, 3)) -> str:
    """Baselines and transfers of two tasks."""
    rows = []
    for target, source in ((one, two), (two, one)):
        rows += [f",{target},{seed},{metric},0.6{at}0" for at, seed in enumerate(seeds)]
        rows += [f"{source},{target},{seed},{metric},0.6{5 + at}{1 + at}" for at, seed in enumerate(seeds)]
    return HEAD + "\n".join(rows) + "\n"


def names(path: Path) -> set[str]:
    return {name for row in results.read(path) for name in (row.source, row.target)} - {""}


def refusal(folder: Path, text: str, name: str = "t.csv") -> str:
    with pytest.raises(DataError) as caught:
        from_file(write(folder, text, name), registry())
    return str(caught.value)


@pytest.mark.parametrize(
    ("one", "two"),
    [
        ("20", "95"),
        ("007", "008"),
        ("01", "1"),
        ("NA", "EU"),
        ("nan", "None"),
        ("null", "N/A"),
        ("none", "-"),
        ('"#a"', "b"),
    ],
    ids=[
        "numeric_names",
        "leading_zeros",
        "01_and_1",
        "na_task_name",
        "nan",
        "null",
        "no_source_words",
        "comment_mark",
    ],
)
def test_gather_names_are_text(tmp_path: Path, one: str, two: str) -> None:
    assert names(write(tmp_path, grid(one, two))) == {one.strip('"'), two}


def test_gather_na_task_name(tmp_path: Path) -> None:
    rows = "NA,NA,1,f1_macro,.61\nEU,EU,1,f1_macro,.61\nNA,EU,1,f1_macro,.66\nEU,NA,1,f1_macro,.67\n"
    found = results.read(write(tmp_path, HEAD + rows))
    assert [(row.source, row.target) for row in found] == [("", "NA"), ("", "EU"), ("NA", "EU"), ("EU", "NA")]


def test_gather_names_with_spaces(tmp_path: Path) -> None:
    text = grid().replace("bb,aa,2", "bb ,  aa,2").replace("source,target", "source, target")
    assert names(write(tmp_path, text)) == {"aa", "bb"}


def test_names_that_programs_made_two_of_are_refused(tmp_path: Path) -> None:
    said = refusal(tmp_path, grid("20", "95").replace("20,95,2", "20.0,95,2"))
    assert "has 20 in line 2 and 20.0 in line 12" in said
    assert "in the same way" in refusal(tmp_path, grid("é", "b") + "b,e\u0301,4,f1_macro,.5\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (grid(seeds=(1.7, 2.2, 3.9)), "t.csv, line 2, record 1: seed must be a whole number, but is 1.7"),
        (grid(seeds=(2**63, 1, 2)), "line 2, record 1: seed must fit into 64 bits"),
        (grid(seeds=("", 1, 2)), "line 2, record 1: seed must be a whole number, but is blank"),
        (grid().replace("0.600", "inf"), "line 2, record 1: value must be a finite number, but is inf"),
        (grid().replace("0.600", "-1e999"), "value must be a finite number, but is -1e999"),
        (grid().replace("0.600", "0.6 (5)"), "value must be a finite number"),
        (grid().replace(",aa,1,f1_macro,0.600", ",aa,1,f1_macro,60.5"), "but is 60.5 (and 0.61 in line 3)"),
        (grid(metric="pearson").replace("0.600", "-1.2"), "must be between -1 and 1 for pearson, but is -1.2"),
        (grid(metric="mae").replace("0.600", "-0.2"), "must be at least 0 for mae"),
        (grid().replace("0.600", "-0.2"), "remove the line"),
        (grid().replace("0.600", "60"), "write fractions, not percent: 0.6"),
        (HEAD, "holds a header and no rows"),
        (grid().replace("bb,aa,1", "bb,aa,1,x"), "line 5, record 4 has 6 columns instead of 5"),
        (grid().replace("bb,aa,1,", "bb,,1,"), "line 5, record 4: target must be a task's name, but is blank"),
        (grid().replace("bb,aa,1,f1_macro", "bb,aa,1,"), "metric must be one of"),
        (HEAD.replace("seed", "target") + ",a,a,pearson,.1\n", "lacks seed"),
        (HEAD.replace("\n", ",target\n") + ",a,1,pearson,.1,b\n", "must have one column target, but has 2"),
        (grid().replace("bb,aa,1", '"bb,aa,1'), "line 5: a quote opens there that is never closed"),
        ("source;target;seed;metric\n", "lacks value"),
        ("source;target;seed;metric;value\n;a;1;mae;1,5\n;a;2;mae;1.5\n", "has 1,5 in line 2 and 1.5 in line 3"),
        (grid().replace("0.600", '"0,600"'), "with a decimal point"),
        (grid() + "#aa,bb,9,f1_macro,.5\n", "line 14, record 13 must be a row of results, but begins with #"),
        (grid(metric="mae").replace("0.600", "1e300"), "must be a finite number, but is 1e300"),
        (grid() + ",aa,1,f1_macro,.5\n", "holds aa-s1 twice, in line 2 and 14"),
        (grid() + ",aa,4,accuracy,.5\n", "has f1_macro in line 2 and accuracy in line 14 for aa"),
    ],
)
def test_what_cannot_be_is_refused_with_its_place(tmp_path: Path, text: str, said: str) -> None:
    assert said in refusal(tmp_path, text)


@pytest.mark.parametrize("mark", [",", "\t"])
def test_lines_are_those_of_the_file_below_a_comment_too(tmp_path: Path, mark: str) -> None:
    text = "# one\n# two\n" + grid().replace("0.600", "high").replace(",", mark)
    assert "line 4, record 1: value must be a finite number" in refusal(tmp_path, text)
    assert "is not at line 7: a quote opens" in refusal(
        tmp_path, "# one\n# two\n" + grid().replace("bb,aa,1", '"bb,aa,1')
    )


def test_a_whole_seed_with_a_point_and_the_largest_one_pass(tmp_path: Path) -> None:
    found = results.read(write(tmp_path, grid(seeds=("3.0", 2**63 - 1, -4))))
    assert {row.seed for row in found} == {3, 2**63 - 1, -4}


@pytest.mark.parametrize("mark", [";", "\t", "|"])
@pytest.mark.parametrize("comma", [True, False])
def test_gather_separators(tmp_path: Path, mark: str, comma: bool) -> None:
    text = grid().replace(",", mark)
    found = results.read(write(tmp_path, text.replace("0.", "0,") if comma else text, "s.csv"))
    assert [row.value for row in found] == [row.value for row in results.read(write(tmp_path, grid()))]


def test_gather_trailing_comma(tmp_path: Path) -> None:
    head, *rows = grid().splitlines()
    plain = results.read(write(tmp_path, grid()))
    assert results.read(write(tmp_path, "\n".join([head, *(row + "," for row in rows), ",,,,,", ""]))) == plain
    assert results.read(write(tmp_path, "\n".join([head + ",", *(row + "," for row in rows)]))) == plain


def test_blanks_have_a_meaning_each(tmp_path: Path) -> None:
    text = "source,target,seed,metric,value,fraction,flags,id,setting\n,a,1,mae,,,,,\nb,a,1,mae,12.5,.1,cut,mine,m\n"
    one, two = results.read(write(tmp_path, text))
    assert (one.value != one.value, one.fraction, one.flags, one.id, one.setting) == (True, 1.0, "", "a-s1", "")
    assert (two.value, two.fraction, two.flags, two.id, two.setting) == (12.5, 0.1, "cut", "mine", "m")


def test_the_long_table_of_a_gather_is_read_back_with_its_groups(tmp_path: Path) -> None:
    head = "group,source,target,seed,metric,value,part,main\n"
    rows = "g,,a,1,mae,1,test,True\nh,,a,1,mae,2,TEST,1\ng,,a,1,pearson,.1,test,False\ng,,a,1,mae,9,validation,true\n"
    found = results.read(write(tmp_path, head + rows))
    assert [(row.setting, row.value) for row in found] == [("g", 1.0), ("h", 2.0)]
    assert "main must be true or false, but is perhaps" in refusal(tmp_path, head + "g,,a,1,mae,1,test,perhaps\n")
    assert "must hold a main metric on the part `test`" in refusal(tmp_path, head + "g,,a,1,mae,1,dev,true\n")


def test_fractions_that_are_printed_alike_are_refused(tmp_path: Path) -> None:
    text = "source,target,seed,metric,value,fraction\n,a,1,mae,1,0.3333333\nb,a,1,mae,1,0.33333334\n"
    assert "has 0.3333333 in line 2 and 0.33333334 in line 3" in refusal(tmp_path, text)


def test_names_with_hyphens_do_not_make_two_runs_one(tmp_path: Path) -> None:
    found = results.read(write(tmp_path, HEAD + ",a--b,1,mae,1\na,b,1,mae,2\n,b,1,mae,3\n"))
    assert len({row.id for row in found}) == 3
    assert found[2].id == "b-s1"


def test_settings_are_groups_of_their_own(tmp_path: Path) -> None:
    text = "".join(line + f",{setting}\n" for setting in ("bert", "gpt-3.5", "") for line in grid().splitlines()[1:])
    gathered = from_file(write(tmp_path, HEAD.strip() + ",setting\n" + text), registry())
    assert [group.setting.get("setting", "") for group in gathered.groups] == ["bert", "gpt-3.5", ""]
    folders = [group.name for group in gathered.groups]
    assert folders[0] == "bert"
    assert folders[1].startswith("gpt-3-5-")
    assert len(set(folders)) == 3
    assert [len(group.runs) for group in gathered.groups] == [12, 12, 12]


def test_parquet_and_json_lines_are_read_as_csv_is(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    plain = results.read(write(tmp_path, grid("20", "95")))
    rows = [
        {"source": int(row.source) if row.source else None, "target": int(row.target), "seed": row.seed}
        | {"metric": row.metric, "value": row.value}
        for row in plain
    ]
    lines = "".join(json.dumps({key: value for key, value in row.items() if value is not None}) + "\n" for row in rows)
    table = pa.Table.from_pylist(rows)
    floats = table.set_column(
        0, "source", table["source"].cast(pa.float64())
    )  # what a frame makes of numbers with gaps
    decimals = table.set_column(4, "value", pa.array([Decimal(str(row["value"])) for row in rows]))
    for at, made in enumerate((table, floats, decimals)):
        pq.write_table(made, tmp_path / f"{at}.parquet")
    found = [results.read(tmp_path / f"{at}.parquet") for at in range(3)]
    found.append(results.read(write(tmp_path, lines, "t.jsonl")))
    for one in found:
        key = [(row.source, row.target, row.seed, row.metric, row.value, row.id) for row in one]
        assert key == [(row.source, row.target, row.seed, row.metric, row.value, row.id) for row in plain]


def test_a_list_in_a_typed_column_is_refused(tmp_path: Path) -> None:
    row = {"source": ["a"], "target": "b", "seed": 1, "metric": "mae", "value": 1.0}
    assert "line 1, record 1: source must be one value, but is a list" in refusal(tmp_path, json.dumps(row), "t.jsonl")


NAMES = (
    st.one_of(
        st.sampled_from(
            ["NA", "null", "nan", "None", "007", "7", "1.5", "1e3", "true", "inf", "-", "#x", "a,b", "a;b"]
        ),
        st.text(
            st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Cf", "Zl", "Zp")), min_size=1, max_size=8
        ),
    )
    .map(str.strip)
    .filter(bool)
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tasks=st.lists(NAMES, min_size=2, max_size=4, unique=True),
    mark=st.sampled_from([",", ";", "\t", "|"]),
    columns=st.permutations(["source", "target", "seed", "metric", "value", "note"]),
    quoting=st.sampled_from([0, 1]),
    bom=st.booleans(),
    end=st.sampled_from(["\n", "\r\n"]),
    scores=st.lists(st.floats(0, 1).map(lambda value: round(value, 6)), min_size=4, max_size=4),
)
def test_any_table_is_read_back_or_refused_with_its_place(
    tmp_path: Path, tasks, mark, columns, quoting, bom, end, scores
) -> None:
    import csv

    rows = [
        {"source": source, "target": target, "seed": 1, "metric": "f1_macro", "value": scores[at % 4], "note": "x"}
        for at, (source, target) in enumerate((source, target) for source in tasks for target in tasks)
    ]
    stream = io.StringIO(newline="")
    writer = csv.DictWriter(stream, columns, delimiter=mark, quoting=quoting, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    path = tmp_path / "any.csv"
    path.write_text(stream.getvalue(), encoding="utf-8-sig" if bom else "utf-8", newline="")
    try:
        found = results.read(path)
    except DataError as error:
        assert re.search(r"any\.csv.* line \d", str(error))  # noqa: PT017 (both ways are right)
        return
    assert [(row.source or row.target, row.target, row.value) for row in found] == [
        (row["source"], row["target"], row["value"]) for row in rows
    ]
