"""Sending arrays where Slurm refuses, is silent, or answers too late: each array reaches it exactly once.

Slurm's commands are stand-ins here, since its failures must be staged; tests/cluster has the real one.
"""

import re
import subprocess
import time
from pathlib import Path

import pytest

from empslurm.errors import SchedulerError
from empslurm.launch import element, slurm
from empslurm.launch import submission as submissions
from empslurm.launch.slurm import Sender, reconcile
from empslurm.launch.submission import Submission
from empslurm.profile import Mail, Profile, load_profile
from empslurm.store import RunsRoot

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "sbatch.sh"


def sender(root: RunsRoot, made: Submission, *, wait: bool = True, **changes: object) -> Sender:
    profile = Profile(**{"name": "x", "kind": "slurm", **changes})  # type: ignore[arg-type]
    return Sender(root, made, profile, Path("/code"), waiting_for={}, wait=wait, say=lambda _: None)


def taken(lab: Path) -> list[str]:
    """Names of the arrays that Slurm has."""
    return [line.split()[1] for line in (lab / "taken").read_text().splitlines()]


def test_everything_is_sent_once_with_its_dependencies(lab: Path, root: RunsRoot, made: Submission) -> None:
    sent = sender(root, made).send()
    # Eight baselines exceed MaxArraySize 6; eight packs of transfers wait for three baselines each.
    assert (sent.n_left, len(sent.jobs), len(set(taken(lab)))) == (0, 10, 10)
    known, unresolved = submissions.scan(root)
    assert (sorted(known), unresolved) == (sorted(sent.jobs), [])
    elements = sorted(len(submissions.load_array(path).elements) for path in known.values())
    assert elements == [1] * 8 + [2, 6]
    waits = (lab / "dependencies").read_text().split()
    assert len(waits) == 8
    assert all(re.fullmatch(r"afterany(:10[12]_\d){3}", line) for line in waits)


def test_an_element_has_a_pack_for_each_slot_of_its_job(lab: Path, root: RunsRoot, made: Submission) -> None:
    sender(root, made, gpus=4, num_processes=2, packs_per_gpu=2).send()
    known, _ = submissions.scan(root)
    first = submissions.load_array(known["101"])
    assert first.elements == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_a_node_is_told_what_its_profile_says_of_gpus() -> None:
    given = element.settings(Profile(name="x", kind="slurm", gpus=4, packs_per_gpu=2, exclude="node7"))
    assert (given.gpus, given.packs_per_gpu, given.exclude) == (4, 2, "node7")


def test_a_refusal_for_good_says_what_to_mend_and_leaves_nothing(lab: Path, root: RunsRoot, made: Submission) -> None:
    (lab / "answers").write_text(
        "REFUSE Batch job submission failed: Invalid account or account/partition combination\n"
    )
    with pytest.raises(SchedulerError, match=r"Invalid account.*mend x\.yaml"):
        sender(root, made).send()
    assert submissions.scan(root) == ({}, [])
    assert not list((made.path(root).parent / "arrays").iterdir())


def test_a_time_limit_beyond_the_partitions_is_no_queue_limit(lab: Path, root: RunsRoot, made: Submission) -> None:
    text = (
        "QOSMaxWallDurationPerJobLimit; Job violates accounting/QOS policy (job submit limit, user's size and/or time)"
    )
    (lab / "answers").write_text(f"REFUSE {text}\n")
    with pytest.raises(SchedulerError, match="QOSMaxWallDurationPerJobLimit"):
        sender(root, made).send()


def test_a_limit_makes_arrays_smaller_then_waits(lab: Path, root: RunsRoot, made: Submission) -> None:
    limit = "REFUSE AssocMaxSubmitJobLimit\n"
    (lab / "answers").write_text(limit * 2 + "TAKE\n" + limit * 4)
    sent = sender(root, made).send()
    assert sent.n_left == 0
    known, _ = submissions.scan(root)
    places = [
        place for path in known.values() for element_ in submissions.load_array(path).elements for place in element_
    ]
    assert sorted(places) == list(range(16))
    assert len(submissions.load_array(known["101"]).elements) == 1


def test_without_waiting_the_rest_is_left(lab: Path, root: RunsRoot, made: Submission) -> None:
    (lab / "answers").write_text("TAKE\n" + "REFUSE QOSMaxSubmitJobPerUserLimit\n" * 9)
    sent = sender(root, made, wait=False).send()
    assert (sent.jobs, sent.n_left) == (("101",), 10)
    assert submissions.scan(root)[1] == []


def test_an_answer_that_was_lost_is_found_in_the_queue(lab: Path, root: RunsRoot, made: Submission) -> None:
    away = "REFUSE Batch job submission failed: Unable to contact slurm controller (connect failure)\n"
    lost = "LOSE Batch job submission failed: Socket timed out on send/recv operation\n"
    (lab / "answers").write_text(away + lost)
    sent = sender(root, made).send()
    assert sent.jobs[0] == "101"
    assert len(taken(lab)) == len(set(taken(lab))) == 10


def test_a_controller_that_stays_away_ends_in_a_sentence_and_the_next_submit_settles_it(
    lab: Path, root: RunsRoot, made: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    (lab / "answers").write_text("LOSE Unable to contact slurm controller\n" + "REFUSE Unable to contact slurm\n" * 999)
    (lab / "silent").touch()
    monkeypatch.setattr(slurm, "PATIENCE_S", 0.2)
    with pytest.raises(SchedulerError, match="nothing is lost"):
        sender(root, made).send()
    with pytest.raises(SchedulerError, match="squeue must answer"):
        reconcile(root, lambda _: None)
    (lab / "silent").unlink()
    reconcile(root, lambda _: None)
    known, unresolved = submissions.scan(root)
    assert (list(known), unresolved) == (["101"], [])


def test_what_never_reached_slurm_is_void(
    lab: Path, root: RunsRoot, made: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = submissions.mark(root, made, [[0], [1]], "demo")
    monkeypatch.setattr(slurm, "SETTLE_S", 0.5)
    told: list[str] = []
    start = time.monotonic()
    reconcile(root, told.append)
    assert time.monotonic() - start < 5
    assert "looking whether Slurm has" in told[0]
    assert submissions.scan(root) == ({}, [])
    assert array.path.with_suffix(".void").exists()


def test_the_batch_script(lab: Path, root: RunsRoot, made: Submission) -> None:
    """Everything a reviewer must notice when it changes."""
    sender(
        root,
        made,
        partition="gpu",
        account="lab",
        qos="normal",
        gpus=1,
        constraint="a100|h100",
        exclude="node[3-4]",
        setup=("module load cuda", "source .venv/bin/activate"),
        environment={"WORDS": "it's two"},
        mail=Mail(user="me@example.org"),
        umask="007",
        python="apptainer exec --nv image.sif python",
        time=90,
    ).send()
    text = (lab / "script-101").read_text()
    folder = made.path(root).parent
    text = text.replace(str(folder.resolve()), "SUBMISSION")
    text = re.sub(r"demo-baseline\.[0-9a-f]{8}", "demo-baseline.NONCE", text)
    assert text == GOLDEN.read_text(), f"write {GOLDEN.name} again if this is meant"
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_the_debug_profile_stays_above_submitits_ten_minutes() -> None:
    for name in ("debug", "testcluster", "example-single-gpu", "example-multi-gpu"):
        profile = load_profile(ROOT / "slurm" / f"{name}.yaml")
        assert profile.time > 10
        assert 0 < element.settings(profile).grace_s < profile.signal_lead_s
