"""Send arrays while Slurm refuses, is silent, or answers too late: each array reaches it exactly once.

Slurm's commands are stand-ins here, since failures must be staged; tests/cluster uses the real ones.
"""

import importlib.util
import json
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from empslurm.errors import SchedulerError, UsageError
from empslurm.launch import markers, scontrol, slurm
from empslurm.launch import submission as submissions
from empslurm.launch.profile import Mail, Profile, load_profile
from empslurm.launch.script import refuse_percent
from empslurm.launch.slurm import Sender, Sent, reconcile
from empslurm.launch.states import queue_of
from empslurm.launch.submission import Submission
from empslurm.store.runs import RunsRoot
from tests import inherited
from tests.launch.staged.train import finish

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "sbatch.sh"


def sender(root: RunsRoot, made: Submission, *, wait: bool = True, **changes: Any) -> Sender:
    profile = Profile(**{"name": "x", "kind": "slurm", **changes})
    return Sender(root, made, profile, Path("/code"), waiting_for={}, wait=wait, say=lambda _: None)


def taken(lab: Path) -> list[str]:
    """Names of the arrays that Slurm has."""
    return [line.split()[1] for line in (lab / "taken").read_text().splitlines()]


def test_everything_is_sent_once_with_its_dependencies(lab: Path, root: RunsRoot, made: Submission) -> None:
    sent = sender(root, made).send()
    # Eight baselines exceed MaxArraySize 6; eight packs of transfers wait for three baselines each.
    assert (sent.n_left, len(sent.jobs), len(set(taken(lab)))) == (0, 10, 10)
    known, unresolved = markers.scan(root)
    assert (sorted(known), unresolved) == (sorted(sent.jobs), [])
    elements = sorted(len(markers.load_array(path).elements) for path in known.values())
    assert elements == [1] * 8 + [2, 6]
    waits = (lab / "dependencies").read_text().split()
    assert len(waits) == 8
    assert all(re.fullmatch(r"afterany(:10[12]_\d){3}", line) for line in waits)


def test_an_element_has_a_pack_for_each_slot_of_its_job(lab: Path, root: RunsRoot, made: Submission) -> None:
    sender(root, made, gpus=4, num_processes=2, packs_per_gpu=2).send()
    known, _ = markers.scan(root)
    first = markers.load_array(known["101"])
    assert first.elements == ((0, 1, 2, 3), (4, 5, 6, 7))


def test_a_node_is_told_what_its_profile_says_of_gpus() -> None:
    given = submissions.node_settings(Profile(name="x", kind="slurm", gpus=4, packs_per_gpu=2, exclude="node7"))
    assert (given.gpus, given.packs_per_gpu, given.exclude, given.trackers) == (4, 2, "node7", ())
    given = submissions.node_settings(Profile(name="x", kind="slurm", trackers=("wandb",)))
    assert given.trackers == ("wandb",)


def test_a_permanent_refusal_says_what_to_change_and_leaves_nothing(
    lab: Path, root: RunsRoot, made: Submission
) -> None:
    (lab / "answers").write_text(
        "REFUSE Batch job submission failed: Invalid account or account/partition combination\n"
    )
    with pytest.raises(SchedulerError, match=r"Invalid account.*Slurm names in x\.yaml"):
        sender(root, made).send()
    assert markers.scan(root) == ({}, [])
    assert not list((made.folder(root).file.parent / "arrays").iterdir())


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
    known, _ = markers.scan(root)
    places = [place for path in known.values() for element_ in markers.load_array(path).elements for place in element_]
    assert sorted(places) == list(range(16))
    assert len(markers.load_array(known["101"]).elements) == 1


def test_without_waiting_the_rest_is_left(lab: Path, root: RunsRoot, made: Submission) -> None:
    (lab / "answers").write_text("TAKE\n" + "REFUSE QOSMaxSubmitJobPerUserLimit\n" * 9)
    sent = sender(root, made, wait=False).send()
    assert (sent.jobs, sent.n_left) == (("101",), 10)
    assert markers.scan(root)[1] == []


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
    known, unresolved = markers.scan(root)
    assert (list(known), unresolved) == (["101"], [])


