"""Where to run: a strict YAML profile of a Slurm partition or of this machine; never part of a cell's identity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from empslurm.validation import yaml_tree
from empslurm.validation.constraints import Duration, Listed, Pattern, Range
from empslurm.validation.reader import Reader, json_schema, shown

# What enters an sbatch option can neither end it nor reach a shell.
SlurmName = Annotated[
    str, Pattern(regex=r"[A-Za-z0-9_][A-Za-z0-9_.,@:+-]{0,199}", words="a name of letters, digits and _ . , @ : + -")
]
Constraint = Annotated[
    str, Pattern(regex=r"[A-Za-z0-9_\[(][A-Za-z0-9_.,&|*:\[\]()-]{0,199}", words="a Slurm constraint such as a100|h100")
]
NodeList = Annotated[
    str, Pattern(regex=r"[A-Za-z0-9_][A-Za-z0-9_.,\[\]-]{0,999}", words="a Slurm node list such as node[1-3],node7")
]
Gres = Annotated[
    str,
    Pattern(
        regex=r"[A-Za-z][A-Za-z0-9_.,:=/-]{0,199}", words="generic resources such as gpu:a100:2 or gpu:2,lscratch:50"
    ),
]
Moment = Annotated[
    str, Pattern(regex=r"[A-Za-z0-9][A-Za-z0-9:+/-]{0,39}", words="a time such as now+1hour, 20:00 or 2027-01-31T08:00")
]
Words = Annotated[
    str,
    Pattern(regex=r"[A-Za-z0-9_][A-Za-z0-9_ .,:;/@+=()-]{0,199}", words="plain words in one line, at most 200 letters"),
]
Option = Annotated[
    str,
    Pattern(
        regex=r"[a-z][a-z0-9-]{1,49}", words="an option of sbatch in full and without its dashes, such as core-spec"
    ),
]
OptionValue = Annotated[
    str, Pattern(regex=r"[^\n'\"\\]{1,500}", words="one line without quotes and backslashes, a number, or true")
]
Line = Annotated[str, Pattern(regex=r"[^\n]{1,2000}", words="one line of shell")]
Variable = Annotated[str, Pattern(regex=r"[A-Za-z_][A-Za-z0-9_]{0,99}", words="the name of an environment variable")]
Umask = Annotated[str, Pattern(regex=r"0?[0-7]{3}", words="three octal digits in quotes, such as '027'")]
Address = Annotated[str, Pattern(regex=r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,199}", words="a user or an e-mail address")]
MailEvent = Literal["BEGIN", "END", "FAIL", "REQUEUE", "TIME_LIMIT", "ALL"]

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
# What means something without a scheduler; anything else in a local profile would be ignored in silence.
LOCAL_FIELDS = ("kind", "gpus", "num_processes", "pack_size", "packs_per_gpu", "checkpoint_minutes")

# Options of sbatch that `sbatch:` may not set, with the reason; sbatch knows an option by its beginning too.
HAS_FIELD = {
    "account": "account",
    "array": "array_parallelism",
    "begin": "begin",
    "comment": "comment",
    "constraint": "constraint",
    "cpus-per-task": "cpus",
    "exclude": "exclude",
    "exclusive": "exclusive",
    "gpus": "gpus",
    "gpus-per-node": "gpus",
    "gres": "gres",
    "licenses": "licenses",
    "mail-type": "mail",
    "mail-user": "mail",
    "mem": "mem_gb",
    "mem-per-cpu": "mem_per_cpu_gb",
    "nice": "nice",
    "no-requeue": "requeues",
    "nodelist": "nodelist",
    "partition": "partition",
    "qos": "qos",
    "requeue": "requeues",
    "reservation": "reservation",
    "signal": "signal_lead_s",
    "time": "time",
    "wckey": "wckey",
}
IDENTITY, LOGS, SHAPE, ANSWER, START = (
    "jobs are recognised by their names and by the cluster they were sent to",
    "logs are found by their names",
    "one element is one task on one node",
    "what sbatch prints is read",
    "jobs start in a folder and an environment of their own",
)
KEPT_BACK = {
    "chdir": START,
    "cluster": IDENTITY,
    "clusters": IDENTITY,
    "dependency": "each transfer waits for its source",
    "error": LOGS,
    "export": START,
    "export-file": START,
    "get-user-env": START,
    "gid": START,
    "gpus-per-socket": SHAPE,
    "gpus-per-task": SHAPE,
    "help": ANSWER,
    "hold": "a job that is held never starts",
    "input": START,
    "job-name": IDENTITY,
    "nodefile": SHAPE,
    "nodes": SHAPE,
    "ntasks": SHAPE,
    "ntasks-per-core": SHAPE,
    "ntasks-per-gpu": SHAPE,
    "ntasks-per-node": SHAPE,
    "ntasks-per-socket": SHAPE,
    "open-mode": LOGS,
    "output": LOGS,
    "parsable": ANSWER,
    "quiet": ANSWER,
    "test-only": ANSWER,
    "uid": START,
    "usage": ANSWER,
    "verbose": ANSWER,
    "version": ANSWER,
    "wait": ANSWER,
    "wrap": START,
}


@dataclass(frozen=True, kw_only=True)
class Mail:
    """Whom Slurm tells once all jobs of a submission have ended."""

    user: Address
    type: Annotated[tuple[MailEvent, ...], Listed(at_least=0)] = ()  # events of each array that are told too


@dataclass(frozen=True, kw_only=True)
class ProfileForm:
    """A profile as it is written; only `kind` is needed."""

    kind: Literal["local", "slurm"]
    partition: SlurmName | None = None  # null: the cluster's default
    account: SlurmName | None = None  # null: the user's default
    qos: SlurmName | None = None
    gpus: Annotated[int, Range(low=0, high=64)] = 0  # per job; 0 in a local profile: what torch finds
    gpu_type: SlurmName | None = None  # such as a100: asked for as --gpus-per-node=a100:N
    gres: Gres | None = None  # as sbatch --gres, such as gpu:a100:2, instead of gpus and gpu_type
    cpus: Annotated[int, Range(low=1, high=1024)] = 2  # per job
    cpus_per_pack: Annotated[int, Range(low=1, high=1024)] | None = None  # cores of one pack; null: a pack takes all
    mem_gb: Annotated[float, Range(above=0, high=65536)] | None = 8.0  # GiB per job; null: no --mem, the site decides
    mem_per_cpu_gb: Annotated[float, Range(above=0, high=65536)] | None = None  # GiB per core, instead of mem_gb
    time: Annotated[int, Range(low=1, high=527_040), Duration()] = 60  # the job's limit, in minutes once read
    signal_lead_s: Annotated[int, Range(low=0, high=3600)] = 120  # seconds before the limit: save now
    array_parallelism: Annotated[int, Range(low=1, high=10_000)] = 64  # elements of one array that run at once
    constraint: Constraint | None = None
    exclude: NodeList | None = None  # nodes that are never used
    nodelist: NodeList | None = None  # the only nodes that are used
    exclusive: bool = False  # take whole nodes, as sites that bill them want: a job fills its node with packs
    reservation: SlurmName | None = None
    licenses: SlurmName | None = None
    wckey: SlurmName | None = None
    nice: Annotated[int, Range(low=-2_147_483_645, high=2_147_483_645)] | None = None  # above 0: after others' jobs
    comment: Words | None = None
    begin: Moment | None = None  # not before
    sbatch: Mapping[Option, OptionValue | int | float | bool] = field(default_factory=dict)  # any other option
    setup: tuple[Line, ...] = ()  # shell lines before python: modules to load, a venv to activate
    python: Line | None = None  # of training alone, such as `apptainer exec --nv image.sif python`; null: this one
    environment: Mapping[Variable, str] = field(default_factory=dict)  # such as HF_HUB_OFFLINE: '1'
    mail: Mail | None = None
    at_end: Line | None = (
        None  # a shell line, run once when all jobs have ended; $EMPSLURM_MESSAGE says what came of them
    )
    umask: Umask | None = None  # of what is written below the runs root; null: your own, and closed to others
    group: SlurmName | None = None  # that owns what jobs write below the runs root
    num_processes: Annotated[int, Range(low=1, high=64)] = 1  # that train one pack together, by accelerate, on one node
    pack_size: Annotated[int, Range(low=1, high=10_000)] | None = None  # most cells of one job; null: all
    packs_per_gpu: Annotated[int, Range(low=1, high=16)] = 1  # packs that train on one GPU at the same time
    checkpoint_minutes: Annotated[float, Range(above=0, high=1440)] = 5.0  # between checkpoints, those of signals apart
    requeues: Annotated[int, Range(low=0, high=100)] = 10  # most restarts of one job; 0: sites that allow none


@dataclass(frozen=True, kw_only=True)
class Profile(ProfileForm):
    """A profile with its name, which is the file's."""

    name: str


