"""What a cluster says about itself: partitions, nodes, accounts, memory, requeue rules; asks Slurm, decides nothing."""

from __future__ import annotations

import grp
import importlib.util
import os
import pwd
import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from empslurm.errors import SchedulerError
from empslurm.launch import scontrol

Run = Callable[..., tuple[bool, str]]  # command words -> whether it succeeded, and what it said

NOTHING = ("", "(null)", "N/A", "NONE", "n/a", "none")
EVERYBODY = ("ALL", "all")
SINFO = "%R|%D|%c|%m|%Z|%G"  # partition, nodes, CPUs, MiB, threads per core, generic resources; each of one node
MAX_SHOWN = 300  # characters of a command's output in an error
MAX_DIGITS = 15  # of a number; a longer one counts as none


@dataclass(frozen=True, kw_only=True)
class Nodes:
    """Equal nodes of a partition, in any state: nodes that are down today still belong to it."""

    n_nodes: int
    n_cpus: int  # per node, as Slurm counts them: hardware threads where threads_per_core is above 1
    memory_mib: int | None  # per node; None: not configured
    threads_per_core: int
    gpus: tuple[tuple[str, int], ...]  # per node: type ("" where it has none), count

    @property
    def n_gpus(self) -> int:
        """GPUs of one node."""
        return sum(count for _, count in self.gpus)


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Limits in MiB, as the partition or else the cluster sets them; None: there is none."""

    default_per_cpu: int | None = None
    default_per_gpu: int | None = None
    most_per_cpu: int | None = None
    most_per_node: int | None = None


@dataclass(frozen=True, kw_only=True)
class Partition:
    """One partition. Lists of names are None where everybody and everything is allowed."""

    name: str
    state: str
    is_default: bool
    is_hidden: bool
    is_root_only: bool
    is_closed_to_root: bool
    needs_reservation: bool
    min_nodes: int
    max_nodes: int | None
    max_time_min: int | None  # None: no limit
    default_time_min: int | None
    allow_groups: tuple[str, ...] | None
    allow_accounts: tuple[str, ...] | None
    deny_accounts: tuple[str, ...]
    allow_qos: tuple[str, ...] | None
    deny_qos: tuple[str, ...]
    alloc_nodes: tuple[str, ...] | None
    qos: str | None  # the partition's own, whose limits hold for all of its jobs
    oversubscribe: str
    preempt_mode: str
    max_cpus_per_node: int | None
    cpus_per_gpu: int | None  # the site's default
    memory: Memory
    nodes: tuple[Nodes, ...]


@dataclass(frozen=True, kw_only=True)
class Association:
    """The user's right to run under an account, in one partition or (where that is "") in all."""

    account: str
    partition: str
    qos: tuple[str, ...]
    default_qos: str | None


@dataclass(frozen=True, kw_only=True)
class Site:
    """All that is known of a cluster. None: not known, since no command answered or there is no accounting."""

    cluster: str | None
    version: str | None
    user: str
    groups: tuple[str, ...]
    select_type: str | None  # such as select/cons_tres
    memory_is_shared_out: bool | None  # False: memory is no consumable resource
    requeues: bool | None  # the site's default for batch jobs
    enforced: tuple[str, ...]  # of AccountingStorageEnforce, such as associations, limits, qos, wckeys
    tracks_wckeys: bool
    partitions: tuple[Partition, ...]
    associations: tuple[Association, ...] | None
    default_account: str | None
    wckeys: tuple[str, ...] | None  # the default one first
    qos_time_min: Mapping[str, int]  # MaxWall of the qualities of service that have one
    torch_has_gpus: bool | None  # whether the torch installed here is built for GPUs

    @property
    def demands_accounts(self) -> bool:
        """Whether a job without one of the user's accounts is refused."""
        return "associations" in self.enforced

    @property
    def demands_wckeys(self) -> bool:
        """Whether a job without one of the user's wckeys is refused."""
        return self.tracks_wckeys and "wckeys" in self.enforced


