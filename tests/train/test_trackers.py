"""Loss curves: what trackers get at each step. No cell, number or result depends on them."""

import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from empslurm.launch.profile import Tracker
from empslurm.store.runs import RunsRoot
from empslurm.train.loop import Interrupted, Settings
from empslurm.train.trackers import STYLES, Curves, Run
from tests.train.world import TRAINING, baseline, outputs_of, train, transfer

PARENTS = [baseline(seed=seed, training=replace(TRAINING, epochs=1)) for seed in (1, 2)]
CELLS = [transfer(parent, f"source{index}") for index, parent in enumerate(PARENTS)]
MISSING = "the tracker tensorboard must be installed where training runs, but is not"


class Fake(GeneralTracker):  # type: ignore[misc]
    """Keeps what it gets; `fails`: the method that raises `error`."""

    name = "fake"
    requires_logging_directory = True
    runs: list["Fake"]
    fails = ""
    error: BaseException = RuntimeError("no\nnetwork")

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__()
        self.arguments, self.options, self.finished = arguments, options, False
        self.settings: list[dict[str, Any]] = []
        self.logged: list[tuple[int, dict[str, float]]] = []
        self.runs.append(self)

    def _do(self, method: str) -> None:
        if method == self.fails:
            raise self.error

    @property
    def tracker(self) -> Any:
        return self

    def start(self) -> None:
        self._do("start")

    def store_init_configuration(self, values: dict[str, Any]) -> None:
        self._do("store_init_configuration")
        self.settings.append(values)

    def log(self, values: dict[str, float], step: int | None = None, **_: Any) -> None:
        self._do("log")
        assert step is not None
        self.logged.append((step, values))

    def finish(self) -> None:
        self._do("finish")
        self.finished = True


def fake(monkeypatch: pytest.MonkeyPatch, name: str, **changes: Any) -> list[Any]:
    """Replace one of Accelerate's trackers by a fake; returns the fake's runs."""
    runs: list[Any] = []
    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, name, type("Staged", (Fake,), {"name": name, "runs": runs, **changes}))
    return runs


@pytest.fixture(scope="module")
def unfollowed(tmp_path_factory):
    """A runs root with two sources, and the outputs of two transfers without trackers."""
    root = RunsRoot(tmp_path_factory.mktemp("unfollowed"))
    for parent in PARENTS:
        train(root, [parent])
    train(root, CELLS)
    return root, [outputs_of(root, cell) for cell in CELLS]


@pytest.fixture
def root(unfollowed, tmp_path) -> RunsRoot:
    """A runs root with the two sources."""
    made = RunsRoot(tmp_path / "runs")
    for parent in PARENTS:
        made.cells_folder.mkdir(parents=True, exist_ok=True)
        made.cell(parent.id).path.symlink_to(unfollowed[0].cell(parent.id).path)
    return made


def follow(root: RunsRoot, *names: str, cells: Any = CELLS, **settings: Any) -> list[str]:
    """Train with trackers; returns the messages about them."""
    said: list[str] = []
    curves = Curves(names, root.trackers, said.append)
    try:
        train(root, cells, settings=Settings(curves=curves, **settings))
    finally:
        curves.close()
    return said


def history(root: RunsRoot, cell: Any) -> list[dict[str, Any]]:
    return [dict(entry) for entry in outputs_of(root, cell)["history"]]


# ---- what is logged --------------------------------------------------------------------------------------------------


def test_profiles_know_the_trackers_that_accelerate_knows_and_each_can_be_made():
    assert set(get_args(Tracker)) == set(LOGGER_TYPE_TO_CLASS) == set(STYLES)
    run = Run(name="a-s1-0123456789ab", folder=Path("trackers"), settings={})
    for name, style in STYLES.items():
        tracker = style.make(LOGGER_TYPE_TO_CLASS[name], run)
        assert tracker.name == name
        assert name == "comet_ml" or run.name in str(vars(tracker))


def test_each_cell_has_a_run_with_its_settings_and_every_epoch_at_its_step(root, unfollowed, monkeypatch):
    runs = fake(monkeypatch, "tensorboard")
    assert follow(root, "tensorboard") == []
    assert [run.arguments for run in runs] == [(cell.id, root.trackers) for cell in CELLS]
    for run, cell in zip(runs, CELLS, strict=True):
        (settings,) = run.settings
        assert (settings["kind"], settings["training.lr"], settings["source"]) == ("transfer", 5e-3, cell.source)
        assert {type(value) for value in settings.values()} <= {str, int, float, bool}
        epochs = history(root, cell)
        assert [step for step, _ in run.logged] == [entry["step"] for entry in epochs] == [4, 8, 12]
        for (_, values), entry in zip(run.logged, epochs, strict=True):
            assert values.pop("train_loss") == entry["train_loss"]
            scores = {name: value for name, value in entry.items() if name not in ("epoch", "step", "train_loss")}
            assert values == {f"validation/{name}": value for name, value in scores.items() if value is not None}
            assert "validation/f1_macro" in values
        assert run.finished