def load_profile(path: Path) -> Profile:
    """Read a profile. Raises ManifestError with all of its problems."""
    reader = Reader(str(path))
    if not re.fullmatch(NAME, path.stem, re.ASCII):
        reader.problem("", f"be named by letters, digits and _ . -, but is {shown(path.stem)}", "rename the file")
    given = reader.section(ProfileForm, yaml_tree.load(path))
    if given.get("kind") == "local":
        for key in given:
            if key not in LOCAL_FIELDS:
                reader.problem(key, "be left out of a local profile, but is given", "remove it, or set kind: slurm")
    _memory(given, reader)
    _gpus(given, reader)
    _options(given.get("sbatch", {}), reader)
    profile = Profile(**{"name": path.stem, "kind": "slurm", **given})
    if 0 < profile.gpus < profile.num_processes:
        must = f"be at most gpus ({profile.gpus}), but is {profile.num_processes}"
        reader.problem("num_processes", must, "ask for more gpus or fewer processes")
    if profile.packs_per_gpu > 1 and not profile.gpus:
        must = f"be 1 where gpus is 0, since no GPU is there to share, but is {profile.packs_per_gpu}"
        reader.problem("packs_per_gpu", must, "set gpus, or leave packs_per_gpu out")
    if profile.cpus_per_pack and not profile.exclusive and profile.cpus_per_pack > profile.cpus:
        must = f"be at most cpus ({profile.cpus}), but is {profile.cpus_per_pack}"
        reader.problem("cpus_per_pack", must, "ask for more cpus, or give a pack fewer")
    if profile.signal_lead_s * 2 > profile.time * 60:
        must = f"be at most half of time ({profile.time} min), but is {profile.signal_lead_s} s"
        reader.problem("signal_lead_s", must, "shorten it or ask for more time")
    reader.finish()
    return profile


