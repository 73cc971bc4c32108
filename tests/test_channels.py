"""The channel, `select` and the read-write lock, on asyncio's own loop.

The tests count turns of the loop and not seconds: `settle` gives every task as many as it needs to come to rest.
"""

import asyncio
import random
from functools import partial, wraps

import pytest

from chatroom_lib.channels import Channel, RWLock, select

SEEDS = range(60)


def on_a_loop(test):
    """Run the coroutine function `test` on a fresh loop; it fails if it has not ended after 2 s."""

    async def guarded(*args, **options):
        # A test that fails may leave broken tasks behind: asyncio need not report them in the tests after it, ...
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        try:
            async with asyncio.timeout(2):
                await test(*args, **options)
        finally:
            for _ in range(20):  # ... and must not wait for those that do not heed a first cancellation.
                for task in asyncio.all_tasks() - {asyncio.current_task()}:
                    task.cancel()
                await asyncio.sleep(0)

    @wraps(test)
    def run(*args, **options):
        asyncio.run(guarded(*args, **options))

    return run


async def settle():
    """Let the other tasks run until they all wait for something."""
    for _ in range(10):
        await asyncio.sleep(0)


async def start(*coroutines):
    """The tasks of `coroutines`, each started and waiting (or done) before the next."""
    tasks = []
    for coroutine in coroutines:
        tasks.append(asyncio.create_task(coroutine))
        await settle()
    return tasks if len(tasks) > 1 else tasks[0]


async def cancel(*tasks):
    """Cancel `tasks` at once, and wait until they have noticed."""
    for task in tasks:
        task.cancel()
    await settle()
    assert all(task.cancelled() for task in tasks)


# ---------------------------------------------------------------- the channel


@on_a_loop
async def test_put_waits_until_the_value_is_taken():
    channel = Channel()
    putting = await start(channel.put("a"))
    assert not putting.done()
    assert await channel.get() == "a"
    await settle()
    assert putting.done()


@on_a_loop
async def test_get_waits_until_a_value_is_put():
    channel = Channel()
    getting = await start(channel.get())
    assert not getting.done()
    await channel.put("a")
    assert await getting == "a"


@on_a_loop
async def test_put_does_not_return_before_a_waiting_getter_has_taken_the_value():
    channel, happened = Channel(), []

    async def get():
        await channel.get()
        happened.append("taken")

    await start(get())
    await channel.put("a")
    happened.append("put")
    assert happened == ["taken", "put"]


@pytest.mark.parametrize("value", [None, False, 0, "", ()])
@on_a_loop
async def test_a_value_may_be_false(value):
    channel = Channel()
    await start(channel.put(value))
    assert await channel.get() == value


@on_a_loop
async def test_values_are_taken_in_the_order_of_the_puts():
    channel = Channel()
    await start(*(channel.put(number) for number in range(5)))
    assert [await channel.get() for _ in range(5)] == [0, 1, 2, 3, 4]


@on_a_loop
async def test_values_come_to_the_getters_in_the_order_of_their_waiting():
    channel = Channel()
    getting = await start(*(channel.get() for _ in range(5)))
    for number in range(5):
        await channel.put(number)
    assert [await task for task in getting] == [0, 1, 2, 3, 4]


@on_a_loop
async def test_one_value_serves_one_getter():
    channel = Channel()
    first, second = await start(channel.get(), channel.get())
    await start(channel.put("a"))
    assert first.done() and not second.done()


@on_a_loop
async def test_many_puts_in_one_turn_serve_as_many_getters():
    channel = Channel()
    getting = await start(*(channel.get() for _ in range(3)))
    await asyncio.gather(*(channel.put(number) for number in range(3)))
    assert [await task for task in getting] == [0, 1, 2]


@on_a_loop
async def test_a_getter_that_always_finds_a_value_leaves_the_others_their_turns():
    channel, turns = Channel(), []

    async def count():
        while True:
            turns.append(1)
            await asyncio.sleep(0)

    await start(*(channel.put(number) for number in range(50)))
    counting = asyncio.create_task(count())
    for _ in range(50):
        await channel.get()
    counting.cancel()
    assert len(turns) >= 49