def read(run: Run = scontrol.run) -> Site:
    """Ask the cluster that answers here. Raises SchedulerError where none answers or it names no partition."""
    config = _config(_must(run, "scontrol", "show", "config"))
    nodes = _nodes(_must(run, "sinfo", "--noheader", "--all", "--exact", f"--format={SINFO}"))
    partitions = _partitions(_must(run, "scontrol", "--all", "--oneliner", "show", "partition"), nodes, config)
    if not partitions:
        raise SchedulerError(
            "Slurm must name at least one partition, but `scontrol --all show partition` names none; ask the site "
            "whether you may use this cluster"
        )
    user = _user()
    accounting = _Accounting(run, user, config)
    select = _known(config.get("SelectTypeParameters"))
    return Site(
        cluster=_known(config.get("ClusterName")),
        version=_known(config.get("SLURM_VERSION")),
        user=user,
        groups=_groups(),
        select_type=_known(config.get("SelectType")),
        memory_is_shared_out="MEMORY" in select.upper() if select else None,
        requeues=_flag(config.get("JobRequeue")),
        enforced=_names(config.get("AccountingStorageEnforce", "").lower()) or (),
        tracks_wckeys=bool(_flag(config.get("TrackWCKey"))),
        partitions=partitions,
        associations=accounting.associations(),
        default_account=accounting.default("DefaultAccount"),
        wckeys=accounting.wckeys(),
        qos_time_min=accounting.qos_time_min(),
        torch_has_gpus=torch_has_gpus(),
    )


def partitions(run: Run = scontrol.run) -> tuple[Partition, ...]:
    """The partitions, without nodes and the cluster's defaults; empty where the controller does not answer."""
    good, said = _ask(run, "scontrol", "--all", "--oneliner", "show", "partition")
    return _partitions(said, {}, {}) if good else ()


# ---- asking ----------------------------------------------------------------------------------------------------------


def _ask(run: Run, *command: str) -> tuple[bool, str]:
    """Whether a command succeeded, and what it said."""
    try:
        return run(*command)
    except ValueError:  # bytes that are not text
        return False, "its answer is not text in UTF-8"


def _must(run: Run, *command: str) -> str:
    """The answer of a command that has to answer."""
    succeeded, said = _ask(run, *command)
    if not succeeded:
        said = " ".join(said.split())[:MAX_SHOWN] or "nothing"
        raise SchedulerError(
            f"Slurm's controller must answer `{' '.join(command[:3])}`, but says: {said}; try `sinfo`, then run the "
            "same command again"
        )
    return said


class _Accounting:
    """Questions to sacctmgr; every answer is None or empty where there is no accounting or no answer."""

    def __init__(self, run: Run, user: str, config: Mapping[str, str]) -> None:
        self._run, self._user, self._config = run, user, config
        self._exists = _known(config.get("AccountingStorageType", "?")) not in (None, "accounting_storage/none")

    def _rows(self, *words: str) -> list[list[str]] | None:
        """The rows of one answer, split into fields."""
        if not self._exists:
            return None
        succeeded, said = _ask(self._run, "sacctmgr", "--noheader", "--parsable2", "show", *words)
        return [line.split("|") for line in said.splitlines() if line.strip()] if succeeded else None

    def _here(self, cluster: str) -> bool:
        """Whether a row is of this cluster: a database may serve several."""
        own = self._config.get("ClusterName", "")
        return not own or cluster.lower() == own.lower()

    def associations(self) -> tuple[Association, ...] | None:
        """The user's associations on this cluster."""
        form = "format=Cluster,Account,User,Partition,QOS,DefaultQOS"
        rows = self._rows("assoc", f"user={self._user}", form)
        if rows is None:
            return None
        return tuple(
            Association(account=row[1], partition=row[3], qos=_names(row[4]) or (), default_qos=_known(row[5]))
            for row in rows
            if len(row) == 6 and row[1] and self._here(row[0])
        )

    def default(self, field: str) -> str | None:
        """A default of the user's, such as DefaultAccount."""
        rows = self._rows("user", self._user, f"format={field}") or []
        return next((name for row in rows if (name := _known(row[0].strip()))), None)

    def wckeys(self) -> tuple[str, ...] | None:
        """The user's wckeys; asked for only where the cluster tracks them."""
        if not _flag(self._config.get("TrackWCKey")):
            return None
        rows = self._rows("wckey", f"user={self._user}", "format=Cluster,WCKey")
        if rows is None:
            return None
        names = [row[1].lstrip("*") for row in rows if len(row) == 2 and self._here(row[0])]
        default = (self.default("DefaultWCKey") or "").lstrip("*")
        return tuple(dict.fromkeys(filter(None, [default, *names])))

    def qos_time_min(self) -> dict[str, int]:
        """MaxWall of the qualities of service that have one, in minutes."""
        rows = self._rows("qos", "format=Name,MaxWall") or []
        limits = {row[0]: minutes(row[1]) for row in rows if len(row) == 2}
        return {name: limit for name, limit in limits.items() if limit is not None}


