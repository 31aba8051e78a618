"""GPUs, cores, memory, account, QOS and time of a job, derived from the choice of a partition; pure."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from empslurm.launch.site.facts import Association, Nodes, Partition, Site
from empslurm.launch.site.partitions import SENSIBLE_MIN, accounts, qos_of, wants_gpus, writable
from empslurm.launch.site.wording import DOUBTFUL, GIB

MOST_CPUS = 8  # per GPU, or of a job without one: packs of small models use no more
GPU_MEMORY_GIB, CPU_MEMORY_GIB = 24, 16  # of a job; the README has what training takes
USABLE = 0.95  # of a node's memory: the system may need some of it


@dataclass(frozen=True, kw_only=True)
class Draft:
    """A partition and the fields of a job that follow from it."""

    site: Site
    partition: Partition

    @cached_property
    def nodes(self) -> tuple[Nodes, ...]:
        """The nodes that jobs must fit: those with GPUs where GPUs are asked for."""
        equipped = tuple(nodes for nodes in self.partition.nodes if nodes.n_gpus)
        return equipped if equipped and wants_gpus(self.site) else self.partition.nodes

    @cached_property
    def exclusive(self) -> bool:
        """Whether jobs always get whole nodes."""
        return self.partition.oversubscribe.upper() == "EXCLUSIVE" or self.site.select_type == "select/linear"

    @cached_property
    def n_gpus(self) -> int:
        """GPUs of a job: one, or all of a whole node."""
        counts = [nodes.n_gpus for nodes in self.nodes] if wants_gpus(self.site) else []
        least = min(counts, default=0)
        return min(least, 64) if self.exclusive else min(least, 1)

    @cached_property
    def gpu_types(self) -> tuple[str, ...]:
        """The types of GPUs in the partition, "" for GPUs without one."""
        return tuple(sorted({kind for nodes in self.partition.nodes for kind, _ in nodes.gpus}))

    @cached_property
    def gpu_type(self) -> str | None:
        """The only GPU type, if a profile can name it."""
        return self.gpu_types[0] if len(self.gpu_types) == 1 and writable(self.gpu_types[0]) else None

    def _cpus_of(self, nodes: Nodes) -> int:
        """CPUs of a node of this kind that jobs may take."""
        return min(nodes.n_cpus, self.partition.max_cpus_per_node or nodes.n_cpus)

    @cached_property
    def node_cpus(self) -> int | None:
        """CPUs of the smallest node; None: not known."""
        return min((self._cpus_of(nodes) for nodes in self.nodes), default=None)

    @cached_property
    def share(self) -> float:
        """The smallest share of a node that a job's GPUs or cores are; 1 for a whole node."""
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
        """The user's accounts that the partition takes; None: not known."""
        return accounts(self.site, self.partition)

    @cached_property
    def account(self) -> str | None:
        """The account to name."""
        return self.accounts[0] if self.accounts else None

    @cached_property
    def association(self) -> Association | None:
        """The association that a job runs under."""
        fitting = [
            entry
            for entry in self.site.associations or ()
            if entry.account == self.account and entry.partition in ("", self.partition.name)
        ]
        return max(fitting, key=lambda entry: entry.partition, default=None)

    @cached_property
    def qos(self) -> str | None:
        """The QOS to name; None: none is needed, or none is known."""
        partition, entry = self.partition, self.association
        if partition.allow_qos is None and (entry is None or entry.default_qos not in partition.deny_qos):
            return None
        if entry is None or not entry.qos:
            return next(filter(writable, partition.allow_qos or ()), None)
        good = qos_of(entry, partition)
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
