"""Where to run: a strict YAML profile of a Slurm partition or of this machine; never part of a cell's identity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from empslurm.validation import yaml_tree
from empslurm.validation.constraints import Doc, Duration, Listed, Pattern, Range
from empslurm.validation.reader import Reader, json_schema, shown

# Text of these types can neither end an sbatch option nor reach a shell.
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
        regex=r"[a-z][a-z0-9-]{1,49}", words="the full name of an sbatch option without its dashes, such as core-spec"
    ),
]
OptionValue = Annotated[
    str, Pattern(regex=r"[^\n'\"\\]{1,500}", words="one line without quotes and backslashes, a number, or true")
]
Line = Annotated[str, Pattern(regex=r"[^\n]{1,2000}", words="one line of shell")]
Variable = Annotated[str, Pattern(regex=r"[A-Za-z_][A-Za-z0-9_]{0,99}", words="the name of an environment variable")]
Umask = Annotated[str, Pattern(regex=r"0?[0-7]{3}", words="three octal digits in quotes, such as '027'")]
Address = Annotated[str, Pattern(regex=r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,199}", words="a user or an e-mail address")]
MOST_CORES = 1024
Cores = Annotated[int, Range(low=1, high=MOST_CORES)]
CarbonIntensity = Annotated[float, Range(low=0, high=5000)]  # g CO2e per kWh; coal is at about 1000
Gibibytes = Annotated[float, Range(above=0, high=65536)]
# The trackers of accelerate, which is not imported to read a profile.
Tracker = Literal[
    "aim", "clearml", "comet_ml", "dvclive", "mlflow", "swanlab", "tensorboard", "trackio", "wandb"
]  # fmt: skip
MailEvent = Literal["BEGIN", "END", "FAIL", "REQUEUE", "TIME_LIMIT", "ALL"]

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
# Fields with a meaning without a scheduler; any other field in a local profile would be ignored silently.
LOCAL_FIELDS = (
    "kind", "gpus", "cpus", "cpus_per_pack", "num_processes", "pack_size", "packs_per_gpu", "checkpoint_minutes",
    "trackers",
)  # fmt: skip

# Options that `sbatch:` may not set, with the reason; sbatch also accepts the beginning of an option's name.
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
    "empslurm reads what sbatch prints",
    "jobs start in their own folder and environment",
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
    """Whom Slurm writes to when all jobs of a submission have ended."""

    user: Annotated[Address, Doc("User or e-mail address that Slurm writes to.")]
    type: Annotated[
        tuple[MailEvent, ...], Listed(at_least=0), Doc("Events of each array for which Slurm writes too.")
    ] = ()


@dataclass(frozen=True, kw_only=True)
class ProfileFile:
    """A profile as it is written; only `kind` is needed."""

    kind: Annotated[Literal["local", "slurm"], Doc("local: on this machine. slurm: as jobs of a cluster.")]
    partition: Annotated[SlurmName | None, Doc("Partition. null: the cluster's default.")] = None
    account: Annotated[SlurmName | None, Doc("Account that is billed. null: the user's default.")] = None
    qos: Annotated[SlurmName | None, Doc("Quality of service. null: the account's default.")] = None
    gpus: Annotated[int, Range(low=0, high=64), Doc("GPUs per job. 0 in a local profile: what torch finds.")] = 0
    gpu_type: Annotated[SlurmName | None, Doc("GPU type such as a100, for --gpus-per-node=a100:N. null: any type.")] = (
        None
    )
    gres: Annotated[
        Gres | None, Doc("As sbatch --gres, such as gpu:a100:2, instead of gpus and gpu_type. null: none.")
    ] = None
    cpus: Annotated[
        Cores, Doc("CPU cores per job. In a local profile: use at most this many cores (default: all of this machine).")
    ] = 2
    cpus_per_pack: Annotated[
        Cores | None,
        Doc("CPU cores per pack; as many packs as fit train at once. null: one pack takes all."),
    ] = None
    mem_gb: Annotated[Gibibytes | None, Doc("Memory per job in GiB. null: no --mem, the site decides.")] = 8.0
    mem_per_cpu_gb: Annotated[Gibibytes | None, Doc("Memory per core in GiB, instead of mem_gb.")] = None
    time: Annotated[
        int, Range(low=1, high=527_040), Duration(), Doc("The job's time limit: minutes, HH:MM:SS or D-HH:MM:SS.")
    ] = 60
    signal_lead_s: Annotated[
        int,
        Range(low=0, high=3600),
        Doc("Seconds before the time limit at which a job saves its state and requeues itself."),
    ] = 120
    array_parallelism: Annotated[
        int, Range(low=1, high=10_000), Doc("At most this many elements of one array run at once.")
    ] = 64
    constraint: Annotated[Constraint | None, Doc("Features that a node must have.")] = None
    exclude: Annotated[NodeList | None, Doc("Nodes that are never used.")] = None
    nodelist: Annotated[NodeList | None, Doc("The only nodes that are used.")] = None
    exclusive: Annotated[
        bool, Doc("Take whole nodes, for sites that bill whole nodes: a job fills its node with packs.")
    ] = False
    reservation: Annotated[SlurmName | None, Doc("Reservation to run in.")] = None
    licenses: Annotated[SlurmName | None, Doc("Licences that each job needs.")] = None
    wckey: Annotated[SlurmName | None, Doc("Workload key for the site's accounting.")] = None
    nice: Annotated[
        Annotated[int, Range(low=-2_147_483_645, high=2_147_483_645)] | None,
        Doc("As sbatch --nice: a number above 0 lowers the jobs' priority."),
    ] = None
    comment: Annotated[Words | None, Doc("A comment that Slurm keeps with each job.")] = None
    begin: Annotated[Moment | None, Doc("Jobs start no earlier than this time.")] = None
    sbatch: Annotated[
        Mapping[Option, OptionValue | int | float | bool],
        Doc("Any other sbatch option, by its full name without dashes, such as core-spec: 2."),
    ] = field(default_factory=dict)
    setup: Annotated[
        tuple[Line, ...], Doc("Shell lines to run before Python, such as loading modules or activating a venv.")
    ] = ()
    python: Annotated[
        Line | None,
        Doc("Python for training only, such as `apptainer exec --nv image.sif python`. null: this one."),
    ] = None
    environment: Annotated[
        Mapping[Variable, str], Doc("Environment variables of jobs, such as HF_HUB_OFFLINE: '1'.")
    ] = field(default_factory=dict)
    mail: Annotated[Mail | None, Doc("Whom Slurm writes to when all jobs of a submission have ended.")] = None
    at_end: Annotated[
        Line | None, Doc("Shell line to run once when all jobs have ended; $EMPSLURM_MESSAGE counts cells by state.")
    ] = None
    umask: Annotated[
        Umask | None, Doc("umask of files below the runs root. null: your own, without access for others.")
    ] = None
    group: Annotated[SlurmName | None, Doc("Group that owns what jobs write below the runs root.")] = None
    num_processes: Annotated[
        int, Range(low=1, high=64), Doc("Processes that train one pack together through accelerate, on one node.")
    ] = 1
    pack_size: Annotated[
        Annotated[int, Range(low=1, high=10_000)] | None, Doc("At most this many cells in one pack. null: no limit.")
    ] = None
    packs_per_gpu: Annotated[int, Range(low=1, high=16), Doc("Packs that train on one GPU at the same time.")] = 1
    checkpoint_minutes: Annotated[
        float, Range(above=0, high=1440), Doc("Minutes between checkpoints; a job also saves one when it is stopped.")
    ] = 5.0
    trackers: Annotated[
        tuple[Tracker, ...],
        Listed(at_least=0),
        Doc("Trackers of accelerate that get each cell's loss curve, such as [tensorboard], in RUNS/trackers."),
    ] = ()
    grid_g_per_kwh: Annotated[
        CarbonIntensity | None,
        Doc("Carbon intensity of the site's electricity in g CO2e per kWh, for estimates. null: not known, no CO2e."),
    ] = None
    requeues: Annotated[
        int, Range(low=0, high=100), Doc("At most this many restarts of one job; 0 for sites that allow none.")
    ] = 10


@dataclass(frozen=True, kw_only=True)
class Profile(ProfileFile):
    """A profile with its name, which is the file's."""

    name: str