# ---------------------------------------------------------------- the channel, cancelled


async def put_until_told(channel, value):
    """A waiting put, in the turn in which those who wait to get have been told, and have not run yet."""
    putting = asyncio.create_task(channel.put(value))
    while not channel.ready():
        await asyncio.sleep(0)
    return putting


@on_a_loop
async def test_a_cancelled_put_is_withdrawn():
    channel = Channel()
    await cancel(await start(channel.put("a")))
    assert not channel.ready()
    getting = await start(channel.get())
    assert not getting.done()


@pytest.mark.parametrize("gone", [0, 1, 2])
@on_a_loop
async def test_a_cancelled_put_leaves_those_around_it_in_order(gone):
    channel = Channel()
    putting = await start(*(channel.put(number) for number in range(3)))
    await cancel(putting[gone])
    left = [number for number in range(3) if number != gone]
    assert [await channel.get() for _ in left] == left
    assert not channel.ready()


@on_a_loop
async def test_a_put_cancelled_in_the_turn_in_which_a_getter_was_told_is_withdrawn():
    channel = Channel()
    getting = await start(channel.get())
    await cancel(await put_until_told(channel, "a"))
    assert not getting.done()
    await channel.put("b")
    assert await getting == "b"


@on_a_loop
async def test_a_put_cancelled_just_after_its_value_was_taken_has_put_it_once():
    channel = Channel()
    putting = await start(channel.put("a"))
    assert await channel.get() == "a"
    await cancel(putting)
    assert not channel.ready()


@on_a_loop
async def test_a_cancelled_get_takes_nothing():
    channel = Channel()
    await cancel(await start(channel.get()))
    putting = await start(channel.put("a"))
    assert not putting.done()
    assert await channel.get() == "a"


@on_a_loop
async def test_a_cancelled_get_leaves_the_other_getters_waiting_in_order():
    channel = Channel()
    first, gone, last = await start(channel.get(), channel.get(), channel.get())
    await cancel(gone)
    await channel.put("a")
    await channel.put("b")
    assert (await first, await last) == ("a", "b")


@on_a_loop
async def test_a_value_whose_getter_is_cancelled_in_the_same_turn_stays_with_its_putter():
    channel = Channel()
    getting = await start(channel.get())
    putting = await put_until_told(channel, "a")
    await cancel(getting)
    assert not putting.done()
    assert await channel.get() == "a"
    await putting


@on_a_loop
async def test_a_value_whose_getter_is_cancelled_in_the_same_turn_goes_to_the_next_getter():
    channel = Channel()
    gone, next_one = await start(channel.get(), channel.get())
    putting = await put_until_told(channel, "a")
    await cancel(gone)
    assert await next_one == "a"
    await putting


@on_a_loop
async def test_a_value_whose_select_is_cancelled_in_the_same_turn_stays_with_its_putter():
    one, other = Channel(), Channel()
    selecting = await start(select(one, other))
    putting = await put_until_told(other, "a")
    await cancel(selecting)
    assert not putting.done()
    assert await select(one, other) == (other, "a")
    await putting


@on_a_loop
async def test_a_get_that_times_out_takes_nothing():
    channel = Channel()
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.001):
            await channel.get()
    putting = await start(channel.put("a"))
    assert not putting.done()


# ---------------------------------------------------------------- select


@on_a_loop
async def test_select_says_which_channel_the_value_came_from():
    one, other = Channel(), Channel()
    await start(other.put("a"))
    assert await select(one, other) == (other, "a")


@on_a_loop
async def test_select_waits_until_any_of_its_channels_has_a_value():
    channels = [Channel(), Channel(), Channel()]
    for channel in channels:
        selecting = await start(select(*channels))
        assert not selecting.done()
        await channel.put("a")
        assert await selecting == (channel, "a")


