"""Which cells are trained again, and what two outcomes of one cell mean. Training itself: tests/cli/test_verify.py."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from empslurm import files
from empslurm.errors import UnknownCellError, UsageError
from empslurm.share import retrained
from empslurm.share.retrained import DIFFERS, SAME_BITS, SAME_PREDICTIONS, SAME_SCORE, Retrained, asked, draw
from empslurm.share.study import Study
from empslurm.store import predictions, results
from empslurm.store.cell_folder import CellDir


@pytest.mark.parametrize(
    ("text", "wanted"), [("3", 3), (" 1 ", 1), ("a-s1", ("a-s1",)), ("a-s1, b-s2,", ("a-s1", "b-s2"))]
)
def test_a_number_or_ids_may_be_asked_for(text: str, wanted: object) -> None:
    assert asked(text) == wanted


@pytest.mark.parametrize("text", ["0", "-1", "+2", "", " , "])
def test_anything_else_is_a_sentence(text: str) -> None:
    with pytest.raises(UsageError, match="number of cells, 1 or more, or cell ids, but is"):
        asked(text)


def finished(study: Study) -> list[str]:
    return [cell.id for cell in study.plan.cells]


def test_a_draw_is_random_and_in_the_order_of_the_plan(study: Study) -> None:
    draws = [tuple(cell.id for cell in draw(study, finished(study), 3).cells) for _ in range(40)]
    assert all(len(set(names)) == 3 for names in draws)
    assert all(list(names) == sorted(names, key=finished(study).index) for names in draws)
    assert len(set(draws)) > 5  # of 56


def test_more_cells_than_there_are_are_all_of_them(study: Study) -> None:
    drawn = draw(study, finished(study)[:2], 5)
    assert [cell.id for cell in drawn.cells] == finished(study)[:2]
    assert drawn.unchecked == ("Only 2 cells have a result that can be trained again.",)


def test_named_cells_must_be_finished_and_one_each(study: Study) -> None:
    names = finished(study)
    wanted = retrained.named(study, (names[3], names[0][:-3], names[3]))
    assert wanted == (names[3], names[0])
    assert [cell.id for cell in draw(study, names, wanted).cells] == [names[3], names[0]]
    drawn = draw(study, names[1:], wanted)
    assert [cell.id for cell in drawn.cells] == [names[3]]
    assert drawn.unchecked == (f"{names[0]} was not trained again: it has no result that passed its check.",)
    with pytest.raises(UnknownCellError, match="but none has it"):
        retrained.named(study, ("nobody",))
    with pytest.raises(UnknownCellError, match="but 4 have it"):
        retrained.named(study, ("epitome_er",))


def test_without_the_data_the_reason_names_it(study: Study, tmp_path: Path) -> None:
    cells = draw(study, finished(study), 1)
    again, unchecked = retrained.retrain(study, cells, tmp_path / "none", lambda done, total: None, print)
    assert again == ()
    assert "must be below" in unchecked[0]
    assert cells.cells[0].id in unchecked[0]


# ---- comparing -------------------------------------------------------------------------------------------------------

THERE: Mapping[str, Any] = {
    "device": "cpu",
    "host": "one",
    "python": "3.11.1",
    "n_threads": 4,
    "packages": {"torch": "2.6", "numpy": "2.0"},
    "code": {"commit": "a" * 40, "diff": ""},
    "gpu": None,
}


def again(
    study: Study, folder: Path, *, change: float = 0.0, reverse: bool = False, weights: bytes = b"", **note: Any
) -> Retrained:
    """Compare the first regression with a second result, whose predictions differ by `change` times their spread."""
    cell = next(cell for cell in study.plan.cells if cell.target == "news_empathy")
    old = study.root.cell(cell.id)
    resealed(old, old.path / "output-0001", THERE)
    new = CellDir(folder / cell.id)
    output = new.path / "output-0001"
    parts = predictions.read(old.path / "output-0001" / predictions.NAME)
    rng = np.random.default_rng(1)
    for name, part in parts.items():
        noise = rng.normal(size=part.outputs.shape) * change
        parts[name] = predictions.Predictions(
            ids=part.ids,
            groups=part.groups,
            gold=part.gold[::-1] if reverse else part.gold,
            outputs=part.outputs + noise,
        )
    files.write_bytes(output / "adapter" / "adapter.safetensors", cell.id.encode() + weights)
    predictions.write(output / predictions.NAME, parts)
    resealed(new, output, {**THERE, **note}, old.result())
    then, now = old.result(), new.result()
    assert then is not None
    assert now is not None
    return retrained._judge(old, new, then, now)


def resealed(cell: CellDir, output: Path, note: Mapping[str, Any], like: Mapping[str, Any] | None = None) -> None:
    """Give a folder a result whose scores are those of its predictions."""
    from empslurm import metrics

    files.write_json(output / "provenance.json", dict(note))
    result = dict(like or cell.result() or {})
    for name in ("seal", "files", "output"):
        result.pop(name)
    for name, part in predictions.read(output / predictions.NAME).items():
        result[name] = metrics.to_json(metrics.score("regression", 0, part.gold, part.outputs))
    cell.result_file.unlink(missing_ok=True)
    files.write_json(cell.result_file, results.seal(result, output))


def test_equal_files_are_the_same_bits(study: Study, tmp_path: Path) -> None:
    one = again(study, tmp_path, host="two")
    assert (one.outcome, one.agrees, one.elsewhere) == (SAME_BITS, True, ("host one -> two",))
    assert one.score == one.again is not None


def test_equal_predictions_in_other_files_are_said_to_be_that(study: Study, tmp_path: Path) -> None:
    assert again(study, tmp_path, weights=b"x", host="two").outcome == SAME_PREDICTIONS


def test_another_adapter_on_the_same_machine_is_a_finding(study: Study, tmp_path: Path) -> None:
    one = again(study, tmp_path, weights=b"x")
    assert (one.outcome, one.elsewhere) == (DIFFERS, ())
    assert "from another adapter" in one.text


@pytest.mark.parametrize("host", ["one", "two"])
def test_right_answers_that_were_changed_and_sealed_are_a_finding(study: Study, tmp_path: Path, host: str) -> None:
    one = again(study, tmp_path, reverse=True, host=host)
    assert (one.outcome, one.agrees) == (DIFFERS, False)
    assert "right answers" in one.text


def test_on_a_cpu_where_nothing_differs_other_bits_are_a_finding(study: Study, tmp_path: Path) -> None:
    one = again(study, tmp_path, change=1e-6)
    assert (one.outcome, one.elsewhere) == (DIFFERS, ())
    assert "although nothing that is recorded differs" in one.text


@pytest.mark.parametrize(
    "note", [{"n_threads": 2}, {"packages": {"torch": "2.7", "numpy": "2.0"}}, {"device": "cuda:0"}]
)
def test_elsewhere_scores_may_differ_a_little(study: Study, tmp_path: Path, note: Mapping[str, Any]) -> None:
    near = again(study, tmp_path / "near", change=1e-6, **note)
    assert (near.outcome, near.agrees) == (SAME_SCORE, True)
    assert near.elsewhere
    far = again(study, tmp_path / "far", change=2.0, **note)
    assert (far.outcome, far.agrees) == (DIFFERS, False)
    assert abs((far.score or 0) - (far.again or 0)) > retrained.MOST_OF_SCORE


def test_what_is_not_as_it_was_is_named() -> None:
    now = {**THERE, "n_threads": 1, "code": {"commit": "b" * 40, "diff": "+x"}, "device": "cuda:0"}
    said = retrained.differences(THERE, now)
    assert said[:2] == ("device cpu -> cuda:0", "n_threads 4 -> 1")
    assert "commit aaaaaaaaaa -> bbbbbbbbbb" in said
    assert "code that was not committed" in said
    assert "sums on a GPU" in said[-1]
    assert retrained.differences({}, {}) == ()


@pytest.mark.parametrize(
    ("metric", "one", "two", "apart"),
    [
        ("f1_macro", 0.5, 0.53, 0.03),
        ("f1_macro", None, None, 0.0),
        ("pearson", None, 0.1, math.inf),
        ("mae", 2.0, 2.02, 0.01),
    ],
)
def test_errors_are_compared_by_their_share(metric: str, one: float | None, two: float | None, apart: float) -> None:
    assert retrained.difference(metric, one, two) == pytest.approx(apart)
