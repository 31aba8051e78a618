import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from empslurm import files
from empslurm.errors import DataError
from empslurm.tasks import registry
from empslurm.tasks.raw import locate, pinned_digest
from empslurm.tasks.schema import Dataset, Example, Form, RawFile, Reject

SUMS = {name: files.sha256_bytes(name.encode()) for name in ("one.csv", "two.csv")}


def no_rows(paths: Mapping[str, Path]) -> Iterator[Example | Reject]:
    return iter(())


FORM = Form(name="both", files=tuple(RawFile(name=f"part/{name}", sha256=SUMS[name]) for name in SUMS), read=no_rows)
KITES = Dataset(
    id="kites", title="Kites", family="kites", tasks=(), forms=(FORM,), citation="", licence="", obtain="fly one"
)


def write(folder: Path, **changes: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in SUMS:
        (folder / name).write_text(changes.get(name.removesuffix(".csv"), name))


@pytest.mark.parametrize("folder", ["kites", "kites/part", "any/where/part", "part"])
def test_found_in_its_own_folder_or_as_distributed(tmp_path: Path, folder: str) -> None:
    write(tmp_path / "data" / folder)
    found = locate(KITES, tmp_path / "data", tmp_path / "cache")
    assert (found.state, found.pinned, found.problem) == ("found", True, "")
    assert found.raw_digest == pinned_digest(KITES)
    assert set(found.paths) == {"part/one.csv", "part/two.csv"}


def test_missing_keeps_the_pinned_digest_and_says_what_to_do(tmp_path: Path) -> None:
    found = locate(KITES, tmp_path / "absent", tmp_path / "cache")
    assert (found.state, found.raw_digest) == ("missing", pinned_digest(KITES))
    assert found.problem.endswith("is missing: fly one")
    write(tmp_path / "data" / "part")
    (tmp_path / "data" / "part" / "two.csv").unlink()
    half = locate(KITES, tmp_path / "data", tmp_path / "cache")
    assert (half.state, "1 of 2 files are there, part/two.csv is not" in half.problem) == ("missing", True)
    unpinned = replace(KITES, forms=(replace(FORM, files=(RawFile(name="x.csv"),)),))
    assert locate(unpinned, tmp_path, tmp_path / "cache").raw_digest is None


def test_other_bytes_are_altered_and_have_a_digest_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "part", two="changed")
    found = locate(KITES, tmp_path, tmp_path / "cache")
    assert (found.state, found.pinned) == ("altered", False)
    assert found.raw_digest not in (None, pinned_digest(KITES))
    assert "1 of 2 files differ" in found.problem


def test_files_of_one_form_stand_together(tmp_path: Path) -> None:
    write(tmp_path / "a" / "part")
    (tmp_path / "a" / "part" / "two.csv").unlink()
    write(tmp_path / "b" / "part")
    found = locate(KITES, tmp_path, tmp_path / "cache")
    assert {path.parents[1].name for path in found.paths.values()} == {"b"}


def test_links_out_of_the_root_are_not_followed(tmp_path: Path) -> None:
    write(tmp_path / "outside" / "part")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "part").symlink_to(tmp_path / "outside" / "part")
    (tmp_path / "data" / "kites").symlink_to(tmp_path / "outside")
    assert locate(KITES, tmp_path / "data", tmp_path / "cache").state == "missing"
    data = tmp_path / "data"
    problem = locate(KITES, data, tmp_path / "cache").problem
    assert (
        f"{data / 'kites'} is a link that leads out of the data folder, to {tmp_path / 'outside'}; replace" in problem
    )
    (data / "kites").unlink()
    problem = locate(KITES, data, tmp_path / "cache").problem
    assert f"is missing: fly one (note: {data / 'part'} is a link that leads out of the data folder" in problem
    upward = replace(KITES, forms=(replace(FORM, files=(RawFile(name="../outside/part/one.csv"),)),))
    assert locate(upward, tmp_path / "data", tmp_path / "cache").state == "missing"


def test_checksums_are_remembered_until_a_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "data" / "part")
    hashed: list[str] = []
    honest = files.sha256_file

    def noted(path: Path) -> str:
        hashed.append(path.name)
        return honest(path)

    monkeypatch.setattr(files, "sha256_file", noted)
    for _ in range(2):
        assert locate(KITES, tmp_path / "data", tmp_path / "cache").state == "found"
    assert hashed == ["one.csv", "two.csv"]
    write(tmp_path / "data" / "part", one="changed")
    assert locate(KITES, tmp_path / "data", tmp_path / "cache").state == "altered"
    (tmp_path / "cache" / "checksums.json").write_text("[1]")
    assert locate(KITES, tmp_path / "data", tmp_path / "cache").state == "altered"


def test_a_cache_that_cannot_be_written_and_a_data_root_that_is_not_touched(tmp_path: Path) -> None:
    write(tmp_path / "data" / "part")
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / "cache").write_text("a file where the folder should be")
    assert locate(KITES, tmp_path / "data", tmp_path / "cache").state == "found"
    assert sorted(tmp_path.rglob("*")) == sorted([*before, tmp_path / "cache"])


def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "part")

    def refuse(path: Path) -> str:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(files, "sha256_file", refuse)
    with pytest.raises(DataError, match="must be readable, but is not: Permission denied"):
        locate(KITES, tmp_path, tmp_path / "cache")