@on_a_loop
async def test_select_takes_exactly_one_value():
    one, other = Channel(), Channel()
    putting = await start(one.put("a"), other.put("b"))
    await select(one, other)
    await settle()
    assert sorted(task.done() for task in putting) == [False, True]
    assert one.ready() != other.ready()


@on_a_loop
async def test_a_waiting_select_that_is_offered_two_values_in_one_turn_takes_one():
    one, other = Channel(), Channel()
    selecting = await start(select(one, other))
    putting = [asyncio.create_task(one.put("a")), asyncio.create_task(other.put("b"))]
    await settle()
    assert selecting.done()
    assert sorted(task.done() for task in putting) == [False, True]
    assert {await selecting, await select(one, other)} == {(one, "a"), (other, "b")}


@on_a_loop
async def test_what_a_select_leaves_goes_to_the_getter_behind_it():
    one, other = Channel(), Channel()
    selecting, getting_one, getting_other = await start(select(one, other), one.get(), other.get())
    await asyncio.gather(one.put("a"), other.put("a"))
    channel, _ = await selecting
    await settle()
    assert getting_one.done() == (channel is other)
    assert getting_other.done() == (channel is one)


@on_a_loop
async def test_a_select_that_was_served_no_longer_waits_at_its_other_channels():
    one, other = Channel(), Channel()
    selecting = await start(select(one, other))
    await one.put("a")
    await selecting
    assert not one.getters and not other.getters
    putting = await start(other.put("b"))
    assert not putting.done()


@on_a_loop
async def test_a_cancelled_select_no_longer_waits_at_any_channel():
    one, other = Channel(), Channel()
    await cancel(await start(select(one, other)))
    assert not one.getters and not other.getters
    putting = await start(one.put("a"), other.put("b"))
    assert not any(task.done() for task in putting)


@on_a_loop
async def test_a_channel_may_be_named_twice():
    channel = Channel()
    selecting = await start(select(channel, channel))
    await channel.put("a")
    assert await selecting == (channel, "a")
    assert not channel.getters and not channel.ready()


@on_a_loop
async def test_select_of_nothing_waits_for_ever():
    selecting = await start(select())
    assert not selecting.done()
    await cancel(selecting)


async def full_channels(*names, puts=40):
    """Channels with `puts` values waiting in each, by name."""
    channels = {name: Channel() for name in names}
    for channel in channels.values():
        await start(asyncio.wait([asyncio.create_task(channel.put(None)) for _ in range(puts)]))
    return channels


async def choices(channels, count):
    """From which channels `count` selects take a value, as a word: "abba"."""
    names = {channel: name for name, channel in channels.items()}
    return "".join([names[(await select(*channels.values()))[0]] for _ in range(count)])


@on_a_loop
async def test_chance_decides_among_the_ready_channels():
    chosen = await choices(await full_channels("a", "b", "c"), 40)
    assert set(chosen) == {"a", "b", "c"}  # it fails by chance once in three million runs


@on_a_loop
async def test_chance_decides_among_the_ready_channels_only():
    channels = {"x": Channel(), **await full_channels("a", "b"), "y": Channel()}
    assert set(await choices(channels, 40)) == {"a", "b"}


@on_a_loop
async def test_the_loops_own_random_decides_the_race():
    loop, chosen = asyncio.get_running_loop(), []
    for seed in (1, 1, 2):
        loop.random = random.Random(seed)
        chosen.append(await choices(await full_channels("a", "b"), 40))
    assert chosen[0] == chosen[1] != chosen[2]


@on_a_loop
async def test_a_loop_with_a_random_of_its_own_leaves_pythons_alone():
    asyncio.get_running_loop().random = random.Random(1)
    state = random.getstate()
    await choices(await full_channels("a", "b"), 10)
    assert random.getstate() == state


# ---------------------------------------------------------------- the read-write lock


