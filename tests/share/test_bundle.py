"""A bundle holds a study without its data: others gather it, check it and continue it."""

import html
import io
import json
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Callable
from pathlib import Path

import jsonschema
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from empslurm import files, reference
from empslurm.errors import DamagedError, EmpslurmError, StoreError, UsageError
from empslurm.report.write import write
from empslurm.share import bundle as bundles
from empslurm.share import study
from empslurm.share.bundle import contents, every_eval_ever
from empslurm.share.bundle import texts as texts_of
from empslurm.share.bundle.layout import CHECKSUMS, CRATE, Entry
from tests.gather.grids import finish
from tests.project import Project
from tests.share.conftest import MANIFEST as SMALL

pytestmark = pytest.mark.heavy
CARD = """\
id: kite_mood
title: Kite Mood
file: kites.csv
format: csv
columns: {text: said, label: mood, group: said}
kind: classification
labels: [up, down]
data_source: Twitter
language_setting: social media
citation: Nobody (2026). Kites of invention.
licence: CC BY 4.0
"""
TIME = re.compile(r"20\d\d-\d\d-\d\d \d\d:\d\d UTC")


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def tables(folder: Path) -> dict[str, bytes]:
    """The files of a gather without what differs each time: the page's time, and the digest of its inputs."""
    found = files_of(folder)
    found["report.html"] = TIME.sub("", found["report.html"].decode()).encode()
    return {name: data for name, data in found.items() if name != "summary.json"}


def gathered(bundle: Path, out: Path) -> dict[str, bytes]:
    with bundles.opened(bundle) as study:
        write(study.gathered(), out, ratings=reference.ratings(), margin=study.plan.manifest.margin)
    return tables(out)


def texts(project: Project) -> set[str]:
    """Every text of the prepared data."""
    found: set[str] = set()
    for path in (project.path / "runs" / "prepared").glob("*/examples.parquet"):
        table = pq.read_table(path)
        found |= {*table["text"].to_pylist(), *(turn for turns in table["context"].to_pylist() for turn in turns)}
    return {text for text in found if len(text) > 15}


def test_a_bundle_without_the_data_gives_identical_tables(trained: Project, bundle: Path, tmp_path: Path) -> None:
    trained.call("gather", "small", "--out", str(tmp_path / "here"))
    here = tables(tmp_path / "here")
    assert len(here) > 20
    assert gathered(bundle, tmp_path / "there") == here
    assert tables(bundle / "tables") == here


def test_a_zip_file_gives_the_same(trained: Project, bundle: Path, tmp_path: Path) -> None:
    place = tmp_path / "study.zip"
    told = trained.json("bundle", "small", "--to", str(place))
    assert told["written"]
    assert told["n_done"] == told["n_cells"] == 8
    with zipfile.ZipFile(place) as archive:
        packed = {name: archive.read(name) for name in archive.namelist()}
    varying = {"tables/report.html", "tables/summary.json", CHECKSUMS}
    loose = files_of(bundle)
    assert set(packed) == set(loose)
    assert {name for name in packed if packed[name] != loose[name]} <= varying
    assert told["n_bytes"] == sum(len(data) for name, data in packed.items() if name != CHECKSUMS)
    assert gathered(place, tmp_path / "out") == tables(bundle / "tables")


def test_no_text_of_the_data_is_in_it(trained: Project, bundle: Path) -> None:
    wanted = texts(trained)
    assert len(wanted) > 100
    held = b"\n".join(files_of(bundle).values()).decode(errors="replace")
    strings = [
        value
        for path in bundle.rglob("*.parquet")
        for column in pq.read_table(path).columns
        for value in column.to_pylist()
        if isinstance(value, str)
    ]
    held += "\n".join(strings)
    assert not [text for text in wanted if text in held]
    assert any(text in (trained.path / "data").joinpath("news", name).read_text() for text in wanted for name in
               [path.name for path in (trained.path / "data" / "news").iterdir()])  # fmt: skip


