"""Several labs taken together: which runs are the same, whose they are, and what is done where labs disagree."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from empslurm.gather import Gathered, Input, from_file, gather, together
from empslurm.gather.results import names_a_run
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from tests.gather import lab_tables
from tests.gather.grids import finish, grid, transfer
from tests.gather.lab_tables import HEAD, read, rows, write

WITH_IDS = f"id,{HEAD}"
TASKS = ("epitome_er", "epitome_ip", "news_empathy")


def counts(gathered: Gathered) -> dict[str, tuple[int, int, int, int, int]]:
    """Lab -> runs, counted, copies, repeated, disagreeing."""
    return {
        lab.name: (lab.n_runs, len(lab.group.runs), lab.n_copies, lab.n_repeated, lab.n_disagreeing)
        for lab in gathered.labs
    }


def numbered(lines: list[str], prefix: str) -> list[str]:
    """The rows with ids of their own."""
    return [f"{prefix}{at},{line}" for at, line in enumerate(lines)]


# ---- tables ----------------------------------------------------------------------------------------------------------


def test_tables_with_seeds_of_their_own_are_one_group_with_all_runs(tmp_path: Path) -> None:
    gathered = read(lab_tables.four(tmp_path))
    (group,) = gathered.groups
    assert (group.name, gathered.name, gathered.origin) == ("", "east+north+south+west", "results")
    assert sorted({*group.runs["seed"]}) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert len(group.runs) == gathered.n_done == 3 * 4 * 8
    assert counts(gathered) == dict.fromkeys(lab_tables.FOUR, (24, 24, 0, 0, 0))
    assert gathered.told == gathered.missing == ()


def test_seed_1_of_two_labs_are_two_runs(tmp_path: Path) -> None:
    """Without ids, other numbers are other runs: the seeds of the second lab are numbered anew, and that is said."""
    paths = [write(tmp_path, "a", rows((1, 2, 3), lab=1)), write(tmp_path, "b", rows((1, 2, 3), lab=2))]
    gathered = read(paths)
    (group,) = gathered.groups
    assert sorted({*group.runs["seed"]}) == [1, 2, 3, 4, 5, 6]
    assert len({*group.runs["id"]}) == len(group.runs) == 72
    assert counts(gathered) == {"a": (36, 36, 0, 0, 0), "b": (36, 36, 0, 0, 0)}
    assert any("its seeds 1 to 3 are 4 to 6" in remark for remark in gathered.remarks)
    own = {lab.name: sorted({*lab.group.runs["seed"]}) for lab in gathered.labs}
    assert own == {"a": [1, 2, 3], "b": [1, 2, 3]}


def test_rows_that_another_table_repeats_count_once(tmp_path: Path) -> None:
    """Baselines that the second lab took over from the first, all seeds to the last digit."""
    first = rows((1, 2, 3), lab=1)
    taken = [line for line in first if line.startswith(",")]
    second = [*taken, *(line for line in rows((1, 2, 3), lab=2) if not line.startswith(","))]
    gathered = read([write(tmp_path, "a", first), write(tmp_path, "b", second)])
    assert counts(gathered) == {"a": (36, 36, 0, 0, 0), "b": (36, 27, 9, 0, 0)}
    assert gathered.n_done == 36 + 27


@pytest.mark.parametrize(
    ("values", "copies"),
    [
        (("0.61234", "0.62345", "0.63456"), 3),
        (("0.6123", "0.6234"), 2),  # one chance in a hundred thousand
        (("0.612", "0.623", "0.634"), 0),  # nine, but each value is another's in one case of thirty
        (("0.61234567",), 0),  # one seed
        (("0.61234", "0.61234", "0.61234"), 0),  # as runs that have collapsed
    ],
)
def test_equal_values_are_a_copy_only_where_chance_is_unlikely(
    tmp_path: Path, values: tuple[str, ...], copies: int
) -> None:
    lines = [f",t,{seed},accuracy,{value}" for seed, value in enumerate(values, 1)]
    gathered = read([write(tmp_path, "a", lines), write(tmp_path, "b", lines)])
    assert counts(gathered)["b"][2] == copies
    unclear = any("on too few seeds or decimals to tell a copy from chance" in said for said in gathered.remarks)
    assert unclear == (copies == 0)
    assert any("have the values that a has" in said for said in gathered.remarks) == (copies > 0)


def with_column(lines: list[str], value: str) -> list[str]:
    return [f"{line},{value}" for line in lines]


@pytest.mark.parametrize(
    "disguise",
    [
        lambda lines: (with_column(lines, "another"), f"{HEAD},setting"),
        lambda lines: (numbered(lines, "own-"), WITH_IDS),
        lambda lines: ([f"{line.rpartition(',')[0]},{float(line.rpartition(',')[2]):.3f}" for line in lines], HEAD),
        lambda lines: ([",".join([*line.split(",")[:2], str(int(line.split(",")[2]) + 6), *line.split(",")[3:]])
                        for line in lines], HEAD),
        lambda lines: (lines[:9], HEAD),
    ],
    ids=["another setting", "ids of its own", "rounded", "other seeds", "a part of it"],
)  # fmt: skip
def test_a_copy_in_disguise_counts_once(tmp_path: Path, disguise: Callable[[list[str]], tuple[list[str], str]]) -> None:
    lines = rows((1, 2, 3), lab=1)
    copied, head = disguise(lines)
    gathered = read([write(tmp_path, "a", lines), write(tmp_path, "b", copied, head)])
    assert counts(gathered) == {"a": (36, 36, 0, 0, 0), "b": (len(copied), 0, len(copied), 0, 0)}
    assert any(f"{len(copied)} runs of b have the values that a has" in said for said in gathered.remarks)


def test_one_seed_of_many_pairs_is_known_as_a_copy(tmp_path: Path) -> None:
    lines = rows((1,), lab=1)
    assert counts(read([write(tmp_path, "a", lines), write(tmp_path, "b", lines)]))["b"] == (12, 0, 12, 0, 0)


def test_a_seed_that_was_run_again_counts_and_the_others_do_not(tmp_path: Path) -> None:
    lines = [f",t,{seed},accuracy,0.6{seed}234" for seed in (1, 2, 3)]
    gathered = read([write(tmp_path, "a", lines), write(tmp_path, "b", [*lines[:2], ",t,3,accuracy,0.7"])])
    assert counts(gathered)["b"] == (3, 1, 2, 0, 0)


@pytest.mark.parametrize(("n", "decimals"), [(3, 3), (20, 3), (3, 4), (10, 2), (1, 3)])
def test_labs_that_ran_on_their_own_repeat_nothing(tmp_path: Path, n: int, decimals: int) -> None:
    """300 pairs, whose scores differ by seed noise alone; the second lab has fewer seeds, and others."""

    def lines(lab: int, seeds: range) -> list[str]:
        rng = np.random.default_rng([lab, n, decimals])
        return [
            f"{source or ''},t{target},{seed},accuracy,{rng.normal(0.6, 0.01):.{decimals}f}"
            for target in range(15)
            for source in [None, *(f"s{at}" for at in range(19))]
            for seed in seeds
        ]

    paths = [write(tmp_path, "a", lines(1, range(n))), write(tmp_path, "b", lines(2, range(n // 2, n)))]
    assert all(counted[2] == 0 for counted in counts(read(paths)).values())


def test_one_equal_value_of_three_is_chance(tmp_path: Path) -> None:
    lines = [f",t,{seed},accuracy,0.6{seed}2" for seed in (1, 2, 3)]
    others = [lines[0], ",t,2,accuracy,0.701", ",t,3,accuracy,0.702"]
    gathered = read([write(tmp_path, "a", lines), write(tmp_path, "b", others)])
    assert counts(gathered)["b"] == (3, 3, 0, 0, 0)
    assert not any("tell a copy from chance" in said for said in gathered.remarks)


def test_the_same_id_must_have_the_same_number(tmp_path: Path) -> None:
    first = numbered(rows((1, 2)), "run-")
    changed = [line if "run-5," not in line else line.rsplit(",", 1)[0] + ",0.9" for line in first]
    gathered = read([write(tmp_path, "a", first, WITH_IDS), write(tmp_path, "b", changed, WITH_IDS)])
    assert counts(gathered) == {"a": (24, 23, 0, 0, 1), "b": (24, 0, 23, 0, 1)}
    assert [(told.id, told.lab, told.score) for told in gathered.told] == [
        ("run-5", "a", "test.accuracy"),
        ("run-5", "b", "test.accuracy"),
    ]
    assert gathered.told[1].value == 0.9
    (missing,) = gathered.missing
    assert (missing.id, missing.state) == ("run-5", "disagrees")
    assert "b 0.9" in missing.why
    assert "run-5" not in {*gathered.groups[0].runs["id"]}


def test_the_same_id_for_another_run_is_a_disagreement(tmp_path: Path) -> None:
    gathered = read(
        [
            write(tmp_path, "a", ["1,,t,1,accuracy,0.6", "2,x,t,1,accuracy,0.7"], WITH_IDS),
            write(tmp_path, "b", ["1,,u,1,accuracy,0.6", "3,x,u,1,accuracy,0.7"], WITH_IDS),
        ]
    )
    assert {told.id for told in gathered.told} == {"1"}
    assert {told.target for told in gathered.told} == {"t", "u"}
    assert gathered.n_done == 2


def test_an_id_that_repeats_the_columns_names_no_run(tmp_path: Path) -> None:
    place = ("", "chat", "news", 1, 1.0)
    assert not names_a_run("chat--news-s1", place)
    assert names_a_run("chat--news-s1-5d805bbc66e1", place)
    line = "chat--news-s1,chat,news,1,accuracy,0.{}"
    paths = [write(tmp_path, name, [line.format(value)], WITH_IDS) for name, value in (("a", 6), ("b", 7))]
    assert read(paths).told == ()


def test_an_undefined_score_is_no_disagreement_with_itself(tmp_path: Path) -> None:
    line = "run-1,,t,1,accuracy,nan"
    gathered = read([write(tmp_path, name, [line], WITH_IDS) for name in ("a", "b")])
    assert counts(gathered)["b"] == (1, 0, 1, 0, 0)
    other = write(tmp_path, "c", ["run-1,,t,1,accuracy,0.5"], WITH_IDS)
    assert len(read([tmp_path / "a.csv", other]).told) == 2


def test_settings_with_one_name_are_one_group(tmp_path: Path) -> None:
    def named(setting: str, lab: int, seeds: tuple[int, ...]) -> list[str]:
        return [f"{setting},{line}" for line in rows(seeds, lab=lab)]

    head = f"setting,{HEAD}"
    gathered = read(
        [
            write(tmp_path, "a", [*named("base", 1, (1, 2)), *named("large", 1, (1, 2))], head),
            write(tmp_path, "b", named("base", 2, (3, 4)), head),
        ]
    )
    assert {group.name: len(group.runs) for group in gathered.groups} == {"base": 48, "large": 24}
    assert list(counts(gathered)) == ["a, base", "a, large", "b"]


def test_another_metric_is_left_out_of_the_group_and_said(tmp_path: Path) -> None:
    other = [line.replace("accuracy", "f1_macro") for line in rows((3, 4))]
    gathered = read([write(tmp_path, "a", rows((1, 2))), write(tmp_path, "b", other)])
    assert gathered.n_done == 24
    assert any("b scores t1, t2, t3 by another metric" in remark for remark in gathered.remarks)
    assert counts(gathered)["b"] == (24, 24, 0, 0, 0)


# ---- cells -----------------------------------------------------------------------------------------------------------


def roots(folder: Path, **seeds: tuple[int, ...]) -> dict[str, RunsRoot]:
    made = {}
    for name, own in seeds.items():
        made[name] = RunsRoot(folder / name)
        for cell in grid(TASKS, seeds=own):
            finish(made[name], cell)
    return made


def of_roots(made: dict[str, RunsRoot]) -> Gathered:
    return together(
        [
            Input(name=name, path=name, kind="runs root", gathered=gather(root, None, registry()))
            for name, root in made.items()
        ]
    )


def test_cells_of_two_runs_roots_are_those_of_one(tmp_path: Path) -> None:
    made = roots(tmp_path, a=(1, 2), b=(3, 4))
    whole = RunsRoot(tmp_path / "whole")
    for cell in grid(TASKS, seeds=(1, 2, 3, 4)):
        finish(whole, cell)
    gathered, alone = of_roots(made), gather(whole, None, registry())
    assert gathered.origin == "runs"
    (group,), (other,) = gathered.groups, alone.groups
    assert group.name == other.name == ""
    assert group.setting == other.setting
    scores = ["source", "target", "seed", "test.f1_macro", "test.pearson"]
    assert group.runs.sort_index()[scores].equals(other.runs.sort_index()[scores])


def test_a_cell_of_both_counts_for_the_first_and_repeats_are_told_from_copies(tmp_path: Path) -> None:
    """Seed 2 was computed by both, with the same numbers; provenance makes other seals."""
    made = roots(tmp_path, a=(1, 2))
    made["b"] = RunsRoot(tmp_path / "b")
    for cell in grid(TASKS, seeds=(2, 3)):
        finish(made["b"], cell, provenance={"wall_s": 9.0})
    assert counts(of_roots(made)) == {"a": (18, 18, 0, 0, 0), "b": (18, 9, 0, 9, 0)}
    made["b"] = made["a"]
    assert counts(of_roots(made))["b"] == (18, 0, 18, 0, 0)


def test_a_cell_with_other_numbers_is_left_out_everywhere(tmp_path: Path) -> None:
    made = roots(tmp_path, a=(1,))
    made["b"] = RunsRoot(tmp_path / "b")
    cells = grid(TASKS, seeds=(1,))
    for cell in cells:
        finish(made["b"], cell, skill=0.3 if cell is cells[0] else 0.7)
    gathered = of_roots(made)
    assert {told.id for told in gathered.told} == {cells[0].id}
    assert [cell.id for cell in gathered.missing if cell.state == "disagrees"] == [cells[0].id]
    assert cells[0].id not in {*gathered.groups[0].runs["id"]}
    assert counts(gathered) == {"a": (9, 8, 0, 0, 1), "b": (9, 0, 8, 0, 1)}


def test_a_long_table_shares_the_ids_of_its_cells(tmp_path: Path) -> None:
    made = roots(tmp_path, a=(1, 2))
    own = gather(made["a"], None, registry())
    path = tmp_path / "long.csv"
    path.write_text(own.long().to_csv(index=False))
    table = Input(name="t", path="long.csv", kind="table", gathered=from_file(path, registry()))
    cells = Input(name="c", path="a", kind="runs root", gathered=own)
    gathered = together([cells, table])
    assert counts(gathered) == {"c": (18, 18, 0, 0, 0), "t": (18, 0, 18, 0, 0)}
    assert gathered.n_done == 18


@pytest.mark.parametrize("ids", [True, False])
@pytest.mark.parametrize("first", ["table", "cells"])
def test_a_rounded_table_of_cells_repeats_them(tmp_path: Path, *, ids: bool, first: str) -> None:
    """Wherever it is named: only the cells have predictions."""
    made = roots(tmp_path, a=(1, 2))
    own = gather(made["a"], None, registry())
    long = own.long().round({"value": 4})
    path = tmp_path / "long.csv"
    main = long[(long["part"] == "test") & long["metric"].isin(["f1_macro", "pearson"])]
    path.write_text((long if ids else main[HEAD.split(",")]).to_csv(index=False))
    table = Input(name="t", path="long.csv", kind="table", gathered=from_file(path, registry()))
    cells = Input(name="c", path="a", kind="runs root", gathered=own)
    gathered = together([cells, table] if first == "cells" else [table, cells])
    assert counts(gathered) == {"c": (18, 18, 0, 0, 0), "t": (18, 0, 18, 0, 0)}
    assert gathered.told == ()


def test_a_cell_that_one_lab_lacks_is_not_missing(tmp_path: Path) -> None:
    made = roots(tmp_path, a=(1,), b=(2,))
    cells = grid(TASKS, seeds=(1,))
    made["b"].cell(cells[0].id).create(cells[0])  # planned there, finished here
    new = transfer(cells[0], cells[1], seed=9)
    made["b"].cell(new.id).create(new)
    assert [cell.id for cell in of_roots(made).missing] == [new.id]


def test_two_backbones_of_two_labs_are_two_settings(tmp_path: Path) -> None:
    made = roots(tmp_path, a=(1,))
    made["b"] = RunsRoot(tmp_path / "b")
    for cell in grid(TASKS, seeds=(1,), backbone="other"):
        finish(made["b"], cell)
    gathered = of_roots(made)
    assert {group.setting["setting"] for group in gathered.groups} == {"tiny", "other"}
    assert counts(gathered) == {"a": (9, 9, 0, 0, 0), "b": (9, 9, 0, 0, 0)}


def test_an_empty_runs_root_is_said(tmp_path: Path) -> None:
    made = roots(tmp_path, a=(1,))
    made["b"] = RunsRoot(tmp_path / "b")
    (tmp_path / "b" / "cells").mkdir(parents=True)
    gathered = of_roots(made)
    assert gathered.remarks == ("b has no finished run.",)
    assert list(counts(gathered)) == ["a"]