class Visit:
    """A task that comes to a lock, and stays until told to leave."""

    def __init__(self, lock, kind):
        self.inside = False
        self.unregister = asyncio.Event()
        self.task = asyncio.create_task(self.stay(lock.read() if kind == "read" else lock.write()))

    async def stay(self, section):
        async with section:
            self.inside = True
            try:
                await self.unregister.wait()
            finally:
                self.inside = False

    async def leave(self):
        self.unregister.set()
        await self.task
        await settle()


async def visit(lock, *kinds):
    """A Visit of each kind, one after the other."""
    visits = []
    for kind in kinds:
        visits.append(Visit(lock, kind))
        await settle()
    return visits


def inside(*visits):
    return [visit.inside for visit in visits]


def is_free(lock):
    return not (lock.readers or lock.writing or lock.waiting_readers or lock.waiting_writers)


@on_a_loop
async def test_many_read_together():
    assert all(inside(*await visit(RWLock(), "read", "read", "read")))


@on_a_loop
async def test_a_writer_waits_for_all_readers():
    one, other, writer = await visit(RWLock(), "read", "read", "write")
    assert not writer.inside
    await one.leave()
    assert not writer.inside
    await other.leave()
    assert writer.inside


@pytest.mark.parametrize("kind", ["read", "write"])
@on_a_loop
async def test_a_writer_is_alone(kind):
    writer, newcomer = await visit(RWLock(), "write", kind)
    assert inside(writer, newcomer) == [True, False]
    await writer.leave()
    assert newcomer.inside


@on_a_loop
async def test_writers_come_in_in_the_order_of_their_waiting():
    first, second, third = await visit(RWLock(), "write", "write", "write")
    await first.leave()
    assert inside(second, third) == [True, False]
    await second.leave()
    assert third.inside


@on_a_loop
async def test_a_waiting_writer_keeps_new_readers_out():
    reader, writer, newcomer = await visit(RWLock(), "read", "write", "read")
    assert inside(reader, writer, newcomer) == [True, False, False]
    await reader.leave()
    assert inside(writer, newcomer) == [True, False]
    await writer.leave()
    assert newcomer.inside


@on_a_loop
async def test_all_readers_who_wait_when_a_writer_leaves_come_in_before_the_next_writer():
    lock = RWLock()
    writer, one, next_writer, other = await visit(lock, "write", "read", "write", "read")
    await writer.leave()
    assert inside(one, next_writer, other) == [True, False, True]
    (newcomer,) = await visit(lock, "read")
    await one.leave()
    await other.leave()
    assert inside(next_writer, newcomer) == [True, False]


@on_a_loop
async def test_a_lock_is_handed_over_in_the_turn_of_the_release():
    lock = RWLock()
    await lock.acquire_write()
    (waiting,) = await visit(lock, "write")
    lock.release_write()
    assert lock.writing  # so nobody who comes in this turn can go before
    await settle()
    assert waiting.inside


@on_a_loop
async def test_a_reader_who_wants_to_write_waits_for_itself_for_ever():
    lock = RWLock()

    async def upgrade():
        async with lock.read():
            async with lock.write():
                pass

    upgrading = await start(upgrade())
    assert not upgrading.done()
    (newcomer,) = await visit(lock, "read")
    assert not newcomer.inside
    await cancel(upgrading)
    assert newcomer.inside


@on_a_loop
async def test_a_reader_who_reads_again_behind_a_waiting_writer_waits_for_ever():
    lock = RWLock()
    await lock.acquire_read()
    (writer,) = await visit(lock, "write")
    again = await start(lock.acquire_read())
    assert not again.done() and not writer.inside


@pytest.mark.parametrize("kind", ["read", "write"])
@on_a_loop
async def test_an_error_inside_frees_the_lock(kind):
    lock = RWLock()
    with pytest.raises(KeyError):
        async with getattr(lock, kind)():
            raise KeyError
    assert is_free(lock)