@pytest.mark.parametrize("column", ["id", "group"])
def test_a_text_that_names_an_example_is_refused(tmp_path: Path, column: str) -> None:
    from tests.project import create

    manifest = """\
name: kites
tasks: [kite_mood]
pairs: none
cards: [../cards]
backbone: tiny
training: {epochs: 1, batch_size: 8, max_length: 16}
"""
    project = create(tmp_path, {"kites": manifest})
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "kite_mood.yaml").write_text(CARD.replace("group: said", f"{column}: said"))
    (tmp_path / "data" / "kite_mood").mkdir(parents=True)
    rows = [
        f"the {n} kites of my town {'rise' if n % 2 else 'fall'} today,{'up' if n % 2 else 'down'}" for n in range(80)
    ]
    (tmp_path / "data" / "kite_mood" / "kites.csv").write_text("\n".join(["said,mood", *rows, ""]))
    project.call("submit", "kites", "--profile", "local")
    done = project.run("bundle", "kites", "--to", "out", expect=2)
    assert "predictions.parquet would hold one of kite_mood" in done.stderr
    assert not (tmp_path / "out").exists()


def changed(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], str]:
    def do(folder: Path) -> str:
        path = next(path for path in sorted(folder.rglob("*")) if path.is_file() and path.match(name))
        path.write_bytes(change(path.read_bytes()))
        return path.relative_to(folder).as_posix()

    return do


def removed(folder: Path) -> str:
    (folder / "tables" / "long.csv").unlink()
    return "tables/long.csv"


def added(folder: Path) -> str:
    (folder / "runs" / "extra.txt").write_text("more")
    return "runs/extra.txt"


def linked(folder: Path) -> str:
    path = folder / "study.json"
    path.rename(folder.parent / "elsewhere.json")
    path.symlink_to(folder.parent / "elsewhere.json")
    return "study.json"


@pytest.mark.parametrize(
    "tamper",
    [
        changed("**/predictions.parquet", lambda data: data[:-9] + b"X" + data[-8:]),
        changed("tables/long.csv", lambda data: data.replace(b"0.", b"1.", 1)),
        changed("**/result.json", lambda data: data + b" "),
        changed("plan.jsonl", lambda data: data[:-20]),
        changed("checksums.txt", lambda data: b"nothing\n" + data),
        removed,
        added,
        linked,
    ],
)
def test_a_tampered_bundle_is_refused_by_the_name_of_the_file(
    bundle: Path, tmp_path: Path, tamper: Callable[[Path], str]
) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    name = tamper(folder)
    with pytest.raises(DamagedError, match=re.escape(name)), bundles.opened(folder):
        pass


def forge(folder: Path, name: str) -> None:
    """Write the checksum that a changed file has now."""
    lines = (folder / CHECKSUMS).read_text().splitlines()
    fresh = [f"{files.sha256_file(folder / name)}  {name}" if line[66:] == name else line for line in lines]
    (folder / CHECKSUMS).unlink()
    (folder / CHECKSUMS).write_text("\n".join([*fresh, ""]))


def test_a_forged_list_of_checksums_does_not_hide_a_forged_prediction(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    name = changed("**/predictions.parquet", lambda data: data[:-9] + b"X" + data[-8:])(folder)
    forge(folder, name)
    with bundles.opened(folder) as study:
        refused = [cell for cell in study.gathered().missing if cell.state == "refused"]
    assert [cell.id in name for cell in refused] == [True]


@pytest.mark.parametrize("name", ["study.json", "plan.jsonl", "study/manifests/small.yaml"])
@pytest.mark.parametrize(
    "content", [b"", b"\xff\xfe", b"[" * 100_000, b'{"version": 99}', b'{"kind": "baseline"}', b"null", b"name: [1, 2]"]
)
def test_hostile_notes_are_refused_in_a_sentence(bundle: Path, tmp_path: Path, name: str, content: bytes) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder, copy_function=os.link)
    (folder / name).unlink()
    (folder / name).write_bytes(content)
    forge(folder, name)
    with pytest.raises(EmpslurmError) as refused, bundles.opened(folder):
        pass
    assert Path(name).name in str(refused.value)