def test_what_never_reached_slurm_is_void(
    lab: Path, root: RunsRoot, made: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = markers.mark(root, made, [[0], [1]], "demo")
    monkeypatch.setattr(slurm, "SETTLE_S", 0.5)
    told: list[str] = []
    start = time.monotonic()
    reconcile(root, told.append)
    assert time.monotonic() - start < 5
    assert "whether Slurm received" in told[0]
    assert markers.scan(root) == ({}, [])
    assert array.path.with_suffix(".void").exists()


def test_the_batch_script(lab: Path, root: RunsRoot, made: Submission) -> None:
    """A reviewer must notice every change of the batch script."""
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
        mail=Mail(user="me@example.org", type=("FAIL", "TIME_LIMIT")),
        umask="007",
        python="apptainer exec --nv image.sif python",
        time=90,
    ).send()
    text = (lab / "script-101").read_text()
    folder = made.folder(root).file.parent
    text = text.replace(str(folder.resolve()), "SUBMISSION").replace(sys.executable, "PYTHON")
    text = re.sub(r"demo-baseline\.[0-9a-f]{8}", "demo-baseline.NONCE", text)
    assert text == GOLDEN.read_text(), f"write {GOLDEN.name} again if this is meant"
    checked = subprocess.run(["bash", "-n"], input=text, text=True, capture_output=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")


def test_train_processes_get_less_time_to_save_than_slurm_gives() -> None:
    for name in ("debug", "testcluster", "example-single-gpu", "example-multi-gpu"):
        profile = load_profile(ROOT / "slurm" / f"{name}.yaml")
        assert 0 < submissions.node_settings(profile).grace_s < profile.signal_lead_s


# ---- what the site demands -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "there", "absent"),
    [
        ({}, ["--mem=8192M", "--requeue"], ["--wckey", "--gpus", "--gres", "--mail", "--exclusive"]),
        ({"gpus": 2, "gpu_type": "a100"}, ["--gpus-per-node=a100:2"], ["--gres"]),
        ({"gpus": 2, "gres": "gpu:a100:2"}, ["--gres=gpu:a100:2"], ["--gpus"]),
        ({"gpus": 1, "gres": "lscratch:50"}, ["--gres=lscratch:50", "--gpus-per-node=1"], []),
        ({"mem_gb": None}, [], ["--mem"]),
        ({"mem_gb": None, "mem_per_cpu_gb": 2.5}, ["--mem-per-cpu=2560M"], ["--mem="]),
        ({"requeues": 0}, ["--no-requeue"], ["--requeue"]),
        ({"wckey": "lab"}, ["--wckey=lab"], []),
        ({"exclusive": True}, ["--exclusive"], []),
        ({"nice": 7, "begin": "now+1hour", "comment": "a b"}, ["--nice=7", "--begin=now+1hour", "--comment='a b'"], []),
        ({"reservation": "r", "licenses": "l:1", "nodelist": "n[1-2]"}, ["--reservation=r", "--nodelist='n[1-2]'"], []),
        ({"sbatch": {"core-spec": 2, "contiguous": True}}, ["--core-spec=2", "--contiguous"], []),
    ],
)
def test_what_a_profile_asks_for_reaches_sbatch(
    lab: Path, root: RunsRoot, made: Submission, changes: dict[str, Any], there: list[str], absent: list[str]
) -> None:
    sender(root, made, **changes).send()
    asked = [line.removeprefix("#SBATCH ") for line in (lab / "script-101").read_text().splitlines() if "#SB" in line]
    assert set(there) <= set(asked)
    assert not [line for line in asked if line.startswith(tuple(absent))]


INHERITED = {**inherited.SLURM, "EMPSLURM_ARRAY": "/an/outer/one"}