def _user() -> str:
    """The user's name; the number where it has none, as in some containers."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _groups() -> tuple[str, ...]:
    """Names of the groups that this process belongs to."""
    names = []
    for number in {os.getegid(), *os.getgroups()}:
        with suppress(KeyError):
            names.append(grp.getgrgid(number).gr_name)
    return tuple(sorted(names))


def torch_has_gpus() -> bool | None:
    """Whether the installed torch is built for GPUs (CUDA or ROCm), without importing it; None: not known."""
    try:
        spec = importlib.util.find_spec("torch")
        text = (Path(spec.origin or "").parent / "version.py").read_text() if spec else ""
    except (OSError, ValueError):
        return None
    built = dict(re.findall(r"^(cuda|hip)\b[^=\n]*=\s*(\S+)", text, re.MULTILINE))
    return any(value != "None" for value in built.values()) if built else None


# ---- reading the answers ---------------------------------------------------------------------------------------------


def _known(value: str | None) -> str | None:
    """A value, or None for one of Slurm's words for nothing."""
    return None if value is None or value in NOTHING else value


def _names(value: str | None) -> tuple[str, ...] | None:
    """A list of names; None where it means all, or nothing."""
    if value is None or value in NOTHING or value in EVERYBODY:
        return None
    return tuple(name for part in value.split(",") if (name := part.strip()))


def _number(value: str | None) -> int | None:
    """A whole number, such as `4000` or `96+`; None where it is not a number, or no limit."""
    number = re.fullmatch(rf"(\d{{1,{MAX_DIGITS}}})\+?", (value or "").strip(), re.ASCII)
    return int(number[1]) if number else None


def _flag(value: str | None) -> bool | None:
    """Yes or no, in any of Slurm's spellings."""
    return {"yes": True, "1": True, "no": False, "0": False}.get((value or "").strip().lower())


def minutes(value: str | None) -> int | None:
    """A time such as `2-00:00:00`, `12:00:00`, `30:00` or `90`, in whole minutes; None: no limit, or not a time."""
    parts = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,7})(?::(\d{1,2}))?(?::(\d{1,2}))?", (value or "").strip(), re.ASCII)
    if parts is None:
        return None
    days, first, second, third = (None if part is None else int(part) for part in parts.groups())
    if days is not None:  # D-HH, D-HH:MM, D-HH:MM:SS
        return (days * 24 + (first or 0)) * 60 + (second or 0)
    if third is not None:  # HH:MM:SS
        return (first or 0) * 60 + (second or 0)
    return first  # MM, MM:SS


def gpus(gres: str) -> tuple[tuple[str, int], ...]:
    """Type and count of the GPUs of a node's generic resources, such as `gpu:a100:4(S:0-1),shard:8`."""
    counts: dict[str, int] = defaultdict(int)
    for entry in re.sub(r"\([^()]*\)", "", gres).split(","):
        words = [word for word in entry.strip().removeprefix("gres/").split(":") if word != "no_consume"]
        if words[:1] == ["gpu"]:
            count = _number(words[-1]) if len(words) > 1 else 1
            kind = words[1] if len(words) > 2 or (len(words) == 2 and count is None) else ""
            counts[kind] += 1 if count is None else count
    return tuple((kind, count) for kind, count in sorted(counts.items()) if count)


def _config(said: str) -> dict[str, str]:
    """The settings of `scontrol show config`; the first of each name."""
    pairs = re.findall(r"^(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", said, re.MULTILINE)
    return dict(reversed(pairs))