def test_a_manifest_outside_the_bundle_is_not_read(bundle: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bundle"
    shutil.copytree(bundle, folder)
    note = json.loads((folder / "study.json").read_text())
    (tmp_path / "outside.yaml").write_text("name: outside")
    for path in ("../outside.yaml", str(tmp_path / "outside.yaml")):
        (folder / "study.json").write_text(json.dumps({**note, "manifest": path}))
        forge(folder, "study.json")
        with pytest.raises(DamagedError, match="must name files below it"), bundles.opened(folder):
            pass


def test_what_is_no_bundle_is_refused_in_a_sentence(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.zip").write_bytes(b"")
    (tmp_path / "torn.zip").write_bytes(b"PK\x03\x04 and no more")
    with zipfile.ZipFile(tmp_path / "other.zip", "w") as archive:
        archive.writestr("a.txt", "a")
    with zipfile.ZipFile(tmp_path / "escape.zip", "w") as archive:
        archive.writestr("../outside.txt", "a")
        archive.writestr(CRATE, "{}")
    with zipfile.ZipFile(tmp_path / "link.zip", "w") as archive:
        info = zipfile.ZipInfo("study.json")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
        archive.writestr(CRATE, "{}")
    cases = {
        "empty.zip": "must be a zip file",
        "torn.zip": "must be a zip file",
        "other.zip": "holds no ro-crate-metadata.json",
        "escape.zip": "outside.txt",
        "link.zip": "is a link",
        "nowhere": "must be a bundle",
    }
    for name, words in cases.items():
        with pytest.raises((DamagedError, UsageError), match=words), bundles.opened(tmp_path / name):
            pass
    assert not (tmp_path.parent / "outside.txt").exists()


def test_a_folder_that_a_desktop_packed_is_opened(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "pack" / "small")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "pack")
    with bundles.opened(tmp_path / "packed.zip") as study:
        assert study.gathered().n_done == 8


def test_a_damaged_result_is_not_given_away(copy: Project) -> None:
    path = next((copy.path / "runs" / "cells").glob("*/output-*/predictions.parquet"))
    path.write_bytes(path.read_bytes()[:-1])
    done = copy.run("bundle", "small", "--to", "out", expect=2)
    assert "must pass its check" in done.stderr
    assert path.name in done.stderr
    assert not (copy.path / "out").exists()


def test_nothing_is_written_over_and_a_dry_run_writes_nothing(copy: Project) -> None:
    before = copy.files()
    told = copy.json("bundle", "small", "--to", "out", "--dry-run", "--with", "adapters")
    assert not told["written"]
    assert not (copy.path / "out").exists()
    assert {part["path"] for part in told["parts"]} >= {"runs/", "tables/", "study/", "README.md"}
    assert any(name.endswith(".safetensors") for name in before)
    (copy.path / "full").mkdir()
    (copy.path / "full" / "mine.txt").write_text("mine")
    assert "is there already" in copy.run("bundle", "small", "--to", "full", expect=2).stderr
    (copy.path / "file.zip").write_text("mine")
    assert "is there already" in copy.run("bundle", "small", "--to", "file.zip", expect=2).stderr
    assert (copy.path / "file.zip").read_text() == "mine"


def test_wrong_words_are_refused(trained: Project, tmp_path: Path) -> None:
    place = str(tmp_path / "out")
    assert "SPDX" in trained.run("bundle", "small", "--to", place, "--licence", "as you like", expect=2).stderr
    assert "author" in trained.run("bundle", "small", "--to", place, "--author", " ", expect=2).stderr
    done = trained.run("--runs", str(tmp_path / "none"), "bundle", "small", "--to", place, expect=2)
    assert "must hold results" in done.stderr


def test_adapters_are_there_only_where_they_are_asked_for(trained: Project, bundle: Path, tmp_path: Path) -> None:
    assert not list(bundle.rglob("*.safetensors"))
    trained.call("bundle", "small", "--to", str(tmp_path / "whole"), "--with", "adapters")
    cells = sorted(path.name for path in (bundle / "runs" / "cells").iterdir())
    for cell in cells:
        absent = json.loads((bundle / "runs" / "cells" / cell / "left-out.json").read_text())["files"]
        output = next((tmp_path / "whole" / "runs" / "cells" / cell).glob("output-*"))
        assert absent
        assert all((output / name).is_file() for name in absent)
        assert not (output.parent / "left-out.json").exists()


def test_the_crate_is_as_its_specification_demands(bundle: Path) -> None:
    crate = json.loads((bundle / CRATE).read_text())
    assert crate["@context"] == "https://w3id.org/ro/crate/1.1/context"
    entities = {entity["@id"]: entity for entity in crate["@graph"]}
    assert len(entities) == len(crate["@graph"])
    assert entities[CRATE]["about"] == {"@id": "./"}
    assert entities[CRATE]["conformsTo"] == {"@id": "https://w3id.org/ro/crate/1.1"}
    root = entities["./"]
    assert root["@type"] == "Dataset"
    assert root["name"]
    assert root["description"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", root["datePublished"])
    assert entities[root["license"]["@id"]]["@type"] == "CreativeWork"
    parts = [part["@id"] for part in root["hasPart"]]
    assert {"README.md", "tables/", "runs/", "study/", "study.json", CHECKSUMS} <= set(parts)
    for name in parts:
        assert (bundle / name).exists(), name
        assert entities[name]["@type"] == ("Dataset" if name.endswith("/") else "File")
        size = entities[name].get("contentSize")
        assert size is None or int(size) == (bundle / name).stat().st_size
    linked_to = [item["@id"] for item in [*root["isBasedOn"], *([root["creator"]])]]
    assert all(name in entities for name in linked_to)
    of_data = {entities[item["@id"]]["name"]: entities[item["@id"]] for item in root["isBasedOn"]}
    assert len(of_data) == 2
    assert all(entity["license"] and entity["citation"] for entity in of_data.values())


def test_metadata_for_a_deposit(trained: Project, tmp_path: Path) -> None:
    who = ("--author", "Kite, Ada", "--author", "River, Bo", "--licence", "CC0-1.0")
    trained.call("bundle", "small", "--to", str(tmp_path / "out"), *who)
    metadata = json.loads((tmp_path / "out" / "zenodo.json").read_text())["metadata"]
    assert metadata["creators"] == [{"name": "Kite, Ada"}, {"name": "River, Bo"}]
    assert (metadata["license"], metadata["upload_type"]) == ("cc0-1.0", "dataset")
    assert "Licence:" in metadata["description"]
    assert metadata["publication_date"].startswith("20")
    crate = {entity["@id"]: entity for entity in json.loads((tmp_path / "out" / CRATE).read_text())["@graph"]}
    assert [crate[item["@id"]]["name"] for item in crate["./"]["author"]] == ["Kite, Ada", "River, Bo"]
    readme = (tmp_path / "out" / "README.md").read_text()
    assert "Kite, Ada; River, Bo" in readme
    assert "licence:" in readme
    listed = (tmp_path / "out" / "environment.txt").read_text()
    assert re.search(r"(?m)^torch==\S+$", listed)
    assert "# python: " in listed


def test_scores_and_answers_in_the_schema_of_every_eval_ever(trained: Project, tmp_path: Path) -> None:
    trained.call("bundle", "small", "--to", str(tmp_path / "out"), "--with", "every-eval-ever")
    folder = tmp_path / "out" / "every_eval_ever"
    records = sorted(folder.rglob("*.json"))
    assert len(records) == 8
    n_answers = 0
    for path in records:
        record = json.loads(path.read_text())
        jsonschema.validate(record, dict(every_eval_ever.RECORD))
        details = record.get("detailed_evaluation_results")
        if "epitome_er" not in path.parts[-2].partition("-s")[0].split("--")[-1]:
            assert details is None  # ratings have no right answer
            continue
        answers = folder / details["file_path"]
        assert files.sha256_file(answers) == details["checksum"]
        lines = [json.loads(line) for line in answers.read_text().splitlines()]
        assert len(lines) == details["total_rows"] > 0
        for line in lines:
            jsonschema.validate(line, dict(every_eval_ever.ANSWER))
            assert line["evaluation_id"] == record["evaluation_id"]
        accuracy = next(
            result["score_details"]["score"]
            for result in record["evaluation_results"]
            if result["metric_config"]["metric_id"] == "accuracy"
        )
        assert sum(line["evaluation"]["is_correct"] for line in lines) / len(lines) == pytest.approx(accuracy)
        n_answers += len(lines)
    assert n_answers


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("the kites of my town rise today, as ever", True),
        ("The KITES of my town\nrise today -- as ever!", True),
        ("the kites of my town may fall tomorrow", False),  # five words of it
        ("kites of my town rise", True),  # all words of a short text
        ("a cafe\u0301 by the sea", True),  # the same letters in other code points
        ("my town", False),  # too short to be told from any other words
        ("some kites of every town rise today, as ever", False),
        ("今日は風が強いので凧がよく揚がります", True),
        ("昨日は雨だったので凧は家にありました", False),
    ],
)
def test_words_in_a_row_are_found_in_any_file(text: str, found: bool) -> None:
    held = '{"note": "the kites of my town rise today as ever, a caf\u00e9 by the sea, '
    held += '今日は風が強いので凧がよく揚がります"}'
    runs = texts_of._index([Entry(path="a/note.json", data=held.encode())])
    assert texts_of._found(text, runs) == ("a/note.json" if found else None)