def test_nothing_inherited_reaches_slurm_or_the_jobs(
    lab: Path, root: RunsRoot, made: Submission, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in INHERITED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_CONF", "/etc/slurm.conf")
    sender(root, made).send()
    assert queue_of(root).jobs
    for path in (lab / "environment-101", lab / "queue-environment"):
        names = {line.partition("=")[0] for line in path.read_text().splitlines()}
        assert not names & INHERITED.keys()
        assert "SLURM_CONF" in names
    assert {name: os.environ[name] for name in INHERITED} == INHERITED  # nothing is inherited from this process


def test_one_element_is_an_array_too(lab: Path, root: RunsRoot, square: Submission) -> None:
    sender(root, square, array_parallelism=1).send()
    known, _ = markers.scan(root)
    array = markers.load_array(known["102"])
    assert (len(array.elements), array.element_ids("102"), array.cluster) == (1, ["102_0"], "lab")
    assert "#SBATCH --array=0-0%1" in (lab / "script-102").read_text()


def test_an_array_of_one_that_an_earlier_version_sent_is_no_array(root: RunsRoot, made: Submission) -> None:
    array = markers.mark(root, made, [[0]], "demo")
    value = json.loads(array.path.read_text())
    for name in ("cluster", "user", "script"):
        del value[name]
    array.path.write_text(json.dumps(value))
    old = markers.load_array(array.path)
    assert (old.element_ids("12"), old.cluster, old.user, old.script) == (["12"], None, None, "")


def test_a_whole_node_gets_its_share_of_all_packs(lab: Path, root: RunsRoot, made: Submission) -> None:
    sender(root, made, exclusive=True, array_parallelism=2, cpus=8, cpus_per_pack=4).send()
    known, _ = markers.scan(root)
    first = markers.load_array(known["101"])
    assert first.elements == ((0, 1, 2, 3), (4, 5, 6, 7))  # baselines: two jobs, each with two packs at once
    text = (lab / "script-101").read_text()
    assert 'SRUN_CPUS_PER_TASK="$SLURM_CPUS_ON_NODE"' in text
    assert "--cpus-per-task" not in next(line for line in text.splitlines() if line.startswith("srun "))


# ---- refusals and silence --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "away"),
    [
        ("sbatch: error: Batch job submission failed: Unable to contact slurm controller (connect failure)", True),
        ("sbatch: error: Batch job submission failed: Socket timed out on send/recv operation", True),
        ("slurm_load_jobs error: Zero Bytes were transmitted or received", True),
        ("sbatch: error: Batch job submission failed: Slurm backup controller in standby mode", True),
        ("sbatch: error: Slurm temporarily unable to accept job, sleeping and retrying", True),
        ("Command '['sbatch', 'x']' timed out after 120 seconds", True),
        (
            "sbatch: error: You asked the controller for no account. Please try again with --account\n"
            "sbatch: error: Batch job submission failed: Unspecified error",
            False,
        ),
        ("sbatch: error: site policy: connection refused to this queue; try again\nsbatch: error: x failed", True),
        ("sbatch: error: the slurmctld socket plugin says: wrong project, try again", False),
    ],
)
def test_a_sites_own_message_does_not_count_as_silence(said: str, away: bool) -> None:
    assert scontrol.is_away(said) is away


def test_a_refusal_that_asks_to_try_again_is_reported_at_once(lab: Path, root: RunsRoot, made: Submission) -> None:
    (lab / "answers").write_text("REFUSE Please try again with a project, see the controller's wiki\n" * 9)
    with pytest.raises(SchedulerError, match="refuses: Please try again with a project"):
        sender(root, made).send()
    assert len((lab / "asked").read_text().split()) == 1


def test_cancel_ends_a_submission_that_waits_for_room(lab: Path, root: RunsRoot, made: Submission) -> None:
    (lab / "answers").write_text("TAKE\n" + "REFUSE AssocMaxSubmitJobLimit\n" * 9999)
    ended: list[Sent] = []
    thread = threading.Thread(target=lambda: ended.append(sender(root, made).send()))
    thread.start()
    while not (lab / "taken").exists():
        time.sleep(0.01)
    submissions.cancel(root, "demo")
    thread.join(20)
    (sent,) = ended
    assert (sent.cancelled, sent.jobs, sent.n_left) == (True, ("101",), 16)
    assert (lab / "cancelled").read_text() == "101\n"


def test_a_path_that_slurm_would_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no % in its path, .* choose another one with --runs"):
        refuse_percent(RunsRoot(tmp_path / "r 50%job"))
    refuse_percent(RunsRoot(tmp_path / "r 50"))