def _nodes(said: str) -> dict[str, tuple[Nodes, ...]]:
    """The kinds of nodes by partition, from sinfo's lines; other lines are skipped."""
    kinds_of: dict[str, dict[tuple[int, int | None, int, tuple[tuple[str, int], ...]], int]] = {}
    for line in said.splitlines():
        fields = line.strip().split("|", 5)
        if len(fields) < 6:
            continue
        n_nodes, n_cpus, memory, threads = map(_number, fields[1:5])
        if fields[0] and n_nodes and n_cpus:
            # Slurm gives 1 for a node whose memory is not configured.
            kind = (n_cpus, memory if (memory or 0) > 1 else None, threads or 1, gpus(fields[5]))
            kinds = kinds_of.setdefault(fields[0], {})
            kinds[kind] = kinds.get(kind, 0) + n_nodes
    return {
        name: tuple(
            Nodes(n_nodes=n_nodes, n_cpus=n_cpus, memory_mib=memory, threads_per_core=threads, gpus=cards)
            for (n_cpus, memory, threads, cards), n_nodes in kinds.items()
        )
        for name, kinds in kinds_of.items()
    }


def _partitions(said: str, nodes: Mapping[str, tuple[Nodes, ...]], config: Mapping[str, str]) -> tuple[Partition, ...]:
    """The partitions of `scontrol --oneliner show partition`; other lines are skipped."""
    known: dict[str, Partition] = {}
    for line in said.splitlines():
        words = (word.partition("=") for word in line.split())
        fields = {key: value for key, equals, value in words if equals}
        name = fields.get("PartitionName")
        if name and name not in known:
            known[name] = _partition(name, fields, nodes.get(name, ()), config)
    return tuple(known.values())


def _partition(name: str, fields: Mapping[str, str], nodes: tuple[Nodes, ...], config: Mapping[str, str]) -> Partition:
    """One partition from its fields; the cluster's configuration gives what they leave open."""
    defaults = _job_defaults(config.get("JobDefaults")) | _job_defaults(fields.get("JobDefaults"))
    most = fields if any(_number(fields.get(key)) for key in ("MaxMemPerCPU", "MaxMemPerNode")) else config
    return Partition(
        name=name,
        state=fields.get("State", "unknown"),
        is_default=bool(_flag(fields.get("Default"))),
        is_hidden=bool(_flag(fields.get("Hidden"))),
        is_root_only=bool(_flag(fields.get("RootOnly"))),
        is_closed_to_root=bool(_flag(fields.get("DisableRootJobs"))),
        needs_reservation=bool(_flag(fields.get("ReqResv"))),
        min_nodes=_number(fields.get("MinNodes")) or 0,
        max_nodes=_number(fields.get("MaxNodes")),
        max_time_min=minutes(fields.get("MaxTime")),
        default_time_min=minutes(fields.get("DefaultTime")),
        allow_groups=_names(fields.get("AllowGroups")),
        allow_accounts=_names(fields.get("AllowAccounts")),
        deny_accounts=_names(fields.get("DenyAccounts")) or (),
        allow_qos=_names(fields.get("AllowQos")),
        deny_qos=_names(fields.get("DenyQos")) or (),
        alloc_nodes=_names(fields.get("AllocNodes")),
        qos=_known(fields.get("QoS")),
        oversubscribe=fields.get("OverSubscribe", fields.get("Shared", "")),
        preempt_mode=fields.get("PreemptMode", ""),
        max_cpus_per_node=_number(fields.get("MaxCPUsPerNode")),
        cpus_per_gpu=_number(defaults.get("DefCpuPerGPU")),
        memory=Memory(
            default_per_cpu=_number(fields.get("DefMemPerCPU")) or _number(config.get("DefMemPerCPU")),
            default_per_gpu=_number(defaults.get("DefMemPerGPU")),
            most_per_cpu=_number(most.get("MaxMemPerCPU")) or None,
            most_per_node=_number(most.get("MaxMemPerNode")) or None,
        ),
        nodes=nodes,
    )


def _job_defaults(value: str | None) -> dict[str, str]:
    """JobDefaults, such as `DefCpuPerGPU=8,DefMemPerGPU=64000`."""
    pairs = (part.partition("=") for part in (value or "").split(","))
    return {key: number for key, equals, number in pairs if equals}
