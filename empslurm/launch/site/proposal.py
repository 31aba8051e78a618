"""From what a cluster says of itself to the text of a profile, each choice with its reason; pure."""

from __future__ import annotations

import math
import re
import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, get_args

from empslurm.errors import SchedulerError, UsageError
from empslurm.launch.profile import SlurmName
from empslurm.launch.site.facts import Association, Nodes, Partition, Site

SENSIBLE_MIN = 8 * 60  # of a job: long beside start-up, short enough to be started early
FULL_LEAD_MIN = 30  # jobs at least so long save three minutes before their end
LEAD_S = 180
MOST_CPUS = 8  # per GPU, or of a job without one: packs of small models use no more
GPU_MEMORY_GIB, CPU_MEMORY_GIB = 24, 16  # of a job; the README has what training takes
USABLE = 0.95  # of a node's memory: some of it may be the system's
LITTLE_GIB = 6.0  # with less, long texts need smaller micro-batches
REQUEUES = 10
MOST_SHOWN = 10  # alternatives of one kind in the file
MOST_LISTED = 100  # and in the JSON document
WIDTH = 118
GIB = 1024  # MiB
MOST_GIB = 65536.0  # that a profile takes
# Partitions for something else than hours of training: by the words of their names.
DOUBTFUL = re.compile(
    r"debug|dbg|devel|interact|jupyter|urgent|express|priority|preempt|scav|backfill|spot|requeue|besteffort|"
    r"killable|low|admin|maint|login|build|transfer|dtn|"
    r"(?:^|[-_.])(?:dev|test|testing|int|vis|viz|free|idle|ckpt|guest|copy|data|short|quick)(?:$|[-_.\d])",
    re.IGNORECASE,
)
PLAIN_YAML = re.compile(r"[A-Za-z][A-Za-z0-9_.-]*")
YAML_WORDS = {"null", "true", "false", "yes", "no", "on", "off", "y", "n"}


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One field of the profile. `value` None: left out, or null where a default would say otherwise."""

    field: str
    value: str | int | float | bool | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Proposal:
    """A profile that is still to be written."""

    partition: str
    summary: str  # the choices in a line
    choices: tuple[Choice, ...]
    alternatives: dict[str, Any]
    warnings: tuple[str, ...]
    text: str  # of the file


def propose(site: Site, name: str, partition: str | None = None) -> Proposal:
    """A profile `name` for the best partition, or for the one asked for.

    Raises UsageError where that one does not exist, SchedulerError where none can be used.
    """
    draft = Draft(site=site, partition=_asked(site, partition) if partition else _best(site))
    choices = tuple(choice for make in FIELDS if (choice := make(draft)))
    warnings = tuple(sentence for warn in WARNINGS if (sentence := warn(draft)))
    return Proposal(
        partition=draft.partition.name,
        summary=_summary(draft, choices),
        choices=choices,
        alternatives=_alternatives(draft),
        warnings=warnings,
        text=_text(draft, name, choices, warnings),
    )


# ---- which partition -------------------------------------------------------------------------------------------------


def writable(name: str | None) -> bool:
    """Whether a name may stand in a profile."""
    return bool(name) and bool(get_args(SlurmName)[1].holds(name))


def accounts(site: Site, partition: Partition) -> tuple[str, ...] | None:
    """The user's accounts that the partition takes; None: not known.

    First those with a QOS that it takes, and among these the default account.
    """
    if site.associations is None:
        return None
    entries = [entry for entry in site.associations if entry.partition in ("", partition.name)]
    mine = dict.fromkeys(entry.account for entry in entries)
    fitting = {entry.account for entry in entries if partition.allow_qos is None or _qos_of(entry, partition)}
    allowed = None if partition.allow_accounts is None else {name.lower() for name in partition.allow_accounts}
    denied = {name.lower() for name in partition.deny_accounts}
    good = [name for name in mine if (allowed is None or name.lower() in allowed) and name.lower() not in denied]
    return tuple(sorted(filter(writable, good), key=lambda name: (name not in fitting, name != site.default_account)))


def _is_root(site: Site) -> bool:
    return site.user == "root"


def _no_group(partition: Partition, site: Site) -> bool:
    allowed = partition.allow_groups
    return allowed is not None and not _is_root(site) and not set(allowed) & set(site.groups)


def _no_account(partition: Partition, site: Site) -> bool:
    """Whether the user's accounts are known and the partition takes none of them."""
    limited = partition.allow_accounts is not None or bool(partition.deny_accounts) or site.demands_accounts
    return bool(site.associations) and limited and accounts(site, partition) == ()


