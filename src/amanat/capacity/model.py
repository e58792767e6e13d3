"""The capacity model: from inputs to what a country takes, and to what breaks first.

Traffic is a day's mean unless it is told to be of the busiest time. A relay is one key: an embedded
one is one process, one on a cluster has as many nodes as there are replicas, and processes as its
load asks for. A *limit* has a need and a room. Its *share* is the one over the other, so beyond 1
the limit is passed; the limit with the greatest share breaks first.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from amanat.capacity.inputs import Inputs

DAY_S = 86_400
MONTH_DAYS = 30
MIB, GIB, TB = 2**20, 2**30, 1e12
HOMES = 2
"""Buckets of a person, and the relays to which their client is connected: home and fallback."""
LEAST_PROCESSES = 2
"""Processes of a relay on a cluster at least, or one that dies would end the service."""
ROUNDS = 8
"""Times that the number of processes is computed from itself: it has long settled then."""
PAGES = 1.25
"""Pages that a covered client asks for in a period: one of the home's bucket, and one of the
fallback's in every fourth period."""


class Limit(NamedTuple):
    """Something that there is not without end."""

    name: str
    need: float
    room: float
    unit: str
    breaks_at: float | None
    """People of a relay, or of a bucket, with whom it is reached; None if nothing is needed."""
    of: str
    """relay or bucket: what those people share."""
    advice: str

    @property
    def share(self) -> float:
        """How much of the room is needed."""
        return self.need / self.room


class Person(NamedTuple):
    """The day of one person."""

    cells: float
    """Cells that come for them."""
    bucket_cells: float
    """Cells that they download: those of everybody in their bucket."""
    down_mib: float
    up_mib: float
    drops: float
    """Drops that relays keep because of them."""
    resting_cells: float
    """Message cells that rest for them."""


class Relay(NamedTuple):
    """One relay."""

    people: float
    processes: float
    append_cores: float
    deliver_cores: float
    seal_cores: float
    """Cores that open and seal what goes through hops, at home and at the hop."""
    expire_cores: float
    node_cores: float
    nodes: float
    connections: float
    memory_gib: float
    """Memory of its processes."""
    node_memory_gib: float
    """Memory of one node."""
    disk_tb: float
    """Disk that cells and drops take, on all its machines."""

    @property
    def cores(self) -> float:
        """Cores of its processes."""
        return self.append_cores + self.deliver_cores + self.seal_cores + self.expire_cores


class Country(NamedTuple):
    """Everybody."""

    relays: float
    processes: float
    cores: float
    nodes: float
    disks: float
    disk_tb: float
    memory_gib: float
    in_gbit_s: float
    """From people and other relays, at the busiest time."""
    out_gbit_s: float
    between_nodes_gbit_s: float
    out_tb_a_month: float
    eur_a_month: float
    eur_a_person: float
    """A month."""


class Plan(NamedTuple):
    """The statement of the model."""

    person: Person
    relay: Relay
    country: Country
    limits: list[Limit]
    """The one that breaks first comes first."""


def plan(inputs: Inputs) -> Plan:
    """The plan that follows from some inputs."""
    person = _person(inputs)
    relay = _relay(inputs, person)
    return Plan(
        person,
        relay,
        _country(inputs, person, relay),
        sorted(_limits(inputs, person, relay), key=lambda one: one.share, reverse=True),
    )


def _person(i: Inputs) -> Person:
    cells = i.messages * i.copies * (1 + i.confirmed_alone)
    bucket = cells * i.people_per_bucket
    if i.mode == "direct":
        down = bucket * i.direct_down_bytes / MIB + i.direct_silence_mib
        up = cells * i.direct_up_bytes / MIB
    elif i.mode == "hopped":
        down = bucket * i.hopped_down_bytes / MIB + i.hopped_silence_mib
        up = bucket * i.hopped_up_bytes / MIB
    else:
        down, up = i.covered_down_mib, i.covered_up_mib
    # Each Commit ends an epoch, whose drop stays. Each of a conversation's two members makes one in
    # a refresh, so one falls to each person for each of their conversations.
    commits = i.conversations / i.refresh_days
    drops = HOMES / i.people_per_bucket + commits * i.drop_life_days
    return Person(cells, bucket, down, up, drops, cells * (i.retention_days + 1))