def load_profile(path: Path) -> Profile:
    """Read a profile. Raises ManifestError with all of its problems."""
    reader = Reader(str(path))
    if not re.fullmatch(NAME, path.stem, re.ASCII):
        reader.problem(
            "", f"have a file name of letters, digits and _ . -, but is {shown(path.stem)}", "rename the file"
        )
    options = reader.section(ProfileFile, yaml_tree.load(path))
    if options.get("kind") == "local":
        for key in options:
            if key not in LOCAL_FIELDS:
                reader.problem(key, "be left out of a local profile, but is given", "remove it, or set kind: slurm")
        options.setdefault("cpus", MOST_CORES)
    _memory(options, reader)
    _gpus(options, reader)
    _options(options.get("sbatch", {}), reader)
    profile = Profile(**{"name": path.stem, "kind": "slurm", **options})
    if 0 < profile.gpus < profile.num_processes:
        must = f"be at most gpus ({profile.gpus}), but is {profile.num_processes}"
        reader.problem("num_processes", must, "raise gpus, or lower num_processes")
    if profile.packs_per_gpu > 1 and not profile.gpus:
        must = f"be 1 where gpus is 0, since no GPU is there to share, but is {profile.packs_per_gpu}"
        reader.problem("packs_per_gpu", must, "set gpus, or leave packs_per_gpu out")
    if profile.cpus_per_pack and not profile.exclusive and profile.cpus_per_pack > profile.cpus:
        must = f"be at most cpus ({profile.cpus}), but is {profile.cpus_per_pack}"
        reader.problem("cpus_per_pack", must, "raise cpus, or lower cpus_per_pack")
    if profile.signal_lead_s * 2 > profile.time * 60:
        must = f"be at most half of time ({profile.time} min), but is {profile.signal_lead_s} s"
        reader.problem("signal_lead_s", must, f"write at most {profile.time * 30}, or raise time")
    reader.finish()
    return profile


