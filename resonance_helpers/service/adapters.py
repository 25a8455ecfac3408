"""The adapters in memory: loaded when they are first asked for, the least recently used ones dropped.

Only the event loop's thread touches the table, so it needs no lock; the files are read in a thread of their own. A
request holds its adapter as an object: dropping or replacing it in the table takes nothing from whoever is being
answered with it, and Python's own count of references frees it afterwards.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, Protocol, TypeVar


class Sized(Protocol):
    """What has a size in memory."""

    @property
    def bytes(self) -> int: ...


Item = TypeVar("Item", bound=Sized)


class AdapterCache(Generic[Item]):
    """At most ``max_count`` voices and ``max_bytes``; the one that was asked for last always stays.

    ``load`` reads a patient's voice from disk, in a thread. ``generation`` changes when there is another one on disk:
    from then on the voice in memory is not given out any more.
    """

    def __init__(
        self,
        load: Callable[[str], Item],
        generation: Callable[[str], Hashable],
        max_count: int,
        max_bytes: int,
    ) -> None:
        self._load = load
        self._generation = generation
        self._max_count, self._max_bytes = max_count, max_bytes
        self._table: OrderedDict[str, tuple[Hashable, asyncio.Future[Item]]] = OrderedDict()
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="adapters")
        self.loads = self.evictions = 0

    async def get(self, patient_id: str) -> Item:
        """The patient's voice. Whoever asks while it is being loaded waits for the same load. Raises what ``load``
        raises; a load that failed is tried again by the next request."""
        generation = self._generation(patient_id)
        known, loading = self._table.get(patient_id, (None, None))
        if loading is None or known != generation:
            loading = asyncio.get_running_loop().run_in_executor(self._threads, self._load, patient_id)
            loading.add_done_callback(lambda done: self._loaded(patient_id, done))
            self._table[patient_id] = generation, loading
        self._table.move_to_end(patient_id)
        return await asyncio.shield(loading)  # who gives up waiting must not take it from the others

    def drop(self, patient_id: str) -> None:
        """Forget the patient's voice."""
        self._table.pop(patient_id, None)

    @property
    def bytes(self) -> int:
        """Memory of the voices in the table."""
        return sum(voice.bytes for voice in self._voices())

    def __len__(self) -> int:
        return len(self._voices())

    def close(self) -> None:
        self._threads.shutdown()

    def _voices(self) -> list[Item]:
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