def _relay(i: Inputs, person: Person) -> Relay:
    people = min(i.people_per_relay, i.people)
    is_cluster = i.store == "cluster"
    busiest = people * person.cells / DAY_S * i.peak
    """Cells a second at the busiest time."""
    append = busiest * (i.cluster_append_us if is_cluster else i.append_us) / 1e6
    seal = 0.0
    if i.mode == "covered":
        asked = people * (HOMES + PAGES) / i.period_s
        seal = asked * (i.home_us + i.hop_us) / 1e6
    elif i.mode == "hopped":
        seal = busiest * i.people_per_bucket * (i.home_us + i.hop_us) / 1e6
    erased = i.cluster_erased_per_s if is_cluster else i.erased_per_s
    expire = people * person.cells / DAY_S / erased
    # Cover is for a client that stays online.
    connections = people * (1.0 if i.mode == "covered" else i.online) * HOMES
    readers = 0.0 if i.mode == "covered" else i.people_per_bucket
    """People whom each cell is handed to."""
    processes, deliver = 1.0, busiest * readers * i.deliver_us / 1e6
    if is_cluster:
        processes, deliver = _processes(i, append + seal + expire, busiest, readers, connections)
    labels = people * person.resting_cells * i.label_bytes * processes if is_cluster else 0.0
    memory = processes * i.process_mib * MIB + connections * i.connection_kib * 1024 + labels
    nodes = i.replicas if is_cluster else 0.0
    cell_disk = i.cluster_cell_disk_bytes if is_cluster else i.cell_disk_bytes
    handshakes = i.conversations / i.refresh_days * (i.handshake_retention_days + 1)
    rest = (
        person.resting_cells * cell_disk
        + handshakes * (i.handshake_bytes + cell_disk - i.cell_bytes)
        + person.drops * i.drop_disk_bytes
    )
    return Relay(
        people=people,
        processes=processes,
        append_cores=append,
        deliver_cores=deliver,
        seal_cores=seal,
        expire_cores=expire,
        node_cores=busiest * i.node_append_us / 1e6 if is_cluster else 0.0,
        nodes=nodes,
        connections=connections,
        memory_gib=memory / GIB,
        node_memory_gib=(i.node_mib * MIB + people * person.drops * i.node_drop_bytes) / GIB
        if is_cluster
        else 0.0,
        disk_tb=people * rest * max(1.0, nodes) / TB,
    )


def _processes(
    i: Inputs, other_cores: float, busiest: float, readers: float, connections: float
) -> tuple[float, float]:
    """(processes of a relay on a cluster, cores that hand `busiest` cells a second to so many
    readers each).

    A process reads a cell that came to another one once, for all its own readers. So more processes
    need more cores, up to the number at which each reader is at a process of their own.
    """
    least = max(LEAST_PROCESSES, math.ceil(connections / i.connections_per_process))
    processes, deliver = float(least), 0.0
    for _ in range(ROUNDS):
        others = (processes - 1) * (1 - (1 - 1 / processes) ** readers)
        """Processes besides the writer's at which somebody reads."""
        deliver = busiest * (readers * i.deliver_us + others * i.read_us) / 1e6
        processes = max(least, math.ceil((other_cores + deliver) / i.utilisation))
    return processes, deliver