def member_of(epoch: dict[str, Any]) -> Any:
    return SimpleNamespace(cell=baseline(), history=[epoch])


def test_what_is_undefined_is_not_logged(monkeypatch):
    runs = fake(monkeypatch, "tensorboard")
    curves = Curves(["tensorboard"])
    curves.log(member_of({"epoch": 1, "step": 3, "train_loss": None, "f1_macro": 0.5, "pearson": None}))
    assert runs[0].logged == [(3, {"validation/f1_macro": 0.5})]


def test_a_resumed_cell_goes_on_under_its_name(root, unfollowed, monkeypatch):
    runs = fake(monkeypatch, "tensorboard")
    looks = iter([False] * 6 + [True] * 9)
    with pytest.raises(Interrupted):
        follow(root, "tensorboard", stop=lambda: next(looks))
    assert all(run.finished for run in runs)
    follow(root, "tensorboard")
    for cell in CELLS:
        own = [run for run in runs if run.arguments[0] == cell.id]
        assert [[step for step, _ in run.logged] for run in own] == [[4], [8, 12]]
        assert [len(run.settings) for run in own] == [1, 0]
    assert [outputs_of(root, cell) for cell in CELLS] == unfollowed[1]


def test_a_tracker_that_follows_one_cell_of_a_process_mixes_up_none(root, monkeypatch):
    runs = fake(monkeypatch, "mlflow")
    (sentence,) = follow(root, "mlflow")
    assert f"it follows only {CELLS[0].id}; set `pack_size: 1`" in sentence
    assert [(run.arguments, run.options, len(run.logged)) for run in runs] == [
        (("empslurm",), {"run_name": CELLS[0].id}, 3)
    ]


# ---- what goes wrong -------------------------------------------------------------------------------------------------


def without_tensorboard(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torch.utils.tensorboard", "tensorboardX"):
        monkeypatch.setitem(sys.modules, name, None)


def test_a_tracker_that_is_not_installed_is_said_once_and_changes_nothing(root, unfollowed, monkeypatch):
    without_tensorboard(monkeypatch)
    (sentence,) = follow(root, "tensorboard")
    assert sentence.startswith(MISSING)
    assert sentence.endswith("run `pip install tensorboard` in the job's environment; training continues without it")
    assert [outputs_of(root, cell) for cell in CELLS] == unfollowed[1]
    for cell in CELLS:
        first, second = (each.cell(cell.id).result() for each in (root, unfollowed[0]))
        for result in (first, second):
            assert result is not None
            del result["files"]["provenance.json"]
        differing = {key for key in {*first, *second} if first.get(key) != second.get(key)}
        assert differing <= {"attempt", "time", "seal"}
        assert root.cell(cell.id).identity() == cell.identity()


@pytest.mark.parametrize(
    ("method", "error"),
    [
        ("start", RuntimeError("no\nnetwork")),
        ("start", SystemExit("no")),
        ("store_init_configuration", ValueError("no")),
        ("log", OSError("no")),
        ("finish", RuntimeError("no")),
    ],
    ids=["start", "exit", "settings", "log", "finish"],
)
def test_a_tracker_that_fails_is_left_out_and_others_go_on(root, unfollowed, monkeypatch, method, error):
    broken, runs = fake(monkeypatch, "aim", fails=method, error=error), fake(monkeypatch, "tensorboard")
    (sentence,) = follow(root, "aim", "tensorboard")
    assert f"the tracker aim must accept the curves of {CELLS[0].id}, but says: no; " in sentence
    assert "remove aim from the profile's `trackers`" in sentence
    assert [len(run.logged) for run in runs] == [3, 3]
    assert max(len(run.logged) for run in broken) == (3 if method == "finish" else 0)
    assert [outputs_of(root, cell) for cell in CELLS] == unfollowed[1]


@pytest.fixture
def handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


def test_a_tracker_cannot_take_the_signal_that_makes_training_save(monkeypatch, handlers):
    def ours(*_: object) -> None: ...

    def start(_: Any) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    signal.signal(signal.SIGTERM, ours)
    fake(monkeypatch, "tensorboard", start=start)
    Curves(["tensorboard"]).log(member_of({"epoch": 1, "step": 3, "train_loss": 1.0}))
    assert signal.getsignal(signal.SIGTERM) is ours


# ---- the real one ----------------------------------------------------------------------------------------------------


def test_tensorboard_reads_the_curves(root):
    accumulators = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    assert follow(root, "tensorboard") == []
    for cell in CELLS:
        events = accumulators.EventAccumulator(str(root.trackers / cell.id)).Reload()
        for name, key in (("train_loss", "train_loss"), ("validation/f1_macro", "f1_macro")):
            curve = [(event.step, event.value) for event in events.Scalars(name)]
            assert curve == [(entry["step"], pytest.approx(entry[key])) for entry in history(root, cell)]
