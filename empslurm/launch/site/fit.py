"""Check whether a profile fits the site without sending a job: `sbatch --test-only`, and what a partition allows."""

from __future__ import annotations

import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from empslurm.errors import EmpslurmError
from empslurm.launch import local, scontrol, script, slurm
from empslurm.launch.markers import Array, Marker, load_array, write_marker
from empslurm.launch.node.process import cores_here
from empslurm.launch.profile import Profile
from empslurm.launch.site import facts
from empslurm.launch.site.checks import Check
from empslurm.launch.site.facts import Partition
from empslurm.store.runs import RunsRoot

PATIENCE_S = 60.0  # for a controller that does not answer
ANY_RESOURCE = "lower or change `gpus`, `gpu_type`, `gres`, `cpus`, memory, `constraint` or `nodelist`"
# Slurm's words -> what to change in the profile. The first pattern found decides. Most are those of slurm_strerror.
REFUSALS: tuple[tuple[str, str], ...] = (
    (r"invalid partition|no partition specified", "set `partition` to one that `sinfo -s` lists"),
    (
        r"invalid account|account\W.*not (permitted|allowed)",
        "set `account` to one that `sacctmgr show assoc user=$USER format=account,partition,qos` lists",
    ),
    (r"group not permitted|access/permission denied", "set `partition` and `account` to ones that you may use"),
    (r"invalid qos|qos\W.*not (permitted|allowed)", "set `qos` to one that `sacctmgr show assoc user=$USER` lists"),
    (r"invalid feature|--constraint", "set `constraint` to features that `sinfo -o '%P %f'` lists"),
    (
        r"generic resource|\bgres\b|trackable resource|invalid tres",
        "set `gpus` and `gpu_type`, or `gres`, to what `sinfo -o '%P %G'` lists",
    ),
    (
        r"time limit|--time\b|Max(Wall|Time)\w*|PartitionTimeLimit",
        "lower `time` to what `sinfo -o '%P %l'` and the qos allow",
    ),
    (r"memory (required|specification)|MaxMem|--mem", "lower `mem_gb` or `mem_per_cpu_gb`: `sinfo -o '%P %m'` in MB"),
    (r"more processors|cpu count", "lower `cpus` to what one node has: `sinfo -o '%P %c'`"),
    (r"wckey", "set `wckey` to one that `sacctmgr show wckey` lists"),
    (r"reservation", "set `reservation` to one of yours that `scontrol show reservation` lists, or leave it out"),
    (r"license", "set `licenses` to ones that `scontrol show licenses` lists"),
    (r"invalid node name", "set `nodelist` and `exclude` to nodes that `sinfo -N` lists"),
    (r"--begin|begin time", "write `begin` as sbatch takes it, such as now+1hour"),
    (r"--mail|invalid mail", "set `mail` to a user or e-mail address and events that sbatch takes"),
    (r"unrecognized option|unknown option|invalid option", "remove the option that Slurm names from `sbatch`"),
    (
        r"partition not available|partition configuration not available",
        "set `partition` to one that `sinfo -s` says is up",
    ),
    (r"node not available", "change `nodelist`: `sinfo -N` says which nodes are up"),
    (r"requested node configuration|node count", f"no node of the partition has all of this: {ANY_RESOURCE}"),
    (
        r"accounting/qos policy|(Assoc|QOS)(Max|Grp|Min)\w+",
        f"ask for what the account and the qos allow: {ANY_RESOURCE}",
    ),
)


def fix_of(said: str, profile: Profile) -> str:
    """What to change in a profile that Slurm refused with these words."""
    fix = next((fix for pattern, fix in REFUSALS if re.search(pattern, said, re.IGNORECASE)), "change what Slurm names")
    return f"in {profile.name}.yaml: {fix}"


# ---- checks ----------------------------------------------------------------------------------------------------------


def check(profile: Profile, root: RunsRoot) -> Iterator[Check]:
    """Check a profile here without sending anything."""
    if profile.kind == "local":
        yield _local(profile)
        return
    missing = [name for name in ("sbatch", "srun", "squeue", "scontrol") if shutil.which(name) is None]
    if missing:
        fix = "run doctor on the cluster's login node, or load the module that has Slurm's commands"
        yield Check(what=f"profile {profile.name}", ok=False, found=f"{', '.join(missing)} not found here", fix=fix)
        return
    yield _sbatch(profile, root)
    yield from _partitions(profile)