def _country(i: Inputs, person: Person, relay: Relay) -> Country:
    relays = math.ceil(i.people / relay.people)
    # A relay that another one forwards to is asked by it, and not by people.
    up, down = person.up_mib, person.down_mib
    is_hopped = i.mode != "direct"
    comes = 2 * up + down if is_hopped else up
    goes = 2 * down + up if is_hopped else down
    gbit_s = i.people * MIB * 8 / 1e9 / DAY_S * (1.0 if i.mode == "covered" else i.peak)
    between = 0.0
    if i.store == "cluster":
        # The leader gets a cell from a process, and hands it on to the other replicas.
        between = (
            i.people * person.cells * i.cluster_cell_disk_bytes * i.replicas * 8 / 1e9 / DAY_S
        ) * i.peak
    cores = relays * (relay.cores + relay.node_cores) / i.utilisation
    memory = relays * (relay.memory_gib + relay.nodes * relay.node_memory_gib)
    disk = relays * relay.disk_tb / i.utilisation
    out = i.people * goes * MIB * MONTH_DAYS / TB
    eur = (
        cores * i.core_price + memory * i.memory_price + disk * i.disk_price + out * i.traffic_price
    )
    return Country(
        relays=relays,
        processes=relays * relay.processes,
        cores=cores,
        nodes=relays * relay.nodes,
        disks=max(relays * max(1.0, relay.nodes), math.ceil(disk / i.disk_tb)),
        disk_tb=disk,
        memory_gib=memory,
        in_gbit_s=comes * gbit_s,
        out_gbit_s=goes * gbit_s,
        between_nodes_gbit_s=between,
        out_tb_a_month=out,
        eur_a_month=eur,
        eur_a_person=eur / i.people,
    )


def _limits(i: Inputs, person: Person, relay: Relay) -> list[Limit]:
    people, bucket = relay.people, i.people_per_bucket
    is_cluster = i.store == "cluster"
    busiest = people * person.cells / DAY_S * i.peak

    def of_relay(name: str, need: float, room: float, unit: str, advice: str) -> Limit:
        breaks_at = people * room / need if need else None
        return Limit(name, need, room, unit, breaks_at, "relay", advice)

    def of_bucket(
        name: str, need: float, room: float, unit: str, advice: str, *, fixed: float = 0.0
    ) -> Limit:
        """A limit of which a fixed part is needed whoever is in the bucket."""
        breaks_at = bucket * max(0.0, room - fixed) / (need - fixed)
        return Limit(name, need, room, unit, breaks_at, "bucket", advice)

    found = [
        of_relay(
            "drops",
            people * person.drops,
            i.drops_per_relay,
            "drops of a relay",
            "more relays, each with fewer people, or refresh keys less often",
        ),
        of_relay(
            "append rate",
            busiest,
            i.cluster_appends_per_s if is_cluster else i.appends_per_s,
            "cells a second at the busiest time",
            "more relays, each with fewer people",
        ),
        of_bucket(
            "room of a bucket",
            bucket * person.resting_cells,
            i.cells_per_drop,
            "cells",
            "set limits.cells_per_drop higher, or fewer people per bucket",
        ),
    ]
    if is_cluster:
        found += [
            of_relay(
                "labels in memory",
                people * person.resting_cells,
                i.labels_per_process,
                "cells that each process remembers",
                "keep labels on the disk of a process, or a bucket at few processes",
            ),
            of_bucket(
                "first append after a start",
                bucket * person.resting_cells * i.learn_us / 1e6,
                i.learning_goal_s,
                "seconds",
                "keep labels where a process that starts finds them",
            ),
            of_relay(
                "daily look at all drops",
                people * person.drops * i.scan_us / 1e6,
                DAY_S,
                "seconds of each process in a day",
                "more relays, each with fewer people",
            ),
        ]
    else:
        found += [
            of_relay(
                "one process",
                relay.cores,
                i.utilisation,
                "cores at the busiest time",
                "more relays, or a relay on a cluster",
            ),
            of_relay(
                "connections",
                relay.connections,
                i.connections_per_process,
                "connections of one process",
                "more relays, or a relay on a cluster",
            ),
        ]
    if i.mode == "covered":
        pages = DAY_S / i.period_s * i.page_cells
        found.append(
            of_bucket(
                "room of pages",
                person.bucket_cells * i.peak,
                pages,
                "cells a day",
                "fewer people per bucket, or a period of 30 seconds",
            )
        )
    else:
        silence = i.direct_silence_mib if i.mode == "direct" else i.hopped_silence_mib
        found.append(
            of_bucket(
                "download of a bucket",
                person.down_mib,
                i.download_goal_mib,
                "MiB a person and day",
                "fewer people per bucket, or receipts that ride along",
                fixed=silence,
            )
        )
    if i.mode == "hopped":
        found.append(
            of_relay(
                "people who wait behind a hop",
                relay.connections / relay.processes,
                i.hop_waits,
                "people behind one connection of a hop",
                "set limits.waits and hop.shares higher, and have several hops",
            )
        )
    return found
