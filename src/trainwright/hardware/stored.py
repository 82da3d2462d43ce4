"""Measured machines under their names, usable wherever a catalogue name is."""

from __future__ import annotations

from dataclasses import replace

from trainwright.errors import InvalidInputError, unknown_name
from trainwright.hardware import catalogue
from trainwright.hardware.catalogue import CatalogueEntry
from trainwright.hardware.cluster import NodeGroup
from trainwright.hardware.machine import MachineProfile, machines, machines_folder

NETWORK = "Ethernet-25"
"""What joins measured machines when nobody says: the usual port of a server."""


def stored_machine(name: str) -> MachineProfile | None:
    """The profile that the user keeps under this name (or fingerprint), if there is one."""
    wanted = name.strip().casefold()
    return next((p for p in _stored() if wanted in (p.name.casefold(), p.fingerprint)), None)


def entry(name: str) -> CatalogueEntry:
    """The catalogue's entry of that name, else one made of the stored machine of that name, whole.

    Raises InvalidInputError with the nearest of both for a name that neither has.
    """
    if catalogue.find(name) is not None:
        return catalogue.entry(name)
    profile = stored_machine(name)
    if profile is not None:
        return _entry_of(profile)
    if catalogue.variants(name):
        return catalogue.entry(name)  # which says what differs among them
    raise unknown_name("device", name, [*(p.name for p in _stored()), *(d.name for d in catalogue.devices())])


def _stored() -> tuple[MachineProfile, ...]:
    folder = machines_folder()
    return machines(folder) if folder.is_dir() else ()


def _entry_of(profile: MachineProfile) -> CatalogueEntry:
    device = min(profile.divisions, key=lambda cluster: cluster.n_devices).groups[0].device
    return CatalogueEntry(
        device=replace(device, name=profile.name),
        aliases=(),
        published=(),
        memory_type=None,
        per_node=max(cluster.n_devices for cluster in profile.divisions),
        network=NETWORK,
        date=profile.measured_at[:10],
    )


def nodes_of(profile: MachineProfile, n_nodes: int | None, count: int) -> tuple[NodeGroup, int]:
    """(the machine cut into processes, how many machines) for ``count`` devices, or for so many on each of ``n_nodes``.

    Without ``n_nodes``, as few machines as hold them.
    """
    most = max(cluster.n_devices for cluster in profile.divisions)
    needed = n_nodes or -(-count // most)
    if n_nodes is None and count % needed:
        raise InvalidInputError(
            f"{count} x {profile.name} do not fill equal machines of at most {most}",
            hint=f"write {most * (count // most)}x{profile.name}, or the machines: 'NODES x DEVICESx{profile.name}'",
        )
    return profile.division(count if n_nodes else count // needed).groups[0], needed