def parquet(column: pa.Array, **notes: str) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table({"x": column}).replace_schema_metadata(notes), stream)
    return stream.getvalue()


SAID = "all the kites <3 of my town rise today"


@pytest.mark.parametrize(
    ("name", "data"),
    [
        ("a.html", f"<p>{html.escape(SAID)}</p>".encode()),
        ("a.html", b"<p>all the kites &lt;3 <b>of my</b> town rise today</p>"),
        ("a.html", f'<td title="{html.escape(SAID)}">x</td>'.encode()),
        ("a.html", f"<script>var rows = {json.dumps([SAID])}</script>".encode()),
        ("a.svg", f"<!-- {SAID} -->".encode()),
        ("a.json", json.dumps({"message": f"bad row: {SAID[:-3]}"}).encode()),
        ("a.md", SAID.replace(" ", "_").encode()),
        ("a.parquet", parquet(pa.array([SAID]))),
        ("a.parquet", parquet(pa.array([[SAID]]))),
        ("a.parquet", parquet(pa.array([{"a": [SAID]}]))),
        ("a.parquet", parquet(pa.array([SAID]).dictionary_encode())),
        ("a.parquet", parquet(pa.array([1]), note=SAID)),
    ],
)
def test_a_text_is_found_in_every_kind_of_file(name: str, data: bytes) -> None:
    runs = texts_of._index([Entry(path=name, data=data)])
    assert texts_of._found(SAID, runs) == name
    assert texts_of._found("nobody has said any of these words", runs) is None


