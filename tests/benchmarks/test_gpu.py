"""benchmarks/gpu.py keeps what it has whatever fails; counts, ratios and the projection are plain sums."""

import json

import pytest


@pytest.fixture
def book(tmp_path):
    from gpu import Notebook

    return Notebook(path=tmp_path / "results.json")


def part(name, run, needs_s=1.0):
    from gpu import Part

    return Part(name=name, needs_s=needs_s, run=run)


def broken(keep, left):
    keep("half", 1)
    raise ValueError("no such kernel")


def test_a_part_that_fails_keeps_what_it_had_and_the_next_one_runs(book):
    from gpu import failures, run_parts

    run_parts([part("one", broken), part("two", lambda keep, left: keep("all", 2))], book, lambda: 100.0)
    saved = json.loads(book.path.read_text())
    assert saved["one"]["half"] == 1
    assert "no such kernel" in saved["one"]["error"]["error"]
    assert saved["two"]["all"] == 2
    assert failures(saved) == ["/one", "/one/error"]


def test_every_figure_is_saved_before_the_next_is_measured(book):
    from gpu import run_parts

    seen = []

    def run(keep, left):
        for figure in (1, 2):
            keep(str(figure), figure)
            seen.append(json.loads(book.path.read_text())["one"])

    run_parts([part("one", run)], book, lambda: 100.0)
    assert seen == [{"gpu": None, "1": 1}, {"gpu": None, "1": 1, "2": 2}]


def test_a_run_of_some_parts_keeps_the_others_of_the_file(book):
    from gpu import Notebook

    for name in ("one", "two", "end"):
        book.keep(name, "figure", 1)
    again = Notebook(path=book.path)
    again.reopen(["two"])
    again.keep("two", "other", 2)
    assert json.loads(book.path.read_text()) == {"one": {"figure": 1}, "two": {"other": 2}}


def test_a_part_leaves_the_later_ones_their_time_and_one_that_does_not_fit_says_so(book):
    from gpu import failures, run_parts

    parts = [
        part("one", lambda keep, left: keep("left", left()), 10.0),
        part("two", lambda keep, left: keep("left", left()), 200.0),
        part("three", lambda keep, left: keep("left", left()), 20.0),
    ]
    run_parts(parts, book, lambda: 100.0)
    assert book.values["one"]["left"] == 100.0 - 220.0
    assert book.values["two"]["not_run"].startswith("not run: out of time")
    assert book.values["three"]["left"] == 100.0
    assert failures(book.values) == []


def test_a_check_that_finds_a_difference_or_cannot_be_made_is_not_ok():
    from gpu import checked, failures
    from gpu_correct import within

    assert checked("good", lambda: within(1e-6, 1e-4))["ok"]
    raised = checked("raised", lambda: {"ok": 1 / 0})
    found = {"bad": within(1e-3, 1e-4), "none": within(float("nan"), 1.0), "raised": raised}
    assert failures(found) == ["/bad", "/none", "/raised"]


@pytest.mark.parametrize(("n_found", "code"), [(0, 0), (1, 1)])
def test_the_exit_code_tells_whether_anything_failed(tmp_path, monkeypatch, capsys, n_found, code):
    import gpu

    checks = [part("correctness", lambda keep, left: keep("a", {"ok": not n_found}))]
    monkeypatch.setattr(gpu, "parts_of", lambda given: checks)
    monkeypatch.setattr(gpu, "device_facts", dict)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.set_num_threads", lambda n: None)
    monkeypatch.setattr("os.environ", {})
    monkeypatch.setattr("sys.argv", ["gpu.py", "--out", str(tmp_path / "out.json")])
    assert gpu.main() == code
    assert json.loads((tmp_path / "out.json").read_text())["correctness"]["a"]["ok"] is not bool(n_found)
    assert "no CUDA device" in capsys.readouterr().out


def test_kernels_are_counted_per_step_and_the_host_s_share_is_what_the_device_was_idle():
    from gpu_speed import summary

    made = summary({"gemm": [100.0, 200.0], "Memcpy HtoD": [50.0], "add": [25.0] * 6}, 1000.0, 2, n_top=2)
    assert made["kernels_per_step"] == 4
    assert made["copies_per_step"] == 0.5
    assert made["busy_ms_per_step"] == pytest.approx(0.25)
    assert made["host_bound_share"] == pytest.approx(0.5)
    assert [row["name"] for row in made["top"]] == ["gemm", "add"]


def test_a_study_s_hours_are_baselines_at_the_solo_rate_and_transfers_at_the_packed():
    from training import study_hours, study_tokens

    baselines, transfers = study_tokens()
    assert transfers == pytest.approx(17 * baselines)
    grid = study_hours("full_grid", 1000.0, 4000.0)
    assert grid == pytest.approx(10 * (baselines / 1000 + transfers / 4000) / 3600)
    assert study_hours("full_study", 1000.0, 4000.0) == pytest.approx(3 * 1.5 * grid)
    assert study_hours("full_grid", 1000.0, 4000.0, evaluation_share=0.2) == pytest.approx(grid / 0.8)


def test_ratios_are_of_real_tokens_per_second_round_by_round():
    from engine import Took
    from training import against

    ours = [Took(wall_s=1.0, cpu_s=2.0, tokens=100), Took(wall_s=2.0, cpu_s=2.0, tokens=100)]
    theirs = [Took(wall_s=2.0, cpu_s=2.0, tokens=100), Took(wall_s=2.0, cpu_s=2.0, tokens=50)]
    made = against(ours, theirs, n_cells=4)
    assert made["ratio_wall_s_range"] == [8.0, 8.0]
    assert made["ratio_cpu_s"] == 6.0


def test_the_fair_rival_sees_whole_batches_of_its_own_order_and_an_epoch_exactly_once():
    from rivals import Collate, in_turn

    made = in_turn(list(range(12)), 3, warm=2, n=4)
    batches = [tuple(made[start : start + 3]) for start in range(0, len(made), 3)]
    assert sorted(batches[2:]) == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
    assert batches[:2] == batches[-2:]
    import torch

    examples = [{"input_ids": torch.arange(n), "labels": 0} for n in (3, 9)]
    padded = Collate(multiple=8)(examples)
    assert padded["input_ids"].shape == (2, 16)
    assert padded["attention_mask"].sum() == padded["n_tokens"] == 12
