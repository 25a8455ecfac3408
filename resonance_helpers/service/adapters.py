"""The adapters in memory: loaded when they are first asked for, the least recently used ones dropped.

Only the event loop's thread touches the table, so it needs no lock; the files are read in a thread of their own. A
request holds its adapter as an object: dropping or replacing it in the table takes nothing from a request that is
being answered with it, and Python's reference count frees it afterwards.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Collection, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar

from ..core.messages import ResonanceError, message

log = logging.getLogger("resonance.service")


class Sized(Protocol):
    """What has a size in memory."""

    @property
    def bytes(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


class AdapterCache(Generic[Item]):
    """At most ``max_count`` adapters and ``max_bytes``; the one that was asked for last always stays.

    ``load`` reads a patient's adapter from disk, in a thread. ``version`` is that of the files on disk and raises
    RZ-0904 where there are none: an adapter in memory is only used while it is the version on disk.
    """

    def __init__(
        self,
        load: Callable[[str], Item],
        version: Callable[[str], Hashable],
        max_count: int,
        max_bytes: int,
    ) -> None:
        self._load = load
        self._version = version
        self._max_count, self._max_bytes = max_count, max_bytes
        self._table: OrderedDict[str, tuple[Hashable, asyncio.Future[Item]]] = OrderedDict()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="adapters")
        self.loads = self.evictions = 0

    async def get(self, patient_id: str) -> Item:
        """The patient's adapter. Requests that come while it is being loaded wait for the same load.

        Raises what ``version`` and ``load`` raise; a load that failed is tried again by the next request. Where another
        version on disk can't be loaded, the one in memory stays in use and the log says why.
        """
        version = self._version(patient_id)
        known, loading = self._table.get(patient_id, (None, None))
        if loading is None or known != version:
            before = loading.result() if loading and loading.done() and not loading.exception() else None
            loading = asyncio.get_running_loop().run_in_executor(self._threads, self._replace, patient_id, before)
            loading.add_done_callback(lambda done: self._loaded(patient_id, done))
            self._table[patient_id] = version, loading
        self._table.move_to_end(patient_id)
        return await asyncio.shield(loading)  # a request that is given up must not cancel it for the others

    def drop_absent(self, present: Collection[str]) -> bool:
        """Drop the adapters of patients who are not ``present``; whether there were any."""
        absent = self._table.keys() - set(present)
        for patient_id in absent:
            del self._table[patient_id]
        return bool(absent)

    @property
    def bytes(self) -> int:
        """Memory of the adapters in the table."""
        return sum(adapter.bytes for adapter in self._adapters())

    def __len__(self) -> int:
        return len(self._adapters())

    def close(self) -> None:
        self._threads.shutdown()

    def _replace(self, patient_id: str, before: Item | None) -> Item:
        try:
            return self._load(patient_id)
        except ResonanceError as error:
            if before is None:
                raise
            log.error(message("service.log.not_used", code=error.code))
            return before

    def _adapters(self) -> list[Item]:
        return [done.result() for _, done in self._table.values() if done.done() and not done.exception()]

    def _loaded(self, patient_id: str, done: asyncio.Future[Item]) -> None:
        if done.cancelled() or done.exception():
            if self._table.get(patient_id, (None, None))[1] is done:
                del self._table[patient_id]
            return
        self.loads += 1
        while len(self._table) > 1 and (len(self._table) > self._max_count or self.bytes > self._max_bytes):
            self._table.popitem(last=False)
            self.evictions += 1