def _memory(given: dict[str, Any], reader: Reader) -> None:
    """Memory is asked for in one way only."""
    if given.get("mem_per_cpu_gb") is not None:
        if given.get("mem_gb") is not None:
            must = "be left out where mem_gb is given, since Slurm takes one of them only, but is given"
            reader.problem("mem_per_cpu_gb", must, "remove one")
        given["mem_gb"] = None


def _gpus(given: dict[str, Any], reader: Reader) -> None:
    """GPUs are asked for in one way only; where that is gres, it says how many there are."""
    n_gpus = gpus_of(given.get("gres") or "")
    if n_gpus is not None:
        for key in ("gpus", "gpu_type"):
            if given.get(key):
                must = f"be left out where gres asks for GPUs ({given['gres']}), but is given"
                reader.problem(key, must, "remove it, or take the GPUs out of gres")
        if n_gpus > 64:
            reader.problem("gres", f"ask for at most 64 GPUs, but asks for {n_gpus}", "correct it")
        given["gpus"] = n_gpus
    elif given.get("gpu_type") and not given.get("gpus"):
        reader.problem("gpu_type", "stand beside gpus, which says how many, but gpus is 0 or left out", "add `gpus: 1`")


def gpus_of(gres: str) -> int | None:
    """How many GPUs a text of --gres asks for, such as `gpu:a100:2,lscratch:50`; None where it names none."""
    counts = []
    for entry in gres.removeprefix("gres/").split(","):
        words = re.split(r"[:=]", entry)
        if words[0].removeprefix("gres/") == "gpu":
            counts.append(int(words[-1]) if words[-1].isdigit() else 1)
    return sum(counts) if counts else None


def _options(options: Mapping[str, object], reader: Reader) -> None:
    """No option that breaks what empslurm does with its jobs, or that has a field of its own."""
    for name, value in options.items():
        where = f"sbatch.{name}"
        full = next((known for known in (*HAS_FIELD, *KEPT_BACK) if known.startswith(name)), "")
        if full in HAS_FIELD:
            must = f"be left to the profile's own field {HAS_FIELD[full]}, but is given"
            reader.problem(where, must, f"write `{HAS_FIELD[full]}:` instead")
        elif full:
            reader.problem(where, f"be left to empslurm, since {KEPT_BACK[full]}, but is given", "remove it")
        elif value is False:
            reader.problem(where, "be true, a number or a text, but is false", "remove it: an option not given is off")


def profiles(folder: Path) -> tuple[str, ...]:
    """Names of the profiles in a folder; empty where it is absent."""
    return tuple(sorted(path.stem for path in folder.glob("*.yaml")))


def profile_json_schema() -> dict[str, Any]:
    """The JSON Schema of profiles, for editors; `slurm/profile.schema.json` is this."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "empslurm profile",
        **json_schema(ProfileForm),
    }
