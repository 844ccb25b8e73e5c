"""The store is read for damage once a day, not at every look."""

from __future__ import annotations

from etlmon.server.services.soundness import DAY_MS, Soundness


class CountingStore:
    """Counts how often it was read."""

    n = 0

    async def check(self) -> None:
        self.n += 1


async def test_the_store_is_read_once_a_day_and_not_at_the_start() -> None:
    store = CountingStore()
    service = Soundness(store, 0)  # type: ignore[arg-type]
    done = [await service.run_once(hour * 3_600_000) for hour in range(50)]
    assert (sum(done), store.n) == (2, 2)
    assert done.index(1) == DAY_MS // 3_600_000
