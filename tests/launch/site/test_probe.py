"""The probe of doctor: fixes for Slurm's refusals, the life of a job with staged commands, and a node's reports."""

import json
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate.utils import is_tensorboard_available

from empslurm import files
from empslurm.launch import scontrol
from empslurm.launch.profile import Profile
from empslurm.launch.site import fit, openness, probe, probe_node
from empslurm.launch.site.checks import Check
from empslurm.launch.site.probe import Clock, Outcome, Probe
from empslurm.launch.site.probe_findings import Findings, timings
from empslurm.launch.site.probe_node import NodeProbe
from empslurm.store.runs import RunsRoot
from empslurm.train import probe as training_probe

PROFILE = Profile(name="here", kind="slurm", partition="gpu", time=60)
SBATCH = """#!/bin/sh
cat > {folder}/given
echo "$*" > {folder}/words
{answer}
"""


# ---- without a job ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (
            "sbatch: error: invalid partition specified: nope\nallocation failure: Invalid partition name specified",
            "partition",
        ),
        ("allocation failure: Invalid account or account/partition combination specified", "account"),
        ("allocation failure: Invalid qos specification", "qos"),
        ("allocation failure: Invalid feature specification", "constraint"),
        ("sbatch: error: Invalid generic resource (gres) specification", "gres"),
        ("allocation failure: Requested time limit is invalid (missing or exceeds some limit)", "time"),
        (
            "sbatch: error: QOSMaxWallDurationPerJobLimit\nallocation failure: Job violates accounting/QOS policy",
            "time",
        ),
        ("allocation failure: Memory required by task is not available", "mem_gb"),
        ("allocation failure: Invalid wckey specification", "wckey"),
        ("allocation failure: Requested reservation is invalid", "reservation"),
        ("allocation failure: Invalid license specification", "licenses"),
        ("allocation failure: Invalid node name specified", "nodelist"),
        ("sbatch: error: Invalid --begin specification", "begin"),
        ("sbatch: unrecognized option '--foo=2'", "sbatch"),
        ("allocation failure: Requested node configuration is not available", "gpus"),
    ],
)
def test_each_refusal_names_the_field_to_change(said: str, field: str) -> None:
    assert f"`{field}`" in fit.fix_of(scontrol.words(said), PROFILE)
    assert fit.fix_of(scontrol.words(said), PROFILE).startswith("in here.yaml: ")


def test_unknown_words_are_shown_as_they_are() -> None:
    said = "Welcome to the cluster!\nsbatch: error: lua: be kind\nallocation failure: Unspecified error"
    assert scontrol.words(said) == "lua: be kind; Unspecified error"
    assert fit.fix_of("lua: be kind", PROFILE) == "in here.yaml: change what Slurm names"


def stage(folder: Path, answer: str) -> None:
    (folder / "sbatch").write_text(SBATCH.format(folder=folder, answer=answer))


def checks(profile: Profile, root: RunsRoot) -> dict[str, Check]:
    return {check.what: check for check in fit.check(profile, root)}


def test_sbatch_is_given_what_submit_gives_and_nothing_is_written(lab: Path, root: RunsRoot) -> None:
    stage(lab, "echo 'sbatch: Job 9 to start at noon' >&2")
    profile = replace(
        PROFILE, account="mine", gres="gpu:a100:2", gpus=2, sbatch={"core-spec": 1}, setup=("module load x",)
    )
    check = checks(profile, root)["profile here: sbatch"]
    assert (check.ok, check.found) == (True, "Job 9 to start at noon")
    given = (lab / "given").read_text()
    for line in ("--account=mine", "--gres=gpu:a100:2", "--core-spec=1", "--time=60", "--requeue", "--partition=gpu"):
        assert f"#SBATCH {line}\n" in given
    assert "module load x\n" in given
    assert (lab / "words").read_text().split() == ["--export=ALL", "--test-only"]
    assert not root.path.exists()


