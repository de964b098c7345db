"""The judge's side of the annotator: a process whose asyncio loop looks up, asks, and writes what it is told."""

from __future__ import annotations

import asyncio
import os
import pickle
import random
import signal
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from guerdon.judges.backlog import is_known
from guerdon.judges.errors import JudgeUnavailable
from guerdon.judges.store import LabelStore, StoreDamaged, StoreUnavailable
from guerdon.types import Item, Judge, Label


@dataclass(frozen=True)
class Orders:
    """What the judge's process is told when it starts."""

    judge: bytes  # pickled
    store: str | None
    owner: str  # under which name items are claimed
    lease: float
    backoff: tuple[float, float]
    parent: int


def main(connection: Connection, orders: Orders) -> None:
    """Serves until told to stop, or until the learner is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the learner, which then tells us
    threading.Thread(target=_end_with, args=(orders.parent,), daemon=True).start()
    try:
        asyncio.run(_Desk(connection, orders).work())
    except BaseException as error:
        while isinstance(error, BaseExceptionGroup):
            error = error.exceptions[0]
        traceback.print_exception(error)
        connection.send(({}, "failed", f"{type(error).__name__}: {error}", isinstance(error, StoreDamaged)))
        raise SystemExit(1) from error


def _end_with(parent: int) -> None:
    """Ends this process with its parent, by whatever death, and even while the judge computes."""
    while os.getppid() == parent:
        time.sleep(0.5)
    os._exit(1)


class _Desk:
    def __init__(self, connection: Connection, orders: Orders) -> None:
        self.connection, self.orders = connection, orders
        self.judge: Judge = pickle.loads(orders.judge)
        self.key = self.judge.name, self.judge.prompt
        self.store: LabelStore | None = None
        self.disk = ThreadPoolExecutor(1, "store")
        self.post = ThreadPoolExecutor(1, "post")  # a pipe may be full: then this thread waits, not the loop
        self.asking: set[Item] = set()
        self.elsewhere: set[Item] = set()  # being asked by another learner on the same store
        self.chance = random.Random(orders.owner)

    async def work(self) -> None:
        inbox: asyncio.Queue[Any] = asyncio.Queue()
        threading.Thread(target=self._read, args=(asyncio.get_running_loop(), inbox), daemon=True).start()
        tasks: set[asyncio.Task[None]] = set()
        await self.tell("up")
        async with asyncio.TaskGroup() as group:
            tasks.add(group.create_task(self.tend()))
            while (message := await inbox.get()) is not None:
                tasks.add(task := group.create_task(self.answer(*message)))
                task.add_done_callback(tasks.discard)
            for task in tasks:
                task.cancel()
        if self.store:  # behind every write that has begun
            self.disk.submit(self.store.release, self.asking, *self.key, owner=self.orders.owner)
        self.disk.shutdown()
        await self.tell("closed")
        self.post.shutdown()

    def _read(self, loop: asyncio.AbstractEventLoop, inbox: asyncio.Queue[Any]) -> None:
        message = ()
        while message is not None:
            try:
                message = self.connection.recv()
            except (EOFError, OSError):
                os._exit(1)  # the learner is gone
            loop.call_soon_threadsafe(inbox.put_nowait, message)

    async def answer(self, batch: int, items: list[Item], paid: list[Label]) -> None:
        """Sees to one batch: what the store knows, what another learner asks already, and the rest by asking."""
        if paid:
            await self.keep(paid)
        unknown = await self.deliver_known(items)
        if unknown and self.orders.store:
            mine = await self.on_store(self._claim, unknown)
            self.elsewhere.update(set(unknown).difference(mine))
            unknown = await self.deliver_known(mine)  # another may have written its answer just before our claim
        await self.ask(unknown)
        await self.tell("done", batch)

    async def tend(self) -> None:
        """Prolongs our claims, and sees what became of items that another learner claimed."""
        renewed = time.monotonic()
        async with asyncio.TaskGroup() as group:
            while self.orders.store:
                await asyncio.sleep(min(1.0, self.orders.lease / 6))
                if self.asking and time.monotonic() - renewed > self.orders.lease / 3:
                    await self.on_store(self._claim, list(self.asking))
                    renewed = time.monotonic()
                if self.elsewhere:
                    items = list(self.elsewhere)
                    mine = set(await self.on_store(self._claim, items))
                    unknown = set(await self.deliver_known(items))
                    self.elsewhere.intersection_update(unknown - mine)
                    group.create_task(self.ask([item for item in items if item in unknown & mine]))

    async def ask(self, items: list[Item]) -> None:
        if not items:
            return
        self.asking.update(items)
        wait, longest = self.orders.backoff
        while True:
            try:
                replies = await self.judge.judge(items)
                break
            except JudgeUnavailable as error:
                await self.tell("down", "judge", str(error))
                await asyncio.sleep(wait * self.chance.uniform(0.5, 1.0))
                wait = min(2 * wait, longest)
        if len(replies) != len(items):
            raise RuntimeError(f"judge {self.judge.name} gave {len(replies)} answers to {len(items)} items")
        judge, prompt = self.key
        rows = zip(replies, items, strict=True)
        await self.keep([reply._replace(item=item, judge=judge, prompt=prompt) for reply, item in rows])

    async def keep(self, labels: list[Label]) -> None:
        """Writes labels, and only then delivers them."""
        if self.orders.store:
            await self.on_store(self._write, labels, held=labels)
        self.asking.difference_update(label.item for label in labels)
        await self.tell("labels", labels, False)

    async def deliver_known(self, items: list[Item]) -> list[Item]:
        """Delivers what the store knows; returns the other items."""
        if not self.orders.store or not items:
            return items
        found = await self.on_store(lambda store: store.get(items, *self.key))
        known = [label for item in items if (label := found.get(item)) and is_known(label)]
        if known:
            await self.tell("labels", known, True)
        settled = {label.item for label in known}
        return [item for item in items if item not in settled]

    def _claim(self, store: LabelStore, items: list[Item]) -> list[Item]:
        return store.claim(items, *self.key, owner=self.orders.owner, seconds=self.orders.lease)

    def _write(self, store: LabelStore, labels: list[Label]) -> None:
        store.put(labels)
        store.release((label.item for label in labels), *self.key, owner=self.orders.owner)

    async def on_store(self, call: Callable[..., Any], *args: Any, held: Iterable[Label] = ()) -> Any:
        """`call(store, *args)` as soon as the store can be reached. The learner keeps what is `held` meanwhile."""

        def run() -> Any:
            if self.store is None:
                self.store = LabelStore(self.orders.store or "")
            return call(self.store, *args)

        wait, longest = self.orders.backoff
        while True:
            try:
                return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self.disk, run))
            except StoreUnavailable as error:
                await self.tell("down", "store", str(error))
                if held:
                    await self.tell("held", held)
                    held = ()
                await asyncio.sleep(wait * self.chance.uniform(0.5, 1.0))
                wait = min(2 * wait, longest)

    async def tell(self, *message: Any) -> None:
        send = self.post.submit(self.connection.send, (self.judge.counters(), *message))
        await asyncio.shield(asyncio.wrap_future(send))