@pytest.mark.parametrize("note", ["[]", "{}", '{"files": ["x"]}', '{"files": {"a": 1}}', "no json"])
def test_a_damaged_sample_note_makes_no_sample(tmp_path: Path, note: str) -> None:
    write(tmp_path / "part", one="x")
    (tmp_path / "sample.json").write_text(note)
    assert locate(KITES, tmp_path, tmp_path / "cache").state == "altered"
    sums = {name: files.sha256_file(tmp_path / "part" / name) for name in SUMS}
    (tmp_path / "sample.json").write_text(json.dumps({"seed": 1, "what": "invented", "files": sums}))
    assert locate(KITES, tmp_path, tmp_path / "cache").state == "sample"


def test_datasets_with_equal_file_names_are_distinguished_by_their_folder(tmp_path: Path) -> None:
    known = registry().datasets
    for name in ("empdial", "empdial_ei"):
        form = known[name].forms[0]
        for file in form.files:
            path = tmp_path / "release" / file.name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)
    for name in ("empdial", "empdial_ei"):
        found = locate(known[name], tmp_path, tmp_path / "cache")
        assert {path.read_text() for path in found.paths.values()} == {name}
    (tmp_path / "others").mkdir()
    for part in ("train", "valid", "test"):
        (tmp_path / "others" / f"{part}.csv").write_text("of nobody we know")
    (tmp_path / "release").rename(tmp_path / ".hidden")
    assert locate(known["empdial"], tmp_path, tmp_path / "cache").state == "missing"


def test_card_symlink_message(tmp_path: Path) -> None:
    """A link of one file, where `ls` shows it: it is named, with where it leads and what to do."""
    write(tmp_path / "elsewhere")
    (tmp_path / "data" / "kites").mkdir(parents=True)
    write(tmp_path / "data" / "kites")
    link = tmp_path / "data" / "kites" / "two.csv"
    link.unlink()
    link.symlink_to("../../elsewhere/two.csv")
    found = locate(KITES, tmp_path / "data", tmp_path / "cache")
    assert found.state == "missing"
    assert (
        f"{link} is a link that leads out of the data folder, to {tmp_path / 'elsewhere' / 'two.csv'}; replace"
        in found.problem
    )
    assert "--data" in found.problem
    (tmp_path / "linked").symlink_to(tmp_path / "elsewhere")
    assert locate(KITES, tmp_path / "linked", tmp_path / "cache").state == "missing"  # part/ lacks: no link is at fault
    (tmp_path / "elsewhere").rename(tmp_path / "part")
    assert locate(KITES, tmp_path, tmp_path / "cache").state == "found"  # a link does no harm where files are


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda at: (at / "kites").symlink_to("nowhere"), "kites is a link to {root}/nowhere, which is not there"),
        (lambda at: (at / "kites").write_text("x"), "kites must be a folder, but is not"),
        (lambda at: (at / "kites" / "one.csv").mkdir(parents=True), "one.csv must be a file, but is not"),
        (
            lambda at: link(at / "kites" / "one.csv", "gone.csv"),
            "is a link to {root}/kites/gone.csv, which is not there",
        ),
        (lambda at: link(at / "kites" / "one.csv", "one.csv"), "one.csv is a link to"),
        (lambda at: link(at / "part", "/"), "is missing: fly one"),
    ],
)
def test_what_is_there_instead_of_a_file_is_named(tmp_path: Path, make, words: str) -> None:
    (tmp_path / "data").mkdir()
    make(tmp_path / "data")
    found = locate(KITES, tmp_path / "data", tmp_path / "cache")
    assert found.state == "missing"
    assert words.format(root=tmp_path / "data") in found.problem


def link(path: Path, target: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(target)


def test_a_data_root_that_is_no_folder_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").symlink_to("scratch")
    assert "data is a link to" in locate(KITES, tmp_path / "data", tmp_path / "cache").problem
    (tmp_path / "file").write_text("x")
    assert "file must be a folder, but is not" in locate(KITES, tmp_path / "file", tmp_path / "cache").problem


def test_a_folder_that_may_not_be_entered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "kites")
    honest = os.lstat

    def refuse(path, *_, **__):
        if Path(path).name == "one.csv":
            raise PermissionError(13, "Permission denied")
        return honest(path)

    monkeypatch.setattr(Path, "is_file", lambda path: bool(refuse(path)))
    monkeypatch.setattr(os, "lstat", refuse)
    problem = locate(KITES, tmp_path, tmp_path / "cache").problem
    assert "one.csv cannot be accessed: Permission denied; get access to its folder" in problem


@pytest.mark.parametrize(
    "names", [("train/d.csv", "dev/d.csv", "test/d.csv"), ("one/d.csv", "two/d.csv"), ("d.csv", "x/d.csv")]
)
def test_one_file_never_serves_two_names(tmp_path: Path, names: tuple[str, ...]) -> None:
    dataset = replace(KITES, forms=(replace(FORM, files=tuple(RawFile(name=name) for name in names)),))
    own = tmp_path / "data" / "kites"
    own.mkdir(parents=True)
    (own / "d.csv").write_text("kite")
    assert locate(dataset, tmp_path / "data", tmp_path / "cache").state == "missing"
    for name in names[:-1]:
        (own / name).parent.mkdir(exist_ok=True)
        (own / name).write_text("kite")
    found = locate(dataset, tmp_path / "data", tmp_path / "cache")
    assert f"{len(names) - 1} of {len(names)} files are there, {names[-1]} is not" in found.problem
    link(own / names[-1], str(own / names[0]))
    found = locate(dataset, tmp_path / "data", tmp_path / "cache")
    assert found.state == "missing"
    assert f"{own / names[0]} and {own / names[-1]} are one file; put a separate file in each place" in found.problem
    (own / names[-1]).unlink()
    (own / names[-1]).write_text("kite")
    found = locate(dataset, tmp_path / "data", tmp_path / "cache")
    assert {name: path.relative_to(own).as_posix() for name, path in found.paths.items()} == {
        name: name for name in names
    }
