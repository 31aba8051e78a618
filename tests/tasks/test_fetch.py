import fcntl
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from empslurm.errors import DataError
from empslurm.tasks import fetch, registry
from empslurm.tasks.fetch import fetch_file, source_url
from empslurm.tasks.schema import RawFile
from tests.tasks.server import Site, serving

BODY = bytes(range(256)) * 2_000
FILE = RawFile(name="kites.csv", sha256=hashlib.sha256(BODY).hexdigest())


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[Site]:
    monkeypatch.setattr(fetch, "WAITS_S", (0.0, 0.0, 0.0))
    with serving() as made:
        made.files["/kites.csv"] = BODY
        yield made


def get(site: Site, folder: Path, file: RawFile = FILE) -> fetch.Fetched:
    return fetch_file(file, f"{site.url}/kites.csv", folder / "kites.csv")


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_file_comes_whole_and_is_not_fetched_again(site: Site, tmp_path: Path) -> None:
    seen: list[tuple[int, int | None]] = []
    made = fetch_file(FILE, f"{site.url}/kites.csv", tmp_path / "kites.csv", lambda *step: seen.append(step))
    assert (made.n_bytes, made.sha256, made.checked, made.downloaded) == (len(BODY), FILE.sha256, True, True)
    assert seen[-1] == (len(BODY), len(BODY))
    assert len(seen) > 1
    assert not get(site, tmp_path).downloaded
    assert len(site.requests) == 1
    assert left(tmp_path) == ["kites.csv"]


def test_a_cut_connection_goes_on_where_it_stopped(site: Site, tmp_path: Path) -> None:
    site.cuts = [100_000, 50_000]
    assert get(site, tmp_path).n_bytes == len(BODY)
    assert [wanted for _, wanted in site.requests] == [None, "bytes=100000-", "bytes=150000-"]
    assert (tmp_path / "kites.csv").read_bytes() == BODY


def test_what_came_is_kept_for_the_next_call(site: Site, tmp_path: Path) -> None:
    site.cuts = [1_000] * fetch.ATTEMPTS
    with pytest.raises(DataError, match="the connection") as caught:
        get(site, tmp_path)
    assert "4,000 bytes are kept: run the same command again" in str(caught.value)
    assert left(tmp_path) == [".kites.csv.part"]
    get(site, tmp_path)
    assert site.requests[-1] == ("/kites.csv", "bytes=4000-")
    assert left(tmp_path) == ["kites.csv"]


def test_a_server_without_ranges_starts_over(site: Site, tmp_path: Path) -> None:
    site.ranges = False
    site.cuts = [100_000]
    get(site, tmp_path)
    assert (tmp_path / "kites.csv").read_bytes() == BODY


def test_wrong_bytes_are_refused_and_nothing_stays(site: Site, tmp_path: Path) -> None:
    site.files["/kites.csv"] = BODY[:-1] + b"!"
    with pytest.raises(
        DataError, match=r"as pinned, but came with 512,000 wrong bytes.*try another server with --mirror"
    ):
        get(site, tmp_path)
    assert len(site.requests) == 1
    assert left(tmp_path) == []


def test_a_wrong_beginning_of_an_earlier_call_is_thrown_away(site: Site, tmp_path: Path) -> None:
    (tmp_path / ".kites.csv.part").write_bytes(b"of another file")
    get(site, tmp_path)
    assert [wanted for _, wanted in site.requests] == ["bytes=15-", None]
    assert (tmp_path / "kites.csv").read_bytes() == BODY


@pytest.mark.parametrize(("there", "n_requests"), [(BODY, 1), (BODY + b"more", 2)])
def test_a_part_that_is_whole_or_too_long(site: Site, tmp_path: Path, there: bytes, n_requests: int) -> None:
    (tmp_path / ".kites.csv.part").write_bytes(there)
    get(site, tmp_path)
    assert len(site.requests) == n_requests
    assert (tmp_path / "kites.csv").read_bytes() == BODY


def test_a_busy_server_is_asked_again(site: Site, tmp_path: Path) -> None:
    site.statuses = [503, 429]
    assert get(site, tmp_path).downloaded
    assert len(site.requests) == 3


@pytest.mark.parametrize(
    ("status", "word"), [(404, "has no such file"), (401, "asks for a login"), (410, "answered 410")]
)
def test_a_refusal_is_final_and_says_what_to_do(site: Site, tmp_path: Path, status: int, word: str) -> None:
    site.statuses = [status]
    with pytest.raises(DataError, match=f"{word}; .*`empslurm data status`, .* --mirror"):
        get(site, tmp_path)
    assert len(site.requests) == 1


def test_what_is_there_and_wrong_is_not_replaced(site: Site, tmp_path: Path) -> None:
    (tmp_path / "kites.csv").write_bytes(b"mine")
    with pytest.raises(DataError, match="but has other bytes; move it away and fetch again"):
        get(site, tmp_path)
    assert (tmp_path / "kites.csv").read_bytes() == b"mine"
    assert site.requests == []


@pytest.mark.parametrize("url", ["ftp://example.org/x", "nonsense"])
def test_an_address_that_is_none(tmp_path: Path, url: str) -> None:
    with pytest.raises(DataError, match="must be an http or https address"):
        fetch_file(FILE, url, tmp_path / "kites.csv")


def test_a_server_that_does_not_answer(site: Site, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"the connection failed \(ConnectError\), 4 times; 0 bytes are kept"):
        fetch_file(FILE, "http://127.0.0.1:9/kites.csv", tmp_path / "kites.csv")


def test_two_fetches_of_one_file_do_not_mix(site: Site, tmp_path: Path) -> None:
    with open(tmp_path / ".kites.csv.lock", "w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(DataError, match="another is running"):
            get(site, tmp_path)


def test_git_ids_and_files_without_a_checksum(site: Site, tmp_path: Path) -> None:
    blob = hashlib.sha1(f"blob {len(BODY)}\0".encode() + BODY).hexdigest()
    assert get(site, tmp_path, RawFile(name="kites.csv", git_blob=blob)).checked
    assert not get(site, tmp_path, RawFile(name="kites.csv")).checked
    (tmp_path / "kites.csv").unlink()
    with pytest.raises(DataError, match="wrong bytes"):
        get(site, tmp_path, RawFile(name="kites.csv", git_blob="0" * 40))


def test_sources_are_pinned_commits_and_a_mirror_is_a_data_root() -> None:
    known = registry()
    fetched = set()
    for dataset in known.datasets.values():
        for file in dataset.forms[0].files:
            url = source_url(dataset, file, None)
            if url is not None:
                fetched.add(dataset.id)
                assert url.startswith("https://raw.githubusercontent.com/")
                assert len(url.split("/")[5]) == 40
    assert fetched == {"epitome", "empdial_ei", "empdial", "eqt", "mi", "hope"}
    mi = known.datasets["mi"]
    url = source_url(mi, mi.forms[0].files[0], "http://mirror.example/data/")
    assert url == "http://mirror.example/data/mi/MI%20Dataset.csv"