def _local(profile: Profile) -> Check:
    """Say what a local profile would train on here."""
    what = f"profile {profile.name}"
    try:
        slots = local.slots(profile, 10_000)
    except EmpslurmError as error:
        return Check.of(what, error)
    devices = [name for slot in slots for name in slot.devices]
    used = f"GPU {', '.join(dict.fromkeys(devices))}" if devices else "the GPU that torch finds, else the CPU"
    processes = f", {profile.num_processes} processes each" if profile.num_processes > 1 else ""
    text = f"trains on this machine: {used}; {len(slots)} packs at once{processes}; {cores_here()} cores"
    return Check(what=what, ok=True, found=text.replace("1 packs", "1 pack"))


def _sbatch(profile: Profile, root: RunsRoot) -> Check:
    """Whether sbatch would take the jobs that `submit` sends."""
    what = f"profile {profile.name}: sbatch"
    try:
        script.refuse_percent(root)
        good, said = test_only(text_of(profile, root))
    except EmpslurmError as error:
        return Check.of(what, error)
    words = scontrol.words(said)
    if good:
        return Check(what=what, ok=True, found=words)
    if scontrol.is_away(said):
        return Check(
            what=what, ok=False, found=words, fix="wait until `sinfo` answers, then run the same command again"
        )
    if slurm.LIMIT.search(said) and not slurm.PERMANENT.search(said):
        text = f"{words}; you may have too many jobs in the queue: `submit` would wait for room"
        return Check(what=what, ok=None, found=text)
    return Check(what=what, ok=False, found=f"sbatch refuses: {words}", fix=fix_of(words, profile))


def text_of(profile: Profile, root: RunsRoot) -> str:
    """The batch script of an array of one element as `submit` makes it; nothing is written below the runs root."""
    with tempfile.TemporaryDirectory(prefix="empslurm-doctor-") as folder:
        array = array_of_one(Path(folder), "empslurm-doctor")
        return script.executor(profile, array, root.code.resolve()).text(1)


def array_of_one(folder: Path, name: str) -> Array:
    """An array that belongs to no submission, with the marker that its batch script names."""
    path = folder / "probe.json"
    write_marker(path, Marker(nonce="", name=name, created=time.time(), elements=((0,),), cells=((),)))
    return load_array(path)


def test_only(text: str) -> tuple[bool, str]:
    """Whether sbatch would take a batch script, and what it says; on success, where and when it would run."""
    return scontrol.patiently("sbatch", "--export=ALL", "--test-only", patience_s=PATIENCE_S, text=text)


# ---- partitions ------------------------------------------------------------------------------------------------------


def partitions(profile: Profile) -> list[Partition]:
    """The partitions that a profile names, else the cluster's default; empty where the controller does not answer."""
    wanted = profile.partition.split(",") if profile.partition else None
    known = facts.partitions()
    return [partition for partition in known if (partition.name in wanted if wanted else partition.is_default)]


def _partitions(profile: Profile) -> Iterator[Check]:
    """Whether a partition takes and starts such jobs; if the profile names several, one is enough."""
    known = partitions(profile)
    problems = [_problem(partition, profile) for partition in known]
    for partition, (problem, fix) in zip(known, problems, strict=True):
        limit = "no time limit" if partition.max_time_min is None else f"time limit {partition.max_time_min} min"
        text = f"{partition.state.lower()}, {limit}"
        ok = True if not problem else (None if not all(problem for problem, _ in problems) else False)
        said = f"{text}: {problem}" if problem else text
        yield Check(what=f"partition {partition.name}", ok=ok, found=said, fix=fix)


def _problem(partition: Partition, profile: Profile) -> tuple[str, str]:
    """Why no job of a profile starts in a partition, and the fix; empty where one does."""
    file = f"{profile.name}.yaml"
    if partition.state != "UP":
        fix = f"wait until `sinfo -s` says that it is up, or set another `partition` in {file}"
        return "it starts no jobs now", fix
    if partition.max_time_min is not None and profile.time > partition.max_time_min:
        fix = f"in {file}: lower `time` to at most {partition.max_time_min}"
        return f"{file} asks for {profile.time} min", fix
    return "", ""