def _memory(options: dict[str, Any], reader: Reader) -> None:
    """Check that memory is asked for in one way only."""
    if options.get("mem_per_cpu_gb") is not None:
        if options.get("mem_gb") is not None:
            must = "be left out where mem_gb is given, since Slurm takes one of them only, but is given"
            reader.problem("mem_per_cpu_gb", must, "remove one of the two")
        options["mem_gb"] = None


def _gpus(options: dict[str, Any], reader: Reader) -> None:
    """Check that GPUs are asked for in one way only; take their number from gres where it asks for them."""
    n_gpus = gpus_of(options.get("gres") or "")
    if n_gpus is not None:
        for key in ("gpus", "gpu_type"):
            if options.get(key):
                must = f"be left out where gres asks for GPUs ({options['gres']}), but is given"
                reader.problem(key, must, "remove it, or take the GPUs out of gres")
        if n_gpus > 64:
            reader.problem("gres", f"ask for at most 64 GPUs, but asks for {n_gpus}", "lower its count")
        options["gpus"] = n_gpus
    elif options.get("gpu_type") and not options.get("gpus"):
        reader.problem("gpu_type", "be used together with gpus, but gpus is 0 or left out", "add `gpus: 1`")


def gpus_of(gres: str) -> int | None:
    """How many GPUs a --gres text asks for, such as `gpu:a100:2,lscratch:50`; None where it names none."""
    counts = []
    for entry in gres.removeprefix("gres/").split(","):
        words = re.split(r"[:=]", entry)
        if words[0].removeprefix("gres/") == "gpu":
            counts.append(int(words[-1]) if words[-1].isdigit() else 1)
    return sum(counts) if counts else None


def _options(options: Mapping[str, object], reader: Reader) -> None:
    """Refuse options that empslurm sets itself, and options that have their own profile field."""
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


def profile_json_schema() -> dict[str, Any]:
    """The JSON Schema of profiles, for editors; `slurm/profile.schema.json` holds it."""
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "empslurm profile",
        **json_schema(ProfileFile),
    }