def test_a_refusal_is_a_problem_with_its_fix_and_a_full_queue_is_none(lab: Path, root: RunsRoot) -> None:
    stage(lab, "echo 'allocation failure: Invalid qos specification' >&2; exit 1")
    check = checks(PROFILE, root)["profile here: sbatch"]
    assert (check.ok, check.found) == (False, "sbatch refuses: Invalid qos specification")
    assert "`qos`" in check.fix
    stage(lab, "echo 'allocation failure: AssocMaxSubmitJobLimit' >&2; exit 1")
    assert checks(PROFILE, root)["profile here: sbatch"].ok is None


def test_a_controller_that_is_away_is_not_the_profiles_fault(
    lab: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fit, "PATIENCE_S", 0.1)
    stage(lab, "echo 'allocation failure: Unable to contact slurm controller (connect failure)' >&2; exit 1")
    check = checks(PROFILE, root)["profile here: sbatch"]
    assert check.ok is False
    assert "sinfo" in check.fix
    assert "here.yaml" not in check.fix


def test_without_slurms_commands_nothing_else_is_asked(root: RunsRoot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    (check,) = fit.check(PROFILE, root)
    assert check.ok is False
    assert "login node" in check.fix


def partitions(lab: Path, *lines: str) -> None:
    text = "\n".join(lines)
    (lab / "scontrol").write_text(f"#!/bin/sh\ncat <<'X'\n{text}\nX\n")


def test_a_partition_must_be_up_and_allow_the_time(lab: Path, root: RunsRoot) -> None:
    stage(lab, "")
    partitions(lab, "PartitionName=gpu Default=NO MaxTime=00:30:00 State=UP")
    check = checks(PROFILE, root)["partition gpu"]
    assert (check.ok, check.found) == (False, "up, time limit 30 min: here.yaml asks for 60 min")
    assert check.fix == "in here.yaml: lower `time` to at most 30"
    partitions(lab, "PartitionName=gpu MaxTime=1-12:00:00 State=DOWN")
    assert checks(PROFILE, root)["partition gpu"].ok is False
    partitions(lab, "PartitionName=gpu MaxTime=1-12:00:00 State=UP", "PartitionName=old MaxTime=UNLIMITED State=DOWN")
    found = checks(replace(PROFILE, partition="gpu,old"), root)
    assert (found["partition gpu"].ok, found["partition old"].ok) == (True, None)


def test_without_a_partition_the_default_one_counts_and_a_probe_keeps_within_it(lab: Path) -> None:
    partitions(
        lab, "PartitionName=a Default=NO MaxTime=1 State=UP", "PartitionName=b Default=YES MaxTime=00:05:00 State=UP"
    )
    assert [partition.name for partition in fit.partitions(replace(PROFILE, partition=None))] == ["b"]
    asked = replace(PROFILE, partition=None, begin="now+1hour", requeues=3)
    short = probe.short(asked)
    assert (short.time, short.requeues, short.begin) == (5, 0, None)


# ---- a job -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"ASK_EVERY_S": 0.05, "POLL_S": 0.02, "SHOW_S": 0.2, "SHOW_LOG_S": 0.1, "LEAVE_S": 0.1}.items():
        monkeypatch.setattr(probe, name, value)


def sent(root: RunsRoot, wait_s: float = 1.0, profile: Profile = PROFILE) -> tuple[Outcome, list[str]]:
    said: list[str] = []
    outcome = Probe(root, profile, wait_s=wait_s, look=said.append, say=said.append).run()
    return outcome, said


def left_behind(root: RunsRoot) -> list[str]:
    return sorted(path.name for path in root.path.iterdir() if path.name != "code")


@pytest.mark.usefixtures("quick")
def test_a_job_that_can_never_start_is_given_up_and_cancelled(lab: Path, root: RunsRoot) -> None:
    (lab / "answers").write_text("TAKE\n")
    (lab / "reason").write_text("PartitionTimeLimit")
    outcome, said = sent(root, wait_s=60)
    assert outcome.problem == "job 101_0 is pending (PartitionTimeLimit), and can never start as it is"
    assert "`time`" in outcome.fix
    assert "in here.yaml" in outcome.fix
    assert said[0] == "job 101_0 is pending (PartitionTimeLimit)"
    assert (lab / "cancelled").read_text() == f"--name={outcome.name}\n"
    assert left_behind(root) == []
    script = (lab / "script-101").read_text()
    assert "#SBATCH --time=10\n" in script
    assert "#SBATCH --no-requeue\n" in script


@pytest.mark.usefixtures("quick")
def test_patience_has_an_end_that_says_what_squeue_says(lab: Path, root: RunsRoot) -> None:
    (lab / "answers").write_text("TAKE\n")
    (lab / "reason").write_text("Priority")
    outcome, _ = sent(root, wait_s=0.3)
    assert "but job 101_0 is pending (Priority); it was cancelled" in outcome.problem
    assert "--wait MINUTES" in outcome.fix
    assert (lab / "cancelled").exists()
    assert left_behind(root) == []


@pytest.mark.usefixtures("quick")
def test_ctrl_c_cancels_the_job(lab: Path, root: RunsRoot) -> None:
    (lab / "answers").write_text("TAKE\n")

    def look(text: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Probe(root, PROFILE, wait_s=60, look=look, say=lambda text: None).run()
    assert (lab / "cancelled").exists()
    assert left_behind(root) == []


@pytest.mark.usefixtures("quick")
def test_a_job_that_cannot_be_cancelled_is_named(lab: Path, root: RunsRoot) -> None:
    (lab / "answers").write_text("TAKE\n")
    (lab / "scancel").write_text("#!/bin/sh\necho 'scancel: error: no' >&2; exit 1\n")
    outcome, said = sent(root, wait_s=0.1)
    assert f"run `scancel --name={outcome.name}`" in said[-1]


@pytest.mark.usefixtures("quick")
@pytest.mark.parametrize(
    ("log", "found", "fix"),
    [
        ("", "its log is empty", "`setup` in here.yaml by hand"),
        (
            "/x/slurm_script: line 20: conda: command not found\n",
            "conda: command not found",
            "the line of `setup` in here.yaml",
        ),
        ("ModuleNotFoundError: No module named 'submitit'\n", "No module named", "install empslurm where the nodes"),
        (None, "it left no log", "runs root where the nodes see"),
    ],
)
def test_a_job_that_dies_is_told_with_its_last_line(
    lab: Path, root: RunsRoot, log: str | None, found: str, fix: str
) -> None:
    (lab / "answers").write_text("TAKE\n")
    text = (lab / "squeue").read_text().replace("PENDING", "FAILED")
    if log is not None:  # written after the job was sent, as a node would
        write = f'[ ! -d "$f" ] || printf %s "{log}" > "$f/101_0_0_log.out"'
        text = text.replace("cd ", f"f=$(echo {root.path.resolve()}/probes/*/probe)\n{write}\ncd ", 1)
    (lab / "squeue").write_text(text)
    (lab / "scontrol").write_text("#!/bin/sh\necho 'JobId=101 JobState=FAILED ExitCode=3:0'\n")
    outcome, _ = sent(root, wait_s=30)
    assert outcome.problem.startswith("job 101 ended (FAILED, exit code 3:0) before it could report; ")
    assert found in outcome.problem
    assert fix in outcome.fix
    assert not (lab / "cancelled").exists()
    assert left_behind(root) == []


# ---- on the node -----------------------------------------------------------------------------------------------------

TRAINING_PYTHON = """#!/bin/sh
while [ "$1" != --report ]; do shift; done
{act}
"""


@pytest.fixture
def node(lab: Path, root: RunsRoot, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The probe's folder, and the environment of a job that squeue knows."""
    folder = root.path / "probes" / "one"
    files.create_exclusive(folder / probe_node.TAKEN, b"login node")
    (lab / "taken").write_text("7 one\n")
    monkeypatch.setenv("EMPSLURM_JOB_NAME", "one")
    monkeypatch.setenv("EMPSLURM_LOG", str(folder / "log"))
    return folder


def visit(folder: Path, act: str) -> dict[str, Any]:
    """The node's reports while its time is asked for; its training Python is a shell script."""
    (folder / "python").write_text(TRAINING_PYTHON.format(act=act))
    (folder / probe_node.PING).touch()
    NodeProbe(str(folder), 0, f"sh {folder}/python", 1)()
    facts: dict[str, Any] = json.loads((folder / probe_node.NODE).read_text())
    return facts


def test_a_node_says_what_it_is_and_does(node: Path) -> None:
    before = time.time()
    facts = visit(node, "echo '{}' > \"$2\"")
    assert facts["training"] == {"status": 0, "line": ""}
    assert facts["files"] == {"replace": "", "see": "", "create once": ""}
    assert facts["slurm"] == {"squeue": "", "scontrol": "", "srun": ""}
    assert facts["packages"]["torch"]
    assert facts["free_bytes"] > 0
    assert before <= json.loads((node / probe_node.PONG).read_text())["time"] <= time.time()


def test_a_node_whose_file_system_is_not_the_login_nodes_says_so(node: Path) -> None:
    (node / probe_node.TAKEN).unlink()
    facts = visit(node, "echo image is broken >> $EMPSLURM_LOG; exit 9")
    assert "created again" in facts["files"]["see"]
    assert facts["training"] == {"status": 9, "line": "image is broken"}


def test_a_training_python_that_cannot_start_or_never_ends_is_told(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe_node, "TRAINING_LIMIT_S", 0.5)
    assert visit(node, "sleep 60")["training"]["line"] == "it did not end within 0 s"
    for path in (node / "race").iterdir():
        path.unlink()
    (node / "race").rmdir()
    NodeProbe(str(node), 0, "/no/such/python", 1)()
    ended = json.loads((node / probe_node.NODE).read_text())["training"]
    assert ended["status"] is None
    assert "/no/such/python" in ended["line"]


def test_a_training_python_says_what_it_can_and_why_its_gpu_is_of_no_use(monkeypatch: pytest.MonkeyPatch) -> None:
    real = torch.zeros

    def without_a_driver(*sizes: int, **options: Any) -> torch.Tensor:
        if str(options.get("device")).startswith("cuda"):
            raise RuntimeError("no driver\nand more")
        return real(*sizes, **options)

    monkeypatch.setattr(torch, "zeros", without_a_driver)
    facts = training_probe.report(1)
    assert not any(facts["imports"].values())
    assert "the profile asks for one, but torch says: no driver" in facts["gpu"]["problem"]
    assert facts["step_problem"] == ""
    assert ("tensorboard" in facts["trackers"]) == bool(is_tensorboard_available())
    assert facts["begun"] < facts["imported"] < facts["first_step"]
    json.dumps(facts, allow_nan=False)


# ---- what it means ---------------------------------------------------------------------------------------------------

HERE = {"empslurm": "1", "torch": "2.9.0+cpu", "adapters": "1.3.0"}


def outcome(**changes: Any) -> Outcome:
    """Reports of a node without a problem; `training__gpu={...}` changes a part."""
    facts: dict[str, Any] = {
        "node": {
            "host": "n1",
            "python": "3.11.7",
            "executable": "/venv/python",
            "packages": HERE,
            "cpus": 4,
            "bf16": True,
            "files": {"replace": "", "see": "", "create once": ""},
            "slurm": {"squeue": "", "scontrol": "", "srun": ""},
            "free_bytes": 2**40,
            "training": {"status": 0, "line": ""},
        },
        "training": {
            "python": "3.11.7",
            "executable": "/venv/python",
            "packages": {"empslurm": None, "torch": "2.9.0+cu128", "adapters": "1.3.0"},
            "imports": {"torch": "", "adapters": ""},
            "gpu": None,
            "step_problem": "",
            "trackers": ["tensorboard"],
            "begun": 1005.0,
            "imported": 1007.0,
            "first_step": 1008.0,
        },
    }
    for name, value in changes.items():
        part, _, key = name.partition("__")
        if key:
            facts[part][key] = value
        else:
            facts[part] = value
    given = {"clock": Clock(ahead_s=0.1, within_s=0.2), "job_id": "7", "started": {"time": 1003.0}, **facts}
    return Outcome(name="probe.x", sent=1000.0, **given)


def findings(made: Outcome, profile: Profile = PROFILE) -> dict[str, Check]:
    found = Findings(made, profile, Path("/runs"), HERE, lambda properties, reading: str(properties["name"]))
    return {check.what.removeprefix("probe: "): check for check in found.checks()}


def bad(made: Outcome, profile: Profile = PROFILE) -> dict[str, Check]:
    found = {what: check for what, check in findings(made, profile).items() if check.ok is False}
    assert all(check.fix for check in found.values())
    return found


def test_a_good_node_has_no_problem_and_its_times_are_told() -> None:
    assert bad(outcome()) == {}
    assert (
        findings(outcome())["first step"].found
        == "8.0 s after sending, 5.0 s after the job's start (2.0 s of it imports)"
    )
    assert "bf16 native" in findings(outcome())["device"].found


@pytest.mark.parametrize(
    ("ahead_s", "within_s", "ok"), [(59.0, 0.5, True), (-61.0, 0.5, False), (50.0, 20.0, None), (70.0, 20.0, None)]
)
def test_clocks_that_differ_by_more_than_a_minute_for_sure_are_a_problem(
    ahead_s: float, within_s: float, ok: bool | None
) -> None:
    check = findings(outcome(clock=Clock(ahead_s=ahead_s, within_s=within_s)))["clock"]
    assert check.ok is ok
    assert (" behind " in check.found) == (ahead_s < 0)


def test_a_nodes_time_is_counted_by_this_machines_clock() -> None:
    made = outcome(clock=Clock(ahead_s=100.0, within_s=0.2), started={"time": 1103.0}, training__first_step=1108.0)
    assert (timings(made)["started_s"], timings(made)["first_step_s"]) == (3.0, 8.0)


@pytest.mark.parametrize(
    ("changes", "what", "said"),
    [
        ({"node__files": {"create once": "of 20 files, 3 ..."}}, "runs root", "of 20 files"),
        ({"node__slurm": {"squeue": "not found"}}, "Slurm on the node", "squeue not found"),
        ({"node__free_bytes": 1}, "disk", "0.0 GiB"),
        ({"node__packages": {**HERE, "torch": None}}, "Python of the job", "torch is missing, here 2.9.0+cpu"),
        ({"training__packages": {**HERE, "torch": "2.8.0"}}, "Python of training", "torch is 2.8.0, here 2.9.0+cpu"),
        ({"training__imports": {"adapters": "ImportError: x"}}, "Python of training", "adapters cannot be imported"),
        ({"training__step_problem": "RuntimeError: x"}, "first step", "a training step fails: RuntimeError: x"),
        (
            {"training": {}, "node__training": {"status": 1, "line": "no image"}},
            "Python of training",
            "no report; its last line: no image",
        ),
        ({"problem": "job 7 ended", "fix": "do this", "node": {}}, "job", "job 7 ended"),
    ],
)
def test_each_fault_is_one_problem_with_its_fix(changes: dict[str, Any], what: str, said: str) -> None:
    problem, fix = changes.pop("problem", ""), changes.pop("fix", "")
    made = outcome(**changes)
    made.problem, made.fix = problem, fix
    found = bad(made)
    assert list(found) == [what]
    assert said in found[what].found


def test_trackers_that_the_profile_names_and_the_node_lacks_are_named_with_their_packages() -> None:
    assert "trackers" not in findings(outcome())
    asking = replace(PROFILE, trackers=("tensorboard",))
    assert bad(outcome(), asking) == {}
    found = bad(outcome(), replace(PROFILE, trackers=("comet_ml", "tensorboard")))["trackers"]
    assert found.found.startswith("comet_ml not installed")
    assert found.fix.startswith("run `pip install comet-ml` in ")


def test_what_setup_says_before_python_starts_is_looked_at() -> None:
    made = outcome()
    made.log = (
        f"slurm_script: line 20: module: command not found\nsubmitit INFO error\n{probe_node.BEGINS}\nerror later\n"
    )
    assert bad(made)["setup"].found.endswith("module: command not found")
    made.log = f"Loading cuda/12.4\n{probe_node.BEGINS}\n"
    assert bad(made) == {}
    assert findings(made)["setup"].ok is None


GPU = {"problem": "", "cuda": "12.8", "seen": [{"name": "A100"}], "readings": [], "visible": "0"}


def test_gpus_that_torch_cannot_use_or_that_are_too_few_are_problems() -> None:
    one, two = replace(PROFILE, gpus=1), replace(PROFILE, gpus=2)
    assert bad(outcome(training__gpu=GPU), one) == {}
    assert findings(outcome(training__gpu=GPU), one)["GPU 0"].found == "A100, CUDA 12.8"
    assert bad(outcome(training__gpu=GPU), two)["GPU"].found == "asked for 2 GPUs, but torch sees 1"
    broken = GPU | {"problem": "n1 must have a GPU, but torch says: no; run `nvidia-smi` there", "seen": []}
    found = findings(outcome(training__gpu=broken), one)
    assert (found["GPU"].found, "exclude" in found["GPU"].fix) == ("n1 must have a GPU, but torch says: no", True)
    assert "first step" not in found
    assert "CUDA build" in bad(outcome(training__gpu=broken | {"cuda": None}), one)["GPU"].fix


# ---- what others can read --------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> RunsRoot:
    """A runs root whose own folders let others enter."""
    real, outside = openness._lets_pass, {str(folder) for folder in (tmp_path, *tmp_path.parents)}
    monkeypatch.setattr(openness, "_lets_pass", lambda folder: str(folder) in outside or real(folder))
    root = RunsRoot(tmp_path / "runs")
    for name in (
        "prepared/a/texts.jsonl",
        "cells/c-1/output-0001/predictions.parquet",
        "submissions/s/submission.jsonl",
    ):
        path = root.path / name
        path.parent.mkdir(parents=True)
        path.write_text("x")
        path.chmod(0o644)
    (root.path / "cells" / "c-1" / "cell.json").write_text("identities are nobody's secret")
    for folder, _, _ in os.walk(root.path):
        os.chmod(folder, 0o755)
    return root


def test_files_that_others_can_read_are_counted_with_one_of_them_and_the_fix(opened: RunsRoot) -> None:
    check = openness.check(opened)
    assert check.ok is False
    assert "can read 3 files" in check.found
    assert "texts.jsonl" in check.found
    assert check.fix == f"run `chmod -R o-rwx {opened.path}`"


def test_a_closed_file_or_folder_above_it_is_enough(opened: RunsRoot) -> None:
    (opened.path / "prepared" / "a" / "texts.jsonl").chmod(0o640)
    (opened.path / "cells" / "c-1").chmod(0o750)
    assert openness.look(opened).n_files == 1
    opened.path.chmod(0o750)
    assert openness.check(opened).ok is True


def test_nothing_there_is_all_right_and_time_has_an_end(opened: RunsRoot, tmp_path: Path) -> None:
    assert openness.check(RunsRoot(tmp_path / "absent")).ok is True
    assert openness.look(opened, limit_s=-1.0).cut
