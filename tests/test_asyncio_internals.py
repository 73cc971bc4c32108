"""Each private name of Python that this project uses is there and does what we rely on. One that has changed in a new
Python fails here, by its name."""

import asyncio
import contextlib
import contextvars
import inspect
import sys
import threading

import pytest

from chatroom_lib.instrumentation import asyncio_internals as internals


def run(coroutine):
    return asyncio.run(coroutine)


async def failing():
    raise LookupError("nobody asks")


def test_Handle__run_is_on_the_stack_of_every_step_of_a_task():
    async def stack():
        frame, codes = sys._getframe(), []
        while frame:
            codes.append(frame.f_code)
            frame = frame.f_back
        return codes

    assert internals.STEP in run(stack())


def test_AsyncGeneratorContextManager_hides_what_its_generator_awaits():
    @contextlib.asynccontextmanager
    async def waiting():
        await asyncio.get_running_loop().create_future()
        yield

    async def inner_frames():
        async def visit():
            async with waiting():
                pass

        task = asyncio.create_task(visit())
        await asyncio.sleep(0)
        hiding = task.get_coro().cr_await
        task.cancel()
        return hiding.cr_frame.f_code, hiding.cr_frame.f_locals["self"].gen

    code, generator = run(inner_frames())
    assert code in internals.MANAGER_STEPS and inspect.isasyncgen(generator)


def test_Task__exception_and__log_traceback_tell_of_an_error_that_nobody_has_asked_for():
    async def ask():
        failed = asyncio.create_task(failing())
        fine = asyncio.create_task(asyncio.sleep(0))
        await asyncio.wait([failed, fine])
        unseen = internals.unseen_error(failed), internals.unseen_error(failed), internals.unseen_error(fine)
        failed.exception()
        return *unseen, internals.unseen_error(failed)

    first, again, fine, seen = run(ask())
    assert isinstance(first, LookupError) and again is first and fine is None and seen is None


def test_the_loops__scheduled_and_a_handles__callback_and__args_are_its_timers():
    async def ask():
        loop = asyncio.get_running_loop()
        loop.call_later(60, print, "later")
        loop.call_later(60, print, "never").cancel()
        return [timer for timer in internals.timers(loop) if timer[0] is print]

    assert run(ask()) == [(print, ("later",))]


def test__get_running_loop_is_this_threads_loop_or_none():
    async def ask():
        return internals.running_loop() is asyncio.get_running_loop()

    assert internals.running_loop() is None and run(ask())


class Stepped(internals.SteppedLoop):
    """Time stands still until nothing is ready."""

    def __init__(self):
        super().__init__()
        self.now, self.ran, self.contexts = 0.0, [], []

    def time(self):
        return self.now

    def call_at(self, when, callback, *args, context=None):
        timer = asyncio.TimerHandle(when, callback, args, self, context)
        self.set_timer(timer)
        return timer

    def iterate(self):
        self.reorder_ready_tasks(lambda handles: handles.reverse())
        if not self.has_ready:
            self.now = self.next_timer()
        self.make_timers_ready(self.now)
        self.run_ready(self.run_step)

    def run_step(self, handle, context):
        self.contexts.append(context)
        self.run(handle)


@pytest.fixture
def loop():
    loop = Stepped()
    yield loop
    loop.close()


def test__run_once__ready__scheduled_and__stopping_drive_a_loop_step_by_step(loop):
    async def nap():
        await asyncio.sleep(3)
        return loop.now

    assert loop.run_until_complete(nap()) == 3


def test_a_cancelled_timer_is_passed_over(loop):
    loop.call_at(1, loop.ran.append, "cancelled").cancel()
    loop.call_at(2, loop.ran.append, "due")
    loop.call_at(2, loop.stop)
    loop.run_forever()
    assert loop.ran == ["due"] and loop.now == 2


def test_a_handles__callback_tells_tasks_from_plain_callbacks_which_keep_their_places(loop):
    async def step(name):
        loop.ran.append(name)

    tasks = [loop.create_task(step("first task"))]
    loop.call_soon(loop.ran.append, "callback")
    tasks += [loop.create_task(step("second task"))]
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.ran == ["second task", "callback", "first task"] and all(task.done() for task in tasks)


def test_a_handles__context_is_that_of_its_task(loop):
    number = contextvars.ContextVar("number")

    async def step():
        number.set(7)

    loop.run_until_complete(step())
    assert [context[number] for context in loop.contexts if number in context] == [7]


def test_a_handles__cancelled_is_passed_over(loop):
    loop.call_soon(loop.ran.append, "cancelled").cancel()
    loop.call_soon(loop.ran.append, "ready")
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert loop.ran == ["ready"]


def test__check_closed_lets_nobody_call_a_loop_that_is_closed(loop):
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.call_soon(loop.ran.append, "too late")


def test__write_to_self_is_called_from_other_threads(loop):
    woken = []
    loop.wake = lambda: woken.append(threading.current_thread())
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=[loop.stop])
    thread.start()
    thread.join()
    assert woken == [thread]
    loop.run_forever()


def test__get_running_loop_and__set_running_loop_let_code_find_a_loop_that_does_not_run(loop):
    with internals.as_if_running(loop):
        assert asyncio.get_running_loop() is loop
    with pytest.raises(RuntimeError):
        asyncio.get_running_loop()


def test_Task__fut_waiter_tells_whether_a_task_is_about_to_run():
    async def ask():
        awaited = asyncio.get_running_loop().create_future()

        async def wait():
            await awaited

        task = asyncio.create_task(wait())
        asked = [internals.is_about_to_run(task)]
        await asyncio.sleep(0)
        asked.append(internals.is_about_to_run(task))
        awaited.set_result(None)
        asked.append(internals.is_about_to_run(task))
        await task
        return asked

    assert run(ask()) == [True, False, True]


def test_a_handles__callback_tells_whose_step_it_is(loop):
    async def wait():
        await asyncio.sleep(0)

    handles = []
    loop.run_step = lambda handle, context: (handles.append(handle), loop.run(handle))
    task = loop.create_task(wait())
    loop.call_soon(loop.ran.append, "callback")
    loop.run_until_complete(task)
    assert [internals.task_of(handle) for handle in handles[:3]] == [task, None, task]


def test_Queue__queue_has_what_is_in_it():
    queue = asyncio.Queue()
    queue.put_nowait("first")
    queue.put_nowait("second")
    assert internals.items_in(queue) == ["first", "second"]


def test__leave_task__enter_task_and__set_running_loop_let_another_loop_run_meanwhile():
    async def three():
        return 3

    async def outer():
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        with internals.set_aside():
            assert internals.running_loop() is None
            with contextlib.closing(asyncio.new_event_loop()) as another:
                result = another.run_until_complete(three())
        assert (asyncio.get_running_loop(), asyncio.current_task()) == (loop, task)
        await asyncio.sleep(0)
        return result

    assert run(outer()) == 3