# ---- what people's computers do --------------------------------------------------------------------------------------


def test_a_zip_file_of_a_mac_is_opened(bundle: Path, tmp_path: Path) -> None:
    shutil.copytree(bundle, tmp_path / "pack" / "small")
    for name in ("__MACOSX/small/._study.json", "small/._study.json", "small/tables/.DS_Store"):
        files.write_bytes(tmp_path / "pack" / name, b"of a desktop")
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path / "pack")
    with bundles.opened(tmp_path / "packed.zip") as study:
        assert study.gathered().n_done == 8


def test_a_damaged_zip_file_is_told_in_a_sentence(bundle: Path, tmp_path: Path) -> None:
    shutil.make_archive(str(tmp_path / "whole"), "zip", bundle)
    data = (tmp_path / "whole.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "whole.zip") as archive:
        info = archive.getinfo("tables/long.csv")
    begin = info.header_offset + 30 + len(info.filename)
    for at in range(begin, begin + info.compress_size, info.compress_size // 20):
        (tmp_path / "torn.zip").write_bytes(data[:at] + b"\xff\xff\xff\xff" + data[at + 4 :])
        with pytest.raises(DamagedError, match=r"torn\.zip"), bundles.opened(tmp_path / "torn.zip"):
            pass


def test_a_linked_folder_is_refused(bundle: Path, tmp_path: Path) -> None:
    """It is in no list of checksums, and could bring a forged cell in."""
    shutil.copytree(bundle, tmp_path / "bundle")
    (tmp_path / "forged").mkdir()
    (tmp_path / "bundle" / "runs" / "cells" / "forged").symlink_to(tmp_path / "forged")
    with pytest.raises(DamagedError, match="runs/cells/forged"), bundles.opened(tmp_path / "bundle"):
        pass


def test_what_is_odd_in_the_project_gives_a_bundle_that_opens(copy: Project, tmp_path: Path) -> None:
    """A linked manifest and a linked card, and what a desktop leaves; each was once in a bundle that did not open."""
    manifests, shared = copy.path / "manifests", tmp_path / "shared"
    shared.mkdir()
    (shared / "kites.yaml").write_text(CARD)
    (copy.path / "cards").mkdir()
    (copy.path / "cards" / "kite_mood.yaml").symlink_to(shared / "kites.yaml")
    text = (manifests / "small.yaml").read_text()
    (shared / "any.yaml").write_text(f"{text}\ncards: [../cards]\n")
    (manifests / "small.yaml").unlink()
    (manifests / "small.yaml").symlink_to(shared / "any.yaml")
    files.write_bytes(copy.path / "runs" / "suitability" / ".DS_Store", b"of a desktop")
    copy.call("bundle", "small", "--to", "out")
    assert not list((copy.path / "out").rglob(".DS_Store"))
    assert (copy.path / "out" / "study" / "cards" / "kite_mood.yaml").read_text() == CARD
    with bundles.opened(copy.path / "out") as study:
        assert study.gathered().n_done == 8
    assert "Everything agrees" in copy.call("verify", "out")


def test_what_would_not_open_is_not_written(copy: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "_of_project", lambda plan: iter(()))
    monkeypatch.chdir(copy.path)
    found = study.of_manifest("small", runs=Path("runs"), data=Path("data"))
    with pytest.raises(StoreError, match="others must be able to open the bundle"):
        bundles.collect(found, found.gathered(), Path("runs/gathered/none"), bundles.Deposit())


def test_a_file_that_came_meanwhile_is_kept(tmp_path: Path) -> None:
    def come(n: int) -> None:
        (tmp_path / "a.zip").write_bytes(b"mine")

    with pytest.raises(UsageError, match="is there already"):
        bundles.write([Entry(path="a", data=b"x")], tmp_path / "a.zip", come)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a.zip": b"mine"}


def test_a_file_in_the_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    with pytest.raises(StoreError, match="file"):
        bundles.write([Entry(path="a", data=b"x")], tmp_path / "file" / "a.zip")


def test_notes_of_failed_cells_name_no_folders(copy: Project) -> None:
    cell = next((copy.path / "runs" / "cells").iterdir())
    (cell / "result.json").unlink()
    error = {"class": "data", "message": "it failed", "traceback": "File /home/somebody/x.py", "claim": 1, "time": 1.0}
    files.write_json(cell / "error.json", error)
    claim = cell / "claims" / "0001.json"
    noted = {**files.read_object(claim), "log": "/home/somebody/x.log"}
    claim.unlink()
    files.write_json(claim, noted)
    copy.call("bundle", "small", "--to", "out")
    place = copy.path / "out" / "runs" / "cells" / cell.name
    assert files.read_object(place / "error.json") == {**error, "traceback": ""}
    assert files.read_object(place / "claims" / "0001.json") == {**noted, "log": None}
    assert b"/home/somebody" not in b"".join(files_of(copy.path / "out").values())


def test_changes_that_were_not_committed_are_announced(tmp_path: Path) -> None:
    """They are in the sealed provenance, so they cannot be left out."""
    (tmp_path / "small.yaml").write_text(SMALL)
    found = study.of_manifest(tmp_path / "small.yaml", runs=tmp_path / "runs", data=tmp_path / "data")
    for at, cell in enumerate(found.plan.cells):
        finish(found.root, cell, provenance={"code": {"commit": "a" * 40, "diff": "+ a line" if at < 2 else ""}})
    made = bundles.collect(found, found.gathered(), tmp_path / "none", bundles.Deposit())
    assert len(made.uncommitted) == 2
    assert set(made.uncommitted) <= {entry.path for entry in made.entries}
    readme = next(entry.data.decode() for entry in made.entries if entry.path == "README.md")
    assert "In 2 cells it has changes of the code that were not committed" in readme