def _no_qos(partition: Partition, site: Site) -> bool:
    """Whether the user's qualities of service are known and the partition takes none of them."""
    known = [entry for entry in site.associations or () if entry.qos]
    return bool(known) and partition.allow_qos is not None and not any(_qos_of(entry, partition) for entry in known)


def _qos_of(entry: Association, partition: Partition) -> list[str]:
    """Those of an association that the partition takes."""
    allowed = partition.allow_qos
    return [
        name
        for name in entry.qos
        if (allowed is None or name in allowed) and name not in partition.deny_qos and writable(name)
    ]


Rule = tuple[Callable[[Partition, Site], bool], Callable[[Partition, Site], str]]
RULES_OUT: tuple[Rule, ...] = (
    (lambda p, s: not writable(p.name), lambda p, s: "its name cannot stand in a profile"),
    (lambda p, s: p.state != "UP", lambda p, s: f"its state is {p.state}"),
    (lambda p, s: p.is_hidden, lambda p, s: "it is hidden"),
    (lambda p, s: p.is_root_only and not _is_root(s), lambda p, s: "only root may use it"),
    (lambda p, s: p.is_closed_to_root and _is_root(s), lambda p, s: "it takes no jobs of root"),
    (lambda p, s: p.needs_reservation, lambda p, s: "it needs a reservation"),
    (_no_group, lambda p, s: f"it is for the groups {_listed(p.allow_groups)}"),
    (_no_account, lambda p, s: f"it takes none of your accounts ({_listed(sorted(_all_accounts(s)))})"),
    (_no_qos, lambda p, s: f"it is for the QOS {_listed(p.allow_qos)}"),
    (lambda p, s: p.min_nodes > 1, lambda p, s: f"its jobs take at least {p.min_nodes} nodes, ours take one"),
    (lambda p, s: p.max_nodes == 0, lambda p, s: "its jobs may take no node"),
    (lambda p, s: p.max_time_min == 0, lambda p, s: "its jobs may take no time"),
    (lambda p, s: not p.nodes, lambda p, s: "no nodes of it are known"),
)


def _all_accounts(site: Site) -> set[str]:
    return {entry.account for entry in site.associations or ()}


def obstacles(site: Site, partition: Partition) -> list[str]:
    """Why a partition cannot be used; empty where it can, as far as is known."""
    return [_plain(say(partition, site)) for applies, say in RULES_OUT if applies(partition, site)]


def _has_gpus(partition: Partition) -> bool:
    return any(nodes.n_gpus for nodes in partition.nodes)


def _wants_gpus(site: Site) -> bool:
    """Whether training can use GPUs: not with a torch that is built without them."""
    return site.torch_has_gpus is not False


def _access_is_known(partition: Partition, site: Site) -> bool:
    """Whether nothing that is asked for is unknown: accounts, QOS, where jobs may be sent from."""
    accounts_fit = site.associations is not None or partition.allow_accounts is None
    qos_fits = partition.allow_qos is None or any(entry.qos for entry in site.associations or ())
    return accounts_fit and qos_fits and partition.alloc_nodes is None


def _rank(site: Site, partition: Partition) -> tuple[object, ...]:
    """The smaller, the better: GPUs as they are wanted, made for such jobs, access, time, the default, size, name."""
    time_min = SENSIBLE_MIN if partition.max_time_min is None else min(SENSIBLE_MIN, partition.max_time_min)
    return (
        _has_gpus(partition) != _wants_gpus(site),
        DOUBTFUL.search(partition.name) is not None,
        not _access_is_known(partition, site),
        -time_min,
        not partition.is_default,
        -sum(nodes.n_nodes * (nodes.n_gpus or 1) for nodes in partition.nodes),
        partition.name,
    )


def _usable(site: Site) -> list[Partition]:
    """Partitions without an obstacle, the best first."""
    good = [partition for partition in site.partitions if not obstacles(site, partition)]
    return sorted(good, key=lambda partition: _rank(site, partition))


