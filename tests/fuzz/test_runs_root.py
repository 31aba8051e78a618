"""A hostile or damaged runs root: every verb that reads it gives its output, or one sentence."""

import contextlib
import io
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from empslurm import api, ids
from empslurm.cells import Cell, from_identity
from empslurm.cli import main
from empslurm.errors import EmpslurmError
from empslurm.gather import Gathered, gather
from empslurm.launch import markers
from empslurm.launch import submission as submissions
from empslurm.manifest.load import load_manifest
from empslurm.plan import Pack, Plan, expand, packs
from empslurm.store.cell_folder import Progress
from empslurm.store.claims import local_liveness
from empslurm.store.runs import RunsRoot
from empslurm.tasks import registry
from empslurm.tasks.sample import write_sample
from tests import hostile
from tests.fuzz.watch import watched
from tests.gather.grids import finish
from tests.tasks.test_cards import CARD

MANIFEST = "name: small\ntasks: [epitome_er, news_empathy]\nseeds: [1]\nbackbone: tiny\n"
GOOD = [
    "output-0001",
    "..",
    "/etc",
    1,
    0.5,
    [1],
    {"f1_macro": 0.5},
    "0" * 64,
    "epitome_er",
    "baseline",
    "done",
    -1,
    None,
]


class Root:
    """A small valid runs root, one file of which can be damaged and restored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data, self.runs = folder / "data", folder / "runs"
        write_sample(self.data, seed=1)
        self.manifest = folder / "small.yaml"
        self.manifest.write_text(MANIFEST)
        root = RunsRoot(self.runs)
        self.plan = plan = self._plan(root)
        self.cells: tuple[Cell, ...] = plan.cells
        for cell in self.cells[:2]:
            finish(root, cell)
        failed, lost = root.cell(self.cells[2].id), root.cell(self.cells[3].id)
        for cell, of in zip(self.cells[2:], (failed, lost), strict=True):
            of.create(cell)
            claim = of.take(local_liveness, log=str(self.runs / "log"))
            assert claim is not None
            of.write_progress(Progress(time=time.time(), step=1, n_steps=2, epoch=1, epochs=2, tokens_per_s=3.0))
            if of is failed:
                of.fail(claim, kind="data", message="no rows")
                of.release(claim)
        (self.runs / "log").write_text("said\n")
        made = submissions.create(root, "small", self.data, (), packs(plan.cells))
        self.array = markers.mark(root, made, [[0], [1]], "small")
        self.array.resolve("77")
        self.submission = made.folder(root).file

    def look(self) -> None:
        """Gather once, and remember every file as it should be."""
        self.gather(planned=False)
        self.files = sorted(path for path in self.runs.rglob("*") if path.is_file() and path.stat().st_size)
        self.before = {path: path.read_bytes() for path in self.files}

    def _plan(self, root: RunsRoot) -> Plan:
        manifest = load_manifest(self.manifest)
        return expand(manifest, api.inputs(manifest, self.data, root))

    def gather(self, *, planned: bool) -> Gathered:
        """What the verb does before it writes tables."""
        return gather(RunsRoot(self.runs), self.plan if planned else None, registry())

    def call(self, *words: str) -> tuple[int, str, str]:
        """Status and what was printed."""
        out, err = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            status = main([*words, "--runs", str(self.runs), "--data", str(self.data)])
        return status, out.getvalue(), err.getvalue()

    def restore(self) -> None:
        for path, data in self.before.items():
            if not path.is_file() or path.read_bytes() != data:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    with pytest.MonkeyPatch.context() as patch:
        made = Root(tmp_path_factory.mktemp("hostile"))
        patch.setenv("PATH", "")  # so that no squeue is found
        made.look()
        yield made


@st.composite
def spoiled_files(draw: st.DrawFn, root: Root, paths: tuple[Path, ...] = ()) -> tuple[Path, bytes]:
    """One file, and what it is to hold: damaged bytes, or JSON that is well-formed, even well-sealed, and wrong."""
    path = draw(st.sampled_from(paths or root.files))
    data = root.before[path]
    lines = data.splitlines()
    if path.suffix not in (".json", ".jsonl") or not lines or draw(st.booleans()):
        return path, draw(hostile.spoiled(data))
    many = path.suffix == ".jsonl"
    place = draw(st.integers(0, len(lines) - 1)) if many else 0
    value = hostile.altered(draw, json.loads(lines[place] if many else data), GOOD)
    if path.name == "result.json" and draw(st.booleans()):
        value.pop("seal", None)
        with contextlib.suppress(ValueError, TypeError):
            value["seal"] = ids.digest(value)
    if path.name == "submission.jsonl" and place and draw(st.booleans()):
        with contextlib.suppress(EmpslurmError, KeyError, TypeError, IndexError):
            value["id"] = Pack(cells=tuple(from_identity(cell) for cell in value["cells"]), wave=0).id
    text = json.dumps(value).encode()
    return path, b"\n".join([*lines[:place], text, *lines[place + 1 :]]) + b"\n" if many else text


def calls(root: Root) -> list[tuple[str, ...]]:
    """Every way of reading a runs root."""
    one, two = root.cells[0].id, root.cells[2].id
    manifest = str(root.manifest)
    made: list[tuple[str, ...]] = [("show", cell.id) for cell in root.cells]
    made += [("logs", two), ("explain", one, two), ("status", manifest), ("plan", manifest)]
    made += [(*words, "--json") for words in made]
    return [*made, ("gather",), ("gather", "planned")]


@st.composite
def spoiled_and_read(draw: st.DrawFn, root: Root) -> tuple[Path, bytes, tuple[str, ...]]:
    """A spoiled file, and most often a verb that looks at it."""
    path, data = draw(spoiled_files(root))
    near = [words for words in calls(root) if len(words) > 1 and words[1] in path.parts]
    is_near = bool(near) and draw(st.integers(0, 3)) > 0
    return path, data, draw(st.sampled_from(near if is_near else calls(root)))


def assert_answers(root: Root, words: tuple[str, ...]) -> None:
    """A verb ends with 0, 1 or 2, and with --json stdout holds one document; what it raises would be a traceback."""
    if words[0] == "gather":
        with hostile.bounded(), watched(root.runs), contextlib.suppress(EmpslurmError):
            root.gather(planned=len(words) > 1)
        return
    with hostile.bounded(), watched(root.runs):
        status, out, _ = root.call(*words)
    assert status in (0, 1, 2)
    if "--json" in words:
        document = json.loads(out)
        assert status == 0 or document["error"]["problems"]


def test_any_bytes_in_any_file_of_a_runs_root(root: Root) -> None:
    @hostile.examples(share=0.5)
    @given(spoiled_and_read(root))
    def any_file(drawn: tuple[Path, bytes, tuple[str, ...]]) -> None:
        path, data, words = drawn
        path.write_bytes(data)
        try:
            assert_answers(root, words)
        finally:
            root.restore()

    any_file()


KINDS_OF_PLACE: dict[str, Callable[[Path], None]] = {
    "folder": lambda path: path.mkdir(),
    "pipe": lambda path: os.mkfifo(path),
    "link to nowhere": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "device": lambda path: path.symlink_to("/dev/zero"),
    "nothing": lambda path: None,
}


@pytest.mark.parametrize("kind", KINDS_OF_PLACE)
def test_something_else_in_the_place_of_every_file(root: Root, kind: str) -> None:
    for number, path in enumerate({path.name: path for path in root.files}.values()):
        path.unlink()
        KINDS_OF_PLACE[kind](path)
        try:
            for words in calls(root)[number % 4 :: 4]:
                assert_answers(root, words)
        finally:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
            root.restore()


def gives_value_or_sentence(load: Callable[[], object]) -> None:
    with hostile.bounded(), contextlib.suppress(EmpslurmError):
        load()


def test_any_bytes_in_a_submission(root: Root) -> None:
    files_of: dict[Path, Callable[[Path], object]] = {
        root.submission: submissions.load,
        root.array.path: markers.load_array,
    }

    @hostile.examples()
    @given(spoiled_files(root, tuple(files_of)))
    def any_bytes(drawn: tuple[Path, bytes]) -> None:
        path, data = drawn
        path.write_bytes(data)
        try:
            gives_value_or_sentence(lambda: files_of[path](path))
        finally:
            root.restore()

    any_bytes()


def test_any_claim_is_taken_over_or_respected(root: Root) -> None:
    """Whatever a claim file holds, no cell is claimed twice."""
    folder = RunsRoot(root.runs).cell(root.cells[3].id)
    path = folder.path / "claims" / "0001.json"
    claim = folder.claim()
    assert claim is not None

    @hostile.examples(share=0.25)
    @given(st.data())
    def any_claim(data: st.DataObject) -> None:
        path.write_bytes(json.dumps(hostile.altered(data.draw, asdict(claim), GOOD)).encode())
        try:
            taken = [folder.take(local_liveness) for _ in range(2)]
            assert taken[1] is None
            if taken[0] is not None:
                (path.parent / "0002.json").unlink()
        finally:
            root.restore()

    any_claim()


CARD_KEYS = ["id", "title", "file", "format", "columns", "kind", "labels", "low", "high", "metric", "ratings", "hub"]
CARD_GOOD = ["up", "kites.csv", "csv", "regression", 1.0, ["up", "down"], {"text": "said", "label": "mood"}, "../x"]


def test_any_bytes_in_a_card(tmp_path: Path) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    (cards / "card.yaml").write_text(CARD)

    @hostile.examples()
    @given(hostile.files(cards, CARD_KEYS, CARD_GOOD))
    def any_bytes(data: bytes) -> None:
        path = tmp_path / "fuzz.yaml"
        path.write_bytes(data)
        with watched(tmp_path):
            gives_value_or_sentence(lambda: registry((path,)))

    any_bytes()


def test_a_sound_root_answers(root: Root) -> None:
    """What the fuzz rests on: unspoiled, every verb gives its output."""
    for words in calls(root):
        if words[0] != "gather":
            status, _, err = root.call(*words)
            assert (status, err) == (0, "")
    assert root.gather(planned=True).n_done == 2
