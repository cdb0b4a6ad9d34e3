"""Which workers may take part in a fit: those whose results have the same bits."""

from __future__ import annotations

from collections.abc import Mapping

from .job import difference

SET = "instruction set"


def agreed(
    stamps: Mapping[str, Mapping[str, str] | BaseException], own: Mapping[str, str], mode: str
) -> dict[str, str]:
    """What all workers must be like, late ones too.

    Parameters
    ----------
    stamps : mapping of address to stamp or error
        Of all workers: see `job.stamp`.
    own : mapping
        The client's.
    mode : {"local", "sync"}
        In "sync" the client makes the updates, and so must have the instruction set of the workers; in "local" it
        only adds, which is the same everywhere.

    Raises
    ------
    ValueError
        Naming a worker, what it has and what is expected, and what helps.
    """
    versions = {name: version for name, version in own.items() if name != SET}
    install = "install " + ", ".join(f"{name} {version}" for name, version in versions.items())
    first, of_first = "", ""
    for address, found in stamps.items():
        if isinstance(found, BaseException):
            what = f"{type(found).__name__}: {found}"
            raise ValueError(f"worker {address} cannot run fastprop: {what}; {install} there, as where fit is called")
        odd = difference(found, versions)
        if odd:
            raise ValueError(f"worker {address} has {odd}: {install} there, as where fit is called")
        if first and found[SET] != of_first:
            raise ValueError(
                f"worker {address} has the instruction set {found[SET]} and worker {first} {of_first}: the result "
                f"would depend on who does what; start all workers on machines of one kind"
            )
        first, of_first = address, found[SET]
    if mode == "sync" and first and own[SET] != of_first:
        raise ValueError(
            f"the workers have the instruction set {of_first} and this process {own[SET]}, and in mode='sync' it makes "
            f"the updates: call fit on a machine like theirs, such as in a task (client.submit), or take mode='local'"
        )
    return versions | ({SET: of_first} if first else {})