@pytest.mark.parametrize("held", [None, "read", "write"])
@pytest.mark.parametrize("release", ["read", "write"])
@on_a_loop
async def test_only_what_is_held_can_be_released(held, release):
    lock = RWLock()
    if held:
        await getattr(lock, f"acquire_{held}")()
    if held == release:
        getattr(lock, f"release_{release}")()
    else:
        with pytest.raises(RuntimeError):
            getattr(lock, f"release_{release}")()
    assert is_free(lock) == (held is None or held == release)


# ---------------------------------------------------------------- the read-write lock, cancelled


@pytest.mark.parametrize("kind", ["read", "write"])
@on_a_loop
async def test_whoever_is_cancelled_inside_frees_the_lock(kind):
    lock = RWLock()
    gone, waiting = await visit(lock, kind, "write")
    await cancel(gone.task)
    assert waiting.inside
    await waiting.leave()
    assert is_free(lock)


@pytest.mark.parametrize("kind", ["read", "write"])
@on_a_loop
async def test_whoever_is_cancelled_while_waiting_never_gets_the_lock(kind):
    lock = RWLock()
    holder, gone = await visit(lock, "write", kind)
    await cancel(gone.task)
    assert holder.inside
    await holder.leave()
    assert is_free(lock)


@on_a_loop
async def test_a_writer_that_gives_up_lets_the_readers_behind_it_in():
    lock = RWLock()
    reader, gone, one, other = await visit(lock, "read", "write", "read", "read")
    await cancel(gone.task)
    assert inside(reader, one, other) == [True, True, True]


@on_a_loop
async def test_a_writer_that_gives_up_lets_nobody_pass_another_writer():
    lock = RWLock()
    reader, gone, writer, newcomer = await visit(lock, "read", "write", "write", "read")
    await cancel(gone.task)
    assert inside(writer, newcomer) == [False, False]
    await reader.leave()
    assert inside(writer, newcomer) == [True, False]


@on_a_loop
async def test_a_writer_that_gives_up_lets_nobody_in_to_a_writer_at_work():
    lock = RWLock()
    at_work, gone, newcomer = await visit(lock, "write", "write", "read")
    await cancel(gone.task)
    assert inside(at_work, newcomer) == [True, False]


@on_a_loop
async def test_two_writers_that_give_up_together_let_the_readers_behind_them_in():
    lock = RWLock()
    reader, gone, gone_too, newcomer = await visit(lock, "read", "write", "write", "read")
    await cancel(gone.task, gone_too.task)
    assert newcomer.inside


@on_a_loop
async def test_a_writer_that_gives_up_as_the_last_reader_leaves_lets_the_readers_behind_it_in():
    lock = RWLock()
    await lock.acquire_read()
    gone, newcomer = await visit(lock, "write", "read")
    gone.task.cancel()
    lock.release_read()
    await settle()
    assert newcomer.inside
    await newcomer.leave()
    assert is_free(lock)


@on_a_loop
async def test_a_reader_that_gives_up_lets_nobody_in():
    lock = RWLock()
    reader, writer, gone, newcomer = await visit(lock, "read", "write", "read", "read")
    await cancel(gone.task)
    assert inside(reader, writer, newcomer) == [True, False, False]
    await reader.leave()
    assert writer.inside


@pytest.mark.parametrize("behind", ["read", "write"])
@pytest.mark.parametrize("held", ["read", "write"])
@on_a_loop
async def test_a_writer_cancelled_in_the_turn_of_its_grant_passes_the_lock_on(held, behind):
    lock = RWLock()
    await getattr(lock, f"acquire_{held}")()
    gone, waiting = await visit(lock, "write", behind)
    getattr(lock, f"release_{held}")()
    await cancel(gone.task)
    assert waiting.inside
    await waiting.leave()
    assert is_free(lock)


@on_a_loop
async def test_a_reader_cancelled_in_the_turn_of_its_grant_passes_the_lock_on():
    lock = RWLock()
    await lock.acquire_write()
    gone, waiting = await visit(lock, "read", "write")
    lock.release_write()
    assert lock.readers == 1
    await cancel(gone.task)
    assert waiting.inside
    await waiting.leave()
    assert is_free(lock)