# ---- the end ---------------------------------------------------------------------------------------------------------


def test_one_job_reports_when_all_others_have_ended(lab: Path, root: RunsRoot, square: Submission) -> None:
    given: dict[str, Any] = {
        "mail": Mail(user="me"),
        "at_end": 'post "$EMPSLURM_MESSAGE"',
        "gpus": 2,
        "gres": "gpu:2",
        "wckey": "lab",
    }
    sent = sender(root, square, **given).send()
    assert "--mail" not in (lab / "script-101").read_text()
    (script,) = [path for path in lab.glob("script-*") if "demo-end." in path.read_text()]
    lines = script.read_text().splitlines()
    asked = [f"--dependency=afterany:{':'.join(sent.jobs)}", "--mail-type=END,FAIL", "--wckey=lab", "--requeue"]
    assert {f"#SBATCH {option}" for option in asked} <= set(lines)
    assert not [line for line in lines if "gpu" in line]
    assert subprocess.run(["bash", "-n"], input=script.read_text(), text=True, check=False).returncode == 0
    assert submissions.end_jobs(root, "demo") == {
        line.split()[1] for line in (lab / "taken").read_text().splitlines()[-1:]
    }


def test_without_that_job_everything_else_is_sent(lab: Path, root: RunsRoot, square: Submission) -> None:
    (lab / "answers").write_text("TAKE\n" * 3 + "REFUSE no such thing\n")
    told: list[str] = []
    profile = Profile(name="x", kind="slurm", at_end="true")
    sent = Sender(root, square, profile, Path("/code"), waiting_for={}, wait=True, say=told.append).send()
    assert (len(sent.jobs), sent.n_left) == (3, 0)
    (sentence,) = told
    assert "refuses the job for it: no such thing" in sentence


@pytest.mark.parametrize(("finished", "status", "message"), [(True, 0, "demo: 4 done"), (False, 1, "demo: 4 pending")])
def test_what_it_says(
    root: RunsRoot, square: Submission, capsys: pytest.CaptureFixture[str], finished: bool, status: int, message: str
) -> None:
    for cell in square.cells if finished else ():
        finish(root, cell)
    spec = importlib.util.spec_from_file_location("tell", ROOT / "jobs" / "tell.py")
    assert spec is not None
    assert spec.loader is not None
    tell = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tell)
    assert tell.main(["--runs", str(root.path), "--submission", str(square.folder(root).file)]) == status
    assert capsys.readouterr().out == f"{message}\n"


def test_it_says_so_though_the_setup_ends_at_the_first_failure(lab: Path, root: RunsRoot, square: Submission) -> None:
    sender(root, square, at_end="true", setup=("set -e",)).send()
    (script,) = [path for path in lab.glob("script-*") if "demo-end." in path.read_text()]
    text = re.sub(r"\$\(.*tell.py.*\)", "$(echo two of four; exit 1)", script.read_text())
    done = subprocess.run(["bash"], input=text, text=True, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, "two of four\n")


def test_what_may_have_been_sent_is_not_sent_again_while_slurm_is_silent(
    lab: Path, root: RunsRoot, made: Submission
) -> None:
    (lab / "answers").write_text("LOSE Socket timed out on send/recv operation\n")
    (lab / "silent").touch()
    timer = threading.Timer(0.5, (lab / "silent").unlink)
    timer.start()
    assert sender(root, made).send().jobs[0] == "101"
    assert len(taken(lab)) == len(set(taken(lab))) == 10


def test_jobs_that_have_ended_by_themselves_are_no_fault(lab: Path) -> None:
    (lab / "scancel").write_text(
        '#!/bin/sh\necho "scancel: error: Kill job error on job id $1: Invalid job id specified" >&2\nexit 1\n'
    )
    scontrol.cancel(["7", "8"])
    (lab / "scancel").write_text("#!/bin/sh\necho 'scancel: error: Access/permission denied' >&2\nexit 1\n")
    with pytest.raises(SchedulerError, match="Access/permission denied"):
        scontrol.cancel(["7", "8"])