def _best(site: Site) -> Partition:
    usable = _usable(site)
    if not usable:
        reasons = [
            f"{_plain(partition.name)}: {obstacles(site, partition)[0]}" for partition in site.partitions[:MOST_SHOWN]
        ]
        raise SchedulerError(
            f"a partition must be open to you, but none is ({'; '.join(reasons)}); ask the site, or name one with "
            "--partition"
        )
    return usable[0]


def _asked(site: Site, name: str) -> Partition:
    """The partition of a name, obstacles or not: they may pass."""
    found = next((partition for partition in site.partitions if partition.name == name and writable(name)), None)
    if found is None:
        known = sorted(partition.name for partition in site.partitions if writable(partition.name))
        raise UsageError(
            f"--partition must name a partition of this cluster ({_listed(known)}), but is {_plain(name)!r}; name one "
            "of them, or leave it out"
        )
    return found


# ---- what of it ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A partition with what follows from the choice of it."""

    site: Site
    partition: Partition

    @cached_property
    def nodes(self) -> tuple[Nodes, ...]:
        """The nodes that jobs are made to fit: those with GPUs where GPUs are asked for."""
        equipped = tuple(nodes for nodes in self.partition.nodes if nodes.n_gpus)
        return equipped if equipped and _wants_gpus(self.site) else self.partition.nodes

    @cached_property
    def exclusive(self) -> bool:
        """Whether jobs get whole nodes in any case."""
        return self.partition.oversubscribe.upper() == "EXCLUSIVE" or self.site.select_type == "select/linear"

    @cached_property
    def n_gpus(self) -> int:
        """GPUs of a job: one, or all of a whole node."""
        counts = [nodes.n_gpus for nodes in self.nodes] if _wants_gpus(self.site) else []
        least = min(counts, default=0)
        return min(least, 64) if self.exclusive else min(least, 1)

    @cached_property
    def gpu_types(self) -> tuple[str, ...]:
        """The types of GPUs in the partition, "" for GPUs without one."""
        return tuple(sorted({kind for nodes in self.partition.nodes for kind, _ in nodes.gpus}))

    @cached_property
    def gpu_type(self) -> str | None:
        """The only type, where it can be written."""
        return self.gpu_types[0] if len(self.gpu_types) == 1 and writable(self.gpu_types[0]) else None

    def _cpus_of(self, nodes: Nodes) -> int:
        """CPUs of such a node that jobs may take."""
        return min(nodes.n_cpus, self.partition.max_cpus_per_node or nodes.n_cpus)

    @cached_property
    def node_cpus(self) -> int | None:
        """CPUs of the smallest node; None: not known."""
        return min((self._cpus_of(nodes) for nodes in self.nodes), default=None)

    @cached_property
    def share(self) -> float:
        """What part of the smallest node a job's cores or GPUs are; 1 for a whole node."""
        if self.exclusive or not self.nodes:
            return 1.0
        if self.n_gpus:
            return min(self.n_gpus / nodes.n_gpus for nodes in self.nodes)
        return self.cpus / max(self._cpus_of(nodes) for nodes in self.nodes)

    @cached_property
    def cpus(self) -> int:
        """CPUs of a job."""
        if self.node_cpus is None:
            return 2
        if self.exclusive:
            return min(self.node_cpus, 1024)
        share = self.node_cpus
        if self.n_gpus:
            share = min(self._cpus_of(nodes) * self.n_gpus // nodes.n_gpus for nodes in self.nodes)
            share = min(share, (self.partition.cpus_per_gpu or share) * self.n_gpus)
        threads = max(nodes.threads_per_core for nodes in self.nodes)
        cpus = max(1, min(share, MOST_CPUS * max(1, self.n_gpus)))
        return cpus // threads * threads or cpus

    @cached_property
    def memory_mib(self) -> int | None:
        """MiB that a job may take beside others on its node; None: not known."""
        known = [nodes.memory_mib for nodes in self.nodes if nodes.memory_mib]
        if not known:
            return None
        share = min(known) * USABLE * self.share
        if not self.exclusive:
            share = min(share, GIB * (GPU_MEMORY_GIB * self.n_gpus or CPU_MEMORY_GIB))
            if self.n_gpus and self.partition.memory.default_per_gpu:
                share = min(share, self.partition.memory.default_per_gpu * self.n_gpus)
        return max(1, int(min(share, self.partition.memory.most_per_node or share)))

    @cached_property
    def accounts(self) -> tuple[str, ...] | None:
        """As `accounts`."""
        return accounts(self.site, self.partition)

    @cached_property
    def account(self) -> str | None:
        """The account to name."""
        return self.accounts[0] if self.accounts else None

    @cached_property
    def association(self) -> Association | None:
        """The right that a job is sent under."""
        fitting = [
            entry
            for entry in self.site.associations or ()
            if entry.account == self.account and entry.partition in ("", self.partition.name)
        ]
        return max(fitting, key=lambda entry: entry.partition, default=None)

    @cached_property
    def qos(self) -> str | None:
        """The QOS to name; None: none has to be named, or none is known."""
        partition, entry = self.partition, self.association
        if partition.allow_qos is None and (entry is None or entry.default_qos not in partition.deny_qos):
            return None
        if entry is None or not entry.qos:
            return next(filter(writable, partition.allow_qos or ()), None)
        good = _qos_of(entry, partition)
        if entry.default_qos in good:
            return None
        return min(good, key=lambda name: DOUBTFUL.search(name) is not None, default=None)

    @cached_property
    def time_min(self) -> int:
        """Minutes of a job."""
        return max(1, min(self.time_limits.values(), default=SENSIBLE_MIN))

    @cached_property
    def time_limits(self) -> dict[str, int]:
        """What bounds a job's time, in minutes."""
        default_qos = self.association.default_qos if self.association else None
        named = [self.partition.qos, self.qos or default_qos]
        limits = {f"QOS {qos}": self.site.qos_time_min.get(qos) for qos in named if qos}
        every = {"what is sensible": SENSIBLE_MIN, "the partition": self.partition.max_time_min, **limits}
        return {what: limit for what, limit in every.items() if limit is not None}


# ---- the fields, in the order of the file ----------------------------------------------------------------------------


def _partition(draft: Draft) -> Choice:
    partition = draft.partition
    words = [_described(partition)]
    if partition.is_default:
        words.append("the cluster's default partition")
    if partition.preempt_mode.upper() in ("REQUEUE", "CANCEL", "SUSPEND"):
        words.append(f"jobs with a higher priority may preempt yours there ({_plain(partition.preempt_mode)})")
    if partition.oversubscribe.upper().startswith("FORCE"):
        words.append(f"jobs share its cores ({_plain(partition.oversubscribe)})")
    if not _access_is_known(partition, draft.site):
        words.append("whether you may use it is not known")
    return Choice(field="partition", value=partition.name, why="; ".join(words))


def _account(draft: Draft) -> Choice:
    site = draft.site
    if draft.accounts is None:
        why = "left to the default: sacctmgr is absent, does not answer or keeps no account here"
    elif draft.account is None:
        why = "left out: sacctmgr names no account of yours for this partition"
    elif draft.account == site.default_account:
        why = "your default account, as sacctmgr says"
    elif len(draft.accounts) == 1:
        why = "your only account for this partition, as sacctmgr says"
    else:
        why = "the first of your accounts for this partition; which one has time left is not known"
    return Choice(field="account", value=draft.account, why=why)


def _qos(draft: Draft) -> Choice:
    allowed, entry = draft.partition.allow_qos, draft.association
    if draft.qos is None:
        default = _plain(entry.default_qos) if entry and entry.default_qos else ""
        why = "left to your default: the partition demands none"
        if allowed is not None:
            why = f"left to your default {default}, which the partition takes" if default else "not known"
    elif entry is None or not entry.qos:
        why = f"the partition takes {_listed(allowed)} only; whether you have it is not known"
    else:
        taken = f"takes {_listed(allowed)} only" if allowed is not None else "does not take your default"
        why = f"the partition {taken}, and you have this one"
    return Choice(field="qos", value=draft.qos, why=why)


def _gpu_syntax(draft: Draft) -> str:
    """`gres` where the scheduler knows GPUs as generic resources only, `gpus` otherwise."""
    return "gpus" if draft.site.select_type in (None, "select/cons_tres") else "gres"


def _gpus(draft: Draft) -> Choice | None:
    whole = "all of a node, since jobs get whole nodes" if draft.exclusive else "one per job; packs are separate jobs"
    if not draft.n_gpus:
        return Choice(field="gpus", value=0, why=_no_gpus(draft))
    if _gpu_syntax(draft) == "gres":
        value = ":".join(filter(None, ("gpu", draft.gpu_type, str(draft.n_gpus))))
        why = f"{whole}; {_plain(draft.site.select_type)} knows GPUs by --gres only"
        return Choice(field="gres", value=value, why=why)
    return Choice(field="gpus", value=draft.n_gpus, why=f"{whole} ({_described(draft.partition)})")


def _no_gpus(draft: Draft) -> str:
    if not _has_gpus(draft.partition):
        return "its nodes have none"
    return (
        "the nodes have GPUs, but the torch installed here is built for CPUs only, so that jobs with GPUs would fail; "
        "for GPUs install its CUDA build, or set `python:` to a container that has it, and ask again with another name"
    )


def _gpu_type(draft: Draft) -> Choice | None:
    if not draft.n_gpus or _gpu_syntax(draft) == "gres":
        return None
    if draft.gpu_type:
        return Choice(field="gpu_type", value=draft.gpu_type, why="the only type there")
    if draft.gpu_types == ("",):
        return Choice(field="gpu_type", value=None, why="left out: the site gives its GPUs no types")
    types = _listed([kind or "without a type" for kind in draft.gpu_types])
    return Choice(field="gpu_type", value=None, why=f"left out, so that any will do: there are {types}")


def _cpus(draft: Draft) -> Choice:
    if draft.node_cpus is None:
        why = "not known: sinfo names no nodes of this partition"
    elif draft.exclusive:
        why = "all of a node, since jobs get whole nodes"
    elif draft.n_gpus:
        n_gpus = max(nodes.n_gpus for nodes in draft.nodes)
        why = (
            f"at most {MOST_CPUS} per GPU, and at most a GPU's share of a node ({draft.node_cpus} CPUs, {n_gpus} GPUs)"
        )
        if draft.partition.cpus_per_gpu:
            why += f"; the site's default is {draft.partition.cpus_per_gpu} per GPU"
    else:
        why = f"at most {MOST_CPUS}, which is what a pack uses; the smallest node has {draft.node_cpus}"
    threads = max((nodes.threads_per_core for nodes in draft.nodes), default=1)
    return Choice(
        field="cpus", value=draft.cpus, why=why + (f"; {threads} hardware threads are one core" if threads > 1 else "")
    )


def _cpus_per_pack(draft: Draft) -> Choice | None:
    if not draft.exclusive or draft.n_gpus or draft.cpus <= MOST_CPUS:
        return None
    why = f"a node trains {draft.cpus // MOST_CPUS} packs at once"
    return Choice(field="cpus_per_pack", value=MOST_CPUS, why=why)


def _memory(draft: Draft) -> Choice:
    memory, site = draft.partition.memory, draft.site
    if site.memory_is_shared_out is False:
        why = "not asked for: memory is no consumable resource of this cluster (SelectTypeParameters)"
        return Choice(field="mem_gb", value=None, why=why)
    if memory.most_per_cpu:
        share = draft.memory_mib / draft.cpus if draft.memory_mib else memory.most_per_cpu
        why = f"the site allows {_gib(memory.most_per_cpu)} per core at most (MaxMemPerCPU)"
        return Choice(field="mem_per_cpu_gb", value=_gibibytes(min(share, memory.most_per_cpu)), why=why)
    if draft.memory_mib is None:
        why = "left to the site's default: how much memory the nodes have is not known"
        return Choice(field="mem_gb", value=None, why=why)
    why = f"at most a job's share of a node, {_gib(_least_memory(draft))} beside {draft.node_cpus} CPUs"
    if draft.exclusive:
        why = f"of a whole node, {_gib(_least_memory(draft))}"
    if draft.n_gpus and memory.default_per_gpu:
        why += f"; the site's default is {_gib(memory.default_per_gpu)} per GPU"
    if memory.default_per_cpu:
        why += f"; a job that does not ask gets {_gib(memory.default_per_cpu)} per core"
    if site.memory_is_shared_out is None:
        why += "; whether the cluster shares memory out is not known"
    if draft.memory_mib < LITTLE_GIB * GIB:
        why += "; little for long texts: training goes on with smaller micro-batches"
    return Choice(field="mem_gb", value=_gibibytes(draft.memory_mib), why=why)


def _least_memory(draft: Draft) -> int:
    return min(nodes.memory_mib for nodes in draft.nodes if nodes.memory_mib)


def _time(draft: Draft) -> Choice:
    bound = min(draft.time_limits, key=lambda what: draft.time_limits[what])
    most, default = draft.partition.max_time_min, draft.partition.default_time_min
    why = "the partition sets no limit" if most is None else f"the partition allows {_duration(most)}"
    if bound not in ("what is sensible", "the partition"):
        why = f"{_plain(bound)} allows no more"
    if default is not None and default != most:
        why += f"; a job that does not say gets {_duration(default)}"
    if draft.time_min <= 10:
        why += "; so short that start-up takes much of it"
    else:
        why += "; long enough beside start-up, and a job that meets it goes on from its checkpoint"
    return Choice(field="time", value=_duration(draft.time_min), why=why)


def _signal(draft: Draft) -> Choice:
    lead_s = LEAD_S if draft.time_min >= FULL_LEAD_MIN else draft.time_min * 60 * LEAD_S // (FULL_LEAD_MIN * 60)
    return Choice(field="signal_lead_s", value=lead_s, why="seconds before its limit at which a job saves")


def _exclusive(draft: Draft) -> Choice | None:
    if not draft.exclusive:
        return None
    linear = draft.site.select_type == "select/linear"
    why = "select/linear gives whole nodes" if linear else "the partition gives whole nodes (OverSubscribe=EXCLUSIVE)"
    return Choice(field="exclusive", value=True, why=why)


def _wckey(draft: Draft) -> Choice | None:
    if not draft.site.demands_wckeys:
        return None
    good = next(filter(writable, draft.site.wckeys or ()), None)
    why = "this cluster demands one (TrackWCKey, AccountingStorageEnforce)"
    return Choice(field="wckey", value=good, why=why if good else f"{why}, but yours is not known: ask the site")


def _requeues(draft: Draft) -> Choice:
    if draft.site.requeues is False:
        why = (
            "jobs of this site are not requeued by default (JobRequeue=0), so the next `submit` goes on with what a "
            f"limit ended; where the site lets jobs ask for it (--requeue), write {REQUEUES}"
        )
        return Choice(field="requeues", value=0, why=why)
    why = (
        "most restarts of one job"
        if draft.site.requeues
        else "most restarts; whether the site allows them is not known"
    )
    return Choice(field="requeues", value=REQUEUES, why=why)


FIELDS: tuple[Callable[[Draft], Choice | None], ...] = (
    _partition, _account, _qos, _gpus, _gpu_type, _cpus, _cpus_per_pack, _memory, _time, _signal, _exclusive, _wckey,
    _requeues,
)  # fmt: skip


# ---- what must not be missed -----------------------------------------------------------------------------------------


def _warn_obstacles(draft: Draft) -> str:
    found = obstacles(draft.site, draft.partition)
    return f"partition {draft.partition.name} takes no jobs of yours as it is: {'; '.join(found)}" if found else ""


def _warn_doubtful(draft: Draft) -> str:
    doubtful = DOUBTFUL.search(draft.partition.name)
    return f"by its name, partition {draft.partition.name} may not be meant for hours of training" if doubtful else ""


def _warn_torch(draft: Draft) -> str:
    if _wants_gpus(draft.site) or not any(map(_has_gpus, draft.site.partitions)):
        return ""
    return (
        "the profile asks for no GPUs, though the cluster has some: the torch installed here is built for CPUs only; "
        "install its CUDA build and ask again, or set gpus where `python:` names a container with one"
    )


def _warn_account(draft: Draft) -> str:
    if draft.account is not None or not draft.site.demands_accounts:
        return ""
    return "this cluster demands an account, but none of yours is known for this partition; ask the site, and write it"


def _warn_wckey(draft: Draft) -> str:
    wanting = draft.site.demands_wckeys and not any(map(writable, draft.site.wckeys or ()))
    return "this cluster demands a wckey, but none of yours is known; ask the site, and write it" if wanting else ""


WARNINGS: tuple[Callable[[Draft], str], ...] = (
    _warn_obstacles, _warn_doubtful, _warn_torch, _warn_account, _warn_wckey,
)  # fmt: skip


# ---- words -----------------------------------------------------------------------------------------------------------


def _plain(text: object) -> str:
    """Text of the cluster's as part of a sentence: printable ASCII in one line, bounded."""
    shown = re.sub(r"[^ -~]", "?", str(text))
    return shown if len(shown) <= 60 else shown[:57] + "..."


def _listed(names: Sequence[str] | None) -> str:
    """A few names in a sentence."""
    names = names or ()
    rest = f" and {len(names) - MOST_SHOWN} more" if len(names) > MOST_SHOWN else ""
    return (", ".join(map(_plain, names[:MOST_SHOWN])) or "none") + rest


def _duration(total_min: int) -> str:
    """Minutes as Slurm writes them."""
    days, rest = divmod(total_min, 24 * 60)
    return (f"{days}-" if days else "") + f"{rest // 60:02d}:{rest % 60:02d}:00"


def _gibibytes(mib: float) -> float:
    """MiB as GiB, rounded down to halves, or to hundredths below 1; within what a profile takes."""
    step = 2 if mib >= GIB else 100
    return min(max(math.floor(mib / GIB * step) / step, 0.01), MOST_GIB)


def _gib(mib: float) -> str:
    return f"{mib / GIB:.1f} GiB"


def _many(count: int, word: str) -> str:
    return f"{count:,} {word}{'' if count == 1 else 's'}"


def _described(partition: Partition) -> str:
    """Nodes, GPUs and time of a partition in words."""
    kinds = sorted(partition.nodes, key=lambda nodes: (-nodes.n_gpus, -nodes.n_cpus))
    words = [
        f"{_many(nodes.n_nodes, 'node')} of {_many(nodes.n_cpus, 'CPU')}"
        + "".join(f" and {_many(count, 'GPU')}{f' {_plain(kind)}' if kind else ''}" for kind, count in nodes.gpus[:3])
        + (f" and GPUs of {len(nodes.gpus) - 3} other types" if len(nodes.gpus) > 3 else "")
        for nodes in kinds[:3]
    ]
    rest = [f"{len(kinds) - 3} other kinds of nodes"] if len(kinds) > 3 else []
    return ", ".join([*words, *rest]) or "its nodes are not known"


def _doubt(partition: Partition) -> str:
    return "; by its name for something else" if DOUBTFUL.search(partition.name) else ""


def _limit(partition: Partition) -> str:
    return "no time limit" if partition.max_time_min is None else f"at most {_duration(partition.max_time_min)}"


def _summary(draft: Draft, choices: Sequence[Choice]) -> str:
    """The profile in a line."""
    value = {choice.field: choice.value for choice in choices}
    gpus = _many(draft.n_gpus, "GPU") + (f" {draft.gpu_type}" if draft.gpu_type and draft.n_gpus else "")
    memory = {
        "mem_gb": f"{value.get('mem_gb')} GiB" if value.get("mem_gb") else "",
        "mem_per_cpu_gb": f"{value.get('mem_per_cpu_gb')} GiB per CPU" if value.get("mem_per_cpu_gb") else "",
    }
    parts = (
        f"partition {draft.partition.name}",
        f"account {draft.account}" if draft.account else "",
        gpus if draft.n_gpus else "no GPU",
        _many(draft.cpus, "CPU"),
        *memory.values(),
        str(value["time"]),
        "whole nodes" if draft.exclusive else "",
    )
    return ", ".join(filter(None, parts))


def _alternatives(draft: Draft) -> dict[str, Any]:
    """What else would do, and what would not."""
    site, others = draft.site, [other for other in _usable(draft.site) if other.name != draft.partition.name]
    entry = draft.association
    taken = draft.qos or (entry.default_qos if entry else None)
    other_qos = [name for name in (_qos_of(entry, draft.partition) if entry else []) if name != taken]
    if taken is None and len(other_qos) == 1:
        other_qos = []  # the only one is the default, told or not
    return {
        "partitions": [
            {
                "partition": other.name,
                "gpus_per_node": max((nodes.n_gpus for nodes in other.nodes), default=0),
                "what": f"{_described(other)}; {_limit(other)}{_doubt(other)}",
            }
            for other in others[:MOST_LISTED]
        ],
        "accounts": [name for name in draft.accounts or () if name != draft.account][:MOST_LISTED],
        "qos": other_qos[:MOST_LISTED],
        "gpu_types": [kind for kind in draft.gpu_types if writable(kind) and kind != draft.gpu_type][:MOST_LISTED],
        "ruled_out": [
            {"partition": _plain(partition.name), "why": "; ".join(found)}
            for partition in site.partitions
            if (found := obstacles(site, partition)) and partition is not draft.partition
        ][:MOST_LISTED],
    }


# ---- the file --------------------------------------------------------------------------------------------------------

HINTS = (
    "# setup:                     # shell lines before python starts",
    "#   - module load cuda/12.4",
    "# python: apptainer exec --nv /images/torch.sif python   # training alone runs in the container",
    "# environment:",
    "#   HF_HUB_OFFLINE: '1'      # everything was fetched by `empslurm prepare`",
)


def _text(draft: Draft, name: str, choices: Sequence[Choice], warnings: Sequence[str]) -> str:
    """The file: reasons above the fields, alternatives below them."""
    site = draft.site
    cluster = f"the cluster {_plain(site.cluster)}" if site.cluster else "the cluster"
    version = f" (Slurm {_plain(site.version)})" if site.version else ""
    lines = [
        "# yaml-language-server: $schema=profile.schema.json",
        f"# Run with it: empslurm submit manifests/full_grid.yaml --profile {name}",
        "#",
        *_comment(
            f"Written by `empslurm profile {name}` from what {cluster} says of itself{version}. It is yours to change; "
            f"`empslurm doctor --profile {name} --probe` tries it."
        ),
        *(line for sentence in warnings for line in _comment(f"CAUTION: {sentence}.")),
        "kind: slurm",
    ]
    others = _other_lines(draft)
    for choice in choices:
        lines += ["", *_field(choice), *others.get(choice.field, ())]
    return "\n".join([*lines, "", *HINTS]) + "\n"


def _field(choice: Choice) -> list[str]:
    """The reason and the line of a field; only the reason where it is left out."""
    if choice.value is None and choice.field != "mem_gb":
        return _comment(f"{choice.field}: {choice.why}.")
    return [*_comment(f"{choice.why[:1].upper()}{choice.why[1:]}."), f"{choice.field}: {_yaml(choice.value)}"]


def _other_lines(draft: Draft) -> dict[str, list[str]]:
    """Field -> comments with its other values."""
    others = _alternatives(draft)
    partitions = [(item["partition"], item["what"]) for item in others["partitions"]]
    out = [f"Not {item['partition']}: {item['why']}." for item in others["ruled_out"]]
    types = others["gpu_types"] if draft.gpu_type is None or draft.n_gpus else [draft.gpu_type]
    types = _shortened([f"# gpu_type: {_yaml(kind)}" for kind in types]) if _gpu_syntax(draft) == "gpus" else []
    gpus = [] if draft.n_gpus or not _has_gpus(draft.partition) else ["# gpus: 1", *types]
    return {
        "partition": [
            *_shortened([f"# partition: {_yaml(name)}   # {what}" for name, what in partitions]),
            *_shortened([line for sentence in out[: MOST_SHOWN + 1] for line in _comment(sentence)]),
        ],
        "account": _shortened([f"# account: {_yaml(name)}" for name in others["accounts"]]),
        "qos": _shortened([f"# qos: {_yaml(name)}" for name in others["qos"]]),
        "gpus": gpus,
        "gpu_type": types,
    }


def _shortened(lines: list[str]) -> list[str]:
    return [*lines[:MOST_SHOWN], "# ... and more"] if len(lines) > MOST_SHOWN else lines


def _comment(sentence: str) -> list[str]:
    """A sentence as comment lines, never a directive or anything else than a comment."""
    text = re.sub(r"[^ -~]", "?", sentence)
    return textwrap.wrap(text, WIDTH, initial_indent="# ", subsequent_indent="# ") or ["#"]


def _yaml(value: str | int | float | bool | None) -> str:
    """A value as YAML; a text in quotes unless it is plainly one."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:.2f}".rstrip("0").rstrip(".")
    if isinstance(value, int) or re.fullmatch(r"(\d+-)?\d\d:\d\d:\d\d", value):
        return str(value)
    plain = PLAIN_YAML.fullmatch(value) and value.lower() not in YAML_WORDS
    return value if plain else f"'{value}'"
