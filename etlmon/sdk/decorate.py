"""``@etlmon.job``: a function of any kind, each of whose calls is a job."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar, cast

from etlmon.sdk import process

if TYPE_CHECKING:
    from etlmon.sdk.job import Job

F = TypeVar("F", bound=Callable[..., Any])


def decorated(function: F, new_job: Callable[[], Job]) -> F:
    """``function`` with a job around each call; a generator's job lasts as long as it is iterated."""
    wrapper: Any
    if inspect.iscoroutinefunction(function):

        async def wrapper(*args: Any, **kwargs: Any) -> Any:
            async with new_job():
                return await function(*args, **kwargs)

    elif inspect.isasyncgenfunction(function):

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return _drive_async(new_job(), function(*args, **kwargs))

    elif inspect.isgeneratorfunction(function):

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            return _drive(new_job(), function(*args, **kwargs))

    else:

        def wrapper(*args: Any, **kwargs: Any) -> Any:
            with new_job():
                return function(*args, **kwargs)

    functools.update_wrapper(wrapper, function)
    return cast("F", wrapper)


@contextmanager
def _as_current(job: Job) -> Generator[None, None, None]:
    """``job`` is the current one while its generator's own code runs, and not while the consumer's does."""
    token = process.current.set(job)
    try:
        yield
    finally:
        process.current.reset(token)


def _drive(job: Job, generator: Generator[Any, Any, Any]) -> Generator[Any, Any, Any]:
    job.start()
    resume: Callable[[], Any] = functools.partial(next, generator)
    try:
        while True:
            try:
                with _as_current(job):
                    item = resume()
            except StopIteration as stop:
                job.complete()
                return stop.value
            try:
                sent = yield item
            except GeneratorExit:
                with _as_current(job):
                    generator.close()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to the generator that is driven
                resume = functools.partial(generator.throw, error)
            else:
                resume = functools.partial(generator.send, sent)
    except BaseException as error:
        job.end(error)
        raise


async def _drive_async(job: Job, generator: AsyncGenerator[Any, Any]) -> AsyncGenerator[Any, Any]:
    job.start()
    resume: Callable[[], Any] = generator.__anext__
    try:
        while True:
            try:
                with _as_current(job):
                    item = await resume()
            except StopAsyncIteration:
                job.complete()
                return
            try:
                sent = yield item
            except GeneratorExit:
                with _as_current(job):
                    await generator.aclose()
                raise
            except BaseException as error:  # noqa: BLE001 - handed on to the generator that is driven
                resume = functools.partial(generator.athrow, error)
            else:
                resume = functools.partial(generator.asend, sent)
    except BaseException as error:
        job.end(error)
        raise