# ---------------------------------------------------------------- by chance


def nobody_waits_in_vain(lock):
    waiting = [*lock.waiting_readers, *lock.waiting_writers]
    return lock.readers or lock.writing or all(future.done() for future in waiting)


@pytest.mark.parametrize("seed", SEEDS)
@on_a_loop
async def test_no_cancellation_brings_the_lock_out_of_step(seed):
    chance, lock, now = random.Random(seed), RWLock(), []

    async def come(kind):
        for _ in range(chance.randrange(15)):
            await asyncio.sleep(0)
        async with getattr(lock, kind)():
            now.append(kind)
            try:
                assert "write" not in now or now == ["write"]
                assert lock.writing == ("write" in now)
                assert lock.readers >= now.count("read")  # more, while somebody admitted has not run yet
                for _ in range(chance.randrange(4)):
                    await asyncio.sleep(0)
            finally:
                now.remove(kind)

    for _ in range(5):
        tasks = [asyncio.create_task(come(chance.choice(["read", "read", "write"]))) for _ in range(12)]
        for _ in range(100):
            if chance.random() < 0.3:
                chance.choice(tasks).cancel()
            await asyncio.sleep(0)
            assert nobody_waits_in_vain(lock)
        assert all(task.done() for task in tasks)
        assert is_free(lock)
        for task in tasks:
            assert task.cancelled() or task.exception() is None


@pytest.mark.parametrize("seed", SEEDS)
@on_a_loop
async def test_no_cancellation_loses_or_doubles_a_value(seed):
    chance, channels = random.Random(seed), [Channel(), Channel(), Channel()]
    put, withdrawn, taken = set(), set(), []

    async def bring(value):
        for _ in range(chance.randrange(15)):
            await asyncio.sleep(0)
        try:
            await channels[value % 3].put(value)
            put.add(value)
        except asyncio.CancelledError:
            withdrawn.add(value)
            raise

    async def fetch(wanted):
        for _ in range(chance.randrange(15)):
            await asyncio.sleep(0)
        channel, value = await select(*wanted)
        assert channel is channels[value % 3]
        taken.append(value)

    bringing = [asyncio.create_task(bring(value)) for value in range(30)]
    fetching = [asyncio.create_task(fetch(chance.sample(channels, chance.randint(1, 3)))) for _ in range(30)]
    for _ in range(40):
        if chance.random() < 0.5:
            chance.choice(bringing + fetching).cancel()
        await asyncio.sleep(0)
    await settle()
    while any(channel.ready() for channel in channels):  # whoever still waits to put gets its turn
        taken.append((await select(*channels))[1])
    await settle()

    assert all(task.done() for task in bringing)
    assert len(taken) == len(set(taken))
    assert put <= set(taken) <= put | withdrawn
    for task in fetching:
        task.cancel()
    await settle()
    assert not any(channel.getters for channel in channels)


@pytest.mark.parametrize("seed", SEEDS)
@on_a_loop
async def test_nobody_waits_to_get_beside_somebody_who_waits_to_put(seed):
    chance, channels = random.Random(seed), [Channel(), Channel(), Channel()]
    tasks = []
    for _ in range(60):
        wanted = chance.sample(channels, chance.randint(1, 3))
        coroutine = chance.choice([partial(select, *wanted), partial(wanted[0].put, None)])()
        tasks.append(asyncio.create_task(coroutine))
        if chance.random() < 0.5:
            chance.choice(tasks).cancel()
        if chance.random() < 0.3:
            await settle()
            assert not any(channel.ready() and channel.getters for channel in channels)
    for task in tasks:
        task.cancel()
    await settle()
    assert not any(channel.ready() or channel.getters for channel in channels)


@on_a_loop
async def test_a_channel_forgets_puts_that_were_cancelled():
    channel = Channel()
    kept = await start(channel.put("kept"))
    for value in range(100):
        await cancel(await start(channel.put(value)))
    assert len(channel.putters) == 1
    assert await channel.get() == "kept"
    await kept
