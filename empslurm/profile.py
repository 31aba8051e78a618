"""Where to run: a strict YAML profile of a Slurm partition or of this machine; never part of a cell's identity."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from empslurm import yamlfile
from empslurm.limits import Duration, Listed, Pattern, Range
from empslurm.typed import Reader, json_schema, shown

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
Line = Annotated[str, Pattern(regex=r"[^\n]{1,2000}", words="one line of shell")]
Variable = Annotated[str, Pattern(regex=r"[A-Za-z_][A-Za-z0-9_]{0,99}", words="the name of an environment variable")]
Umask = Annotated[str, Pattern(regex=r"0?[0-7]{3}", words="three octal digits in quotes, such as '027'")]
Address = Annotated[str, Pattern(regex=r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,199}", words="a user or an e-mail address")]
MailEvent = Literal["BEGIN", "END", "FAIL", "REQUEUE", "TIME_LIMIT", "ALL"]

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
# What means something without a scheduler; anything else in a local profile would be ignored in silence.
LOCAL_FIELDS = ("kind", "gpus", "num_processes", "pack_size", "packs_per_gpu", "checkpoint_minutes")


@dataclass(frozen=True, kw_only=True)
class Mail:
    """Whom Slurm tells, and when."""

    user: Address
    type: Annotated[tuple[MailEvent, ...], Listed()] = ("FAIL", "TIME_LIMIT")


@dataclass(frozen=True, kw_only=True)
class ProfileForm:
    """A profile as it is written; only `kind` is needed."""

    kind: Literal["local", "slurm"]
    partition: SlurmName | None = None  # null: the cluster's default
    account: SlurmName | None = None  # null: the user's default
    qos: SlurmName | None = None
    gpus: Annotated[int, Range(low=0, high=64)] = 0  # per job; 0 in a local profile: what torch finds
    cpus: Annotated[int, Range(low=1, high=1024)] = 2  # per job
    mem_gb: Annotated[float, Range(above=0, high=65536)] = 8.0  # GiB per job
    time: Annotated[int, Range(low=1, high=527_040), Duration()] = 60  # the job's limit, in minutes once read
    signal_lead_s: Annotated[int, Range(low=0, high=3600)] = 120  # seconds before the limit: save now
    array_parallelism: Annotated[int, Range(low=1, high=10_000)] = 64  # elements of one array that run at once
    constraint: Constraint | None = None
    exclude: NodeList | None = None  # nodes that are never used
    setup: tuple[Line, ...] = ()  # shell lines before python: modules to load, a venv to activate
    python: Line | None = None  # how python is started, such as `apptainer exec --nv image.sif python`; null: this one
    environment: Mapping[Variable, str] = field(default_factory=dict)  # such as HF_HUB_OFFLINE: '1'
    mail: Mail | None = None
    umask: Umask | None = None  # of what jobs write below the runs root
    group: SlurmName | None = None  # that owns what jobs write below the runs root
    num_processes: Annotated[int, Range(low=1, high=64)] = 1  # that train one pack together, by accelerate, on one node
    pack_size: Annotated[int, Range(low=1, high=10_000)] | None = None  # most cells of one job; null: all
    packs_per_gpu: Annotated[int, Range(low=1, high=16)] = 1  # packs that train on one GPU at the same time
    checkpoint_minutes: Annotated[float, Range(above=0, high=1440)] = 5.0  # between checkpoints, those of signals apart
    requeues: Annotated[int, Range(low=0, high=100)] = 10  # most restarts of one job


@dataclass(frozen=True, kw_only=True)
class Profile(ProfileForm):
    """A profile with its name, which is the file's."""

    name: str


def load_profile(path: Path) -> Profile:
    """Read a profile. Raises ManifestError with all of its problems."""
    reader = Reader(str(path))
    if not re.fullmatch(NAME, path.stem, re.ASCII):
        reader.problem("", f"be named by letters, digits and _ . -, but is {shown(path.stem)}", "rename the file")
    given = reader.section(ProfileForm, yamlfile.load(path))
    if given.get("kind") == "local":
        for key in given:
            if key not in LOCAL_FIELDS:
                reader.problem(key, "be left out of a local profile, but is given", "remove it, or set kind: slurm")
    profile = Profile(**{"name": path.stem, "kind": "slurm", **given})
    if 0 < profile.gpus < profile.num_processes:
        must = f"be at most gpus ({profile.gpus}), but is {profile.num_processes}"
        reader.problem("num_processes", must, "ask for more gpus or fewer processes")
    if profile.packs_per_gpu > 1 and not profile.gpus:
        must = f"be 1 where gpus is 0, since no GPU is there to share, but is {profile.packs_per_gpu}"
        reader.problem("packs_per_gpu", must, "set gpus, or leave packs_per_gpu out")
    if profile.signal_lead_s * 2 > profile.time * 60:
        must = f"be at most half of time ({profile.time} min), but is {profile.signal_lead_s} s"
        reader.problem("signal_lead_s", must, "shorten it or ask for more time")
    reader.finish()
    return profile


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
