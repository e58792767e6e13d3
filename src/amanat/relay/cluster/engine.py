"""The connection to a JetStream cluster: publishes that name their predecessor, and reads.

The client of the engine has a loop and a thread of its own. Methods may be called in any other
thread, and wait. Nothing here knows what a message means.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
import os
import threading
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias, TypeVar

import msgspec
import nats
import nats.errors
import uvloop

from amanat.errors import RelayBusy

if TYPE_CHECKING:
    from collections.abc import (
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterator,
        Mapping,
        Sequence,
    )
    from concurrent.futures import Future

    from nats.aio.client import Client
    from nats.aio.msg import Msg

T = TypeVar("T")

ANSWER_S = 5.0
"""Longest that the engine may take for an answer, in seconds. It is silent for as long while it
chooses a new leader, so a client would not wait longer, either."""
STORE_S = 2.0
"""Longest that the engine may take to store messages, in seconds. Nobody knows afterwards whether
it has; all writes of a process wait meanwhile, also those to streams that have a leader."""
RETRY_S = 1.0
"""Seconds after which a client may ask again when the engine did not answer."""
PING_S, PINGS = 1, 2
"""Seconds between two signs of life that a node is asked for, and how many it may owe: where a
cable was pulled, nothing else tells that the node is gone."""
CONNECT_S = 5.0
"""Longest that connecting to one server may take, in seconds."""
WINDOW_BYTES = 4 * 1024 * 1024
"""Bytes of messages that wait for their acknowledgement at once. The engine slows down a
connection that has more under way."""
SCAN_S = 1.0
"""Seconds in which no message comes, after which a scan takes the others for purged."""
FENCES = 256
"""Fences after which the old ones are purged."""
PLACE_TRIES = 60
"""Times that a reader is made until the engine, which chooses one of three nodes by lot, puts it on
the one that is wanted."""
SCAN_TRIES, SCAN_RETRY_S = 50, 0.02
"""Times that a scan is begun, and the seconds between."""
SEND_TRIES, SEND_RETRY_S = 40, 0.05
"""Times that a message which nobody has heard is sent, and the seconds between: while a stream gets
a new leader."""
PAGE_MESSAGES = 500
"""Messages in one answer to a walk."""
PAGE_BYTES = 4 * 1024 * 1024
"""Bytes in one answer to a walk."""

_EXPECTED = "Nats-Expected-Last-Subject-Sequence"
_EXPECTED_OVER = "Nats-Expected-Last-Subject-Sequence-Subject"
_REFUSED = (10071, 10164)
"""The engine's codes for a predecessor that is not the last message: known, and being decided."""
_NOT_FOUND = (404, 10037)


class Message(NamedTuple):
    """A message in a stream."""

    place: int
    """Its sequence number in the stream."""
    subject: str
    before: int
    """The predecessor that it names, 0 if none."""
    headers: Mapping[str, str]
    body: bytes


class Publish(NamedTuple):
    """A message to be stored."""

    subject: str
    before: int
    """Its predecessor: the last message of its chain, 0 for none."""
    headers: dict[str, str]
    body: bytes
    chain: str = ""
    """The subjects among which it is the predecessor; empty for the message's own."""


Outcome: TypeAlias = int | Literal["refused", "unknown"]
"""The place of the last message of a group that is stored; or that none is, because a predecessor
is not the last message of its chain; or that nobody knows yet."""


class EngineRefused(Exception):  # noqa: N818  # it is a fact about a request, and never shown
    """The engine's refusal of a request of its API."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"{text} ({code})")
        self.code = code
        self.text = text


class Engine:
    """A connection to a cluster, which reconnects by itself. Methods raise RelayBusy while the
    cluster does not answer."""

    def __init__(self, servers: Sequence[str], domain: str, **options: Any) -> None:  # noqa: ANN401
        """`options` are nats.connect's. Raises RelayBusy, or nats.errors.Error if it is refused."""
        self._domain = domain
        self._tokens = itertools.count()
        self._waiting: dict[str, Callable[[Msg], None]] = {}
        self._unanswered: set[asyncio.Future[Any]] = set()
        self._runner = asyncio.Runner(loop_factory=uvloop.new_event_loop)
        self._loop = self._runner.get_loop()
        self._thread = threading.Thread(target=self._serve, name="cluster", daemon=True)
        self._thread.start()
        try:
            self._client: Client = self.run(self._connect(servers, options))
        except BaseException:
            self._stop()
            raise

    def _serve(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._runner.close()

    async def _connect(self, servers: Sequence[str], options: dict[str, Any]) -> Client:
        client = await nats.connect(
            servers=list(servers),
            connect_timeout=CONNECT_S,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,
            ping_interval=PING_S,
            max_outstanding_pings=PINGS,
            error_cb=_ignore,
            disconnected_cb=self._give_up,
            **options,
        )
        self._inbox = client.new_inbox()
        # No limit: an answer to a walk may have thousands of messages.
        await client.subscribe(
            f"{self._inbox}.*", cb=self._hear, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        return client

    async def _give_up(self) -> None:
        """Give up what waits for an answer of a node that is gone."""
        for answer in tuple(self._unanswered):
            if not answer.done():  # one that has just come is taken out in the loop's next turn
                answer.set_exception(_unanswered())

    def _answer(self) -> asyncio.Future[Any]:
        """An answer that may come, or a RelayBusy in its place."""
        answer: asyncio.Future[Any] = self._loop.create_future()
        self._unanswered.add(answer)
        answer.add_done_callback(self._unanswered.discard)
        return answer

    async def _hear(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject)
        if waiting is not None:
            waiting(message)

    def close(self) -> None:
        """End the connection and the thread."""
        with contextlib.suppress(RelayBusy, nats.errors.Error):
            self.run(self._client.close())
        self._stop()

    def _stop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of a coroutine that runs in the engine's thread."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    # The API

    def api(self, verb: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The answer of JetStream's API. Raises EngineRefused or RelayBusy."""
        return self.run(self._api(verb, request))

    async def _api(self, verb: str, request: Mapping[str, Any] | None = None) -> dict[str, Any]:
        body = b"" if request is None else msgspec.json.encode(request)
        message = await self._ask(f"$JS.{self._domain}.API.{verb}", body)
        if not message.data:  # no node serves this API: not yet, or not in this domain
            raise _unanswered()
        answer: dict[str, Any] = msgspec.json.decode(message.data)
        if error := answer.get("error"):
            raise EngineRefused(error.get("err_code", error["code"]), error.get("description", ""))
        return answer

    async def _ask(self, subject: str, body: bytes) -> Msg:
        answer: asyncio.Future[Msg] = self._answer()
        with self._expect(answer.set_result) as inbox:
            await _sent(self._client.publish(subject, body, reply=inbox))
            try:
                return await asyncio.wait_for(answer, ANSWER_S)
            except TimeoutError:
                raise _unanswered() from None

    @contextlib.contextmanager
    def _expect(self, hear: Callable[[Msg], None]) -> Any:  # noqa: ANN401
        inbox = f"{self._inbox}.{next(self._tokens)}"

        def once(message: Msg) -> None:
            with contextlib.suppress(asyncio.InvalidStateError):
                hear(message)

        self._waiting[inbox] = once
        try:
            yield inbox
        finally:
            del self._waiting[inbox]

    # Messages

    def publish(self, groups: Sequence[Sequence[Publish]]) -> list[Outcome]:
        """Store groups of messages. A group is stored whole, at consecutive places of one stream,
        or not at all; no two messages have one chain. Returns what became of each group."""
        return self.run(self._publish(groups)) if groups else []

    async def _publish(self, groups: Sequence[Sequence[Publish]]) -> list[Outcome]:
        outcomes: dict[int, Outcome] = {}
        left = list(range(len(groups)))
        for _ in range(SEND_TRIES):
            unheard = []
            while left:
                some = _window(groups, left)
                left = left[len(some) :]
                answers = await self._send([groups[index] for index in some])
                for index, answer in zip(some, answers, strict=True):
                    if answer is not None and _is_unheard(answer):
                        unheard.append(index)
                    outcomes[index] = "unknown" if answer is None else _outcome(answer)
            left = unheard
            if not left:
                break
            await asyncio.sleep(SEND_RETRY_S)
        return [outcomes[index] for index in range(len(groups))]

    async def _send(self, groups: Sequence[Sequence[Publish]]) -> list[Msg | None]:
        """The answer to each group, None if it does not come in time."""
        waits: list[asyncio.Future[Msg]] = []
        with contextlib.ExitStack() as expected:
            for group in groups:
                answer: asyncio.Future[Msg] = self._answer()
                inbox = expected.enter_context(self._expect(answer.set_result))
                await self._send_group(group, inbox)
                waits.append(answer)
            await asyncio.wait(waits, timeout=STORE_S)
        return [
            answer.result() if answer.done() and answer.exception() is None else None
            for answer in waits
        ]

    async def _send_group(self, group: Sequence[Publish], inbox: str) -> None:
        if len(group) == 1:
            (message,) = group
            headers = _headers(message)
            await _sent(
                self._client.publish(message.subject, message.body, reply=inbox, headers=headers)
            )
            return
        # An atomic batch of the engine: only its last message is answered.
        name = os.urandom(16).hex()
        for number, message in enumerate(group, 1):
            is_last = number == len(group)
            headers = _headers(message) | {
                "Nats-Batch-Id": name,
                "Nats-Batch-Sequence": f"{number}",
            }
            if is_last:
                headers["Nats-Batch-Commit"] = "1"
            await _sent(
                self._client.publish(
                    message.subject,
                    message.body,
                    reply=inbox if is_last else "",
                    headers=headers,
                )
            )

    def walk(
        self, stream: str, subject: str, *, after: int, most: int = 0, most_bytes: int = 0
    ) -> list[Message]:
        """Messages of a subject (which may have wildcards) with places above `after`, in order, as
        some replica has them: all of them, or the first ones if they are more than `most`, or than
        fit into `most_bytes`."""
        return self.run(self._walk(stream, subject, after, most, most_bytes))

    async def _walk(
        self, stream: str, subject: str, after: int, most: int, most_bytes: int
    ) -> list[Message]:
        found: list[Message] = []
        while True:
            page: list[Message] = []
            ended: asyncio.Future[int] = self._answer()

            def hear(
                message: Msg, page: list[Message] = page, ended: asyncio.Future[int] = ended
            ) -> None:
                status = (message.headers or {}).get("Status")
                if status is None:
                    page.append(_direct(message))
                elif status == "404":
                    ended.set_result(0)
                elif status == "204":
                    ended.set_result(int((message.headers or {}).get("Nats-Num-Pending", "0")))
                else:
                    ended.set_exception(_unanswered())

            request = {
                "seq": after + 1,
                "next_by_subj": subject,
                "batch": min(PAGE_MESSAGES, most - len(found)) if most else PAGE_MESSAGES,
                "max_bytes": min(PAGE_BYTES, most_bytes) if most_bytes else PAGE_BYTES,
            }
            with self._expect(hear) as inbox:
                await _sent(
                    self._client.publish(
                        f"$JS.{self._domain}.API.DIRECT.GET.{stream}",
                        msgspec.json.encode(request),
                        reply=inbox,
                    )
                )
                try:
                    left = await asyncio.wait_for(ended, ANSWER_S)
                except TimeoutError:
                    raise _unanswered() from None
            found += page
            if not left or not page or (most and len(found) >= most) or most_bytes:
                return found
            after = page[-1].place

    def last(self, stream: str, subject: str, *, by_leader: bool = False) -> Message | None:
        """The last message of a subject, which may have wildcards: by some replica, or by the
        stream's leader, which knows all that were acknowledged."""
        return self.run(self._last(stream, subject, by_leader=by_leader))

    def last_of(self, asked: Sequence[tuple[str, str]]) -> list[Message | None]:
        """The last message of each of several subjects, given with their streams, by the leaders
        of these."""

        async def all_of() -> list[Message | None]:
            return await asyncio.gather(
                *(self._last(stream, subject, by_leader=True) for stream, subject in asked)
            )

        return self.run(all_of())

    async def _last(self, stream: str, subject: str, *, by_leader: bool) -> Message | None:
        if by_leader:
            return await self._from_leader(stream, {"last_by_subj": subject})
        message = await self._ask(
            f"$JS.{self._domain}.API.DIRECT.GET.{stream}",
            msgspec.json.encode({"last_by_subj": subject}),
        )
        status = (message.headers or {}).get("Status")
        if status is None:
            return _direct(message)
        if status != "404":
            raise _unanswered()
        return None

    def is_last(self, stream: str, subject: str, place: int, *, fence: str) -> bool:
        """Whether the message at a place is the last of its subject, at some moment after the call;
        of the place 0, whether there is none. Raises RelayBusy.

        The stream stores an empty message under the subject `fence` if it is. A leader that was
        replaced, and does not know it, tells an old message for the last one; but it cannot
        acknowledge a new one.
        """
        (outcome,) = self.publish([[Publish(fence, place, {}, b"", subject)]])
        if outcome == "unknown":
            raise _unanswered()
        if outcome == "refused":
            return False
        if outcome % FENCES == 0:
            self.purge(stream, fence, below=outcome)
        return True

    def at(self, stream: str, place: int) -> Message | None:
        """The message at a place, by the stream's leader."""
        return self.run(self._from_leader(stream, {"seq": place}))

    def next_by_leader(self, stream: str, subject: str, after: int) -> Message | None:
        """The first message of a subject above a place, by the stream's leader."""
        return self.run(self._from_leader(stream, {"seq": after + 1, "next_by_subj": subject}))

    async def _from_leader(self, stream: str, request: dict[str, Any]) -> Message | None:
        try:
            answer = await self._api(f"STREAM.MSG.GET.{stream}", request)
        except EngineRefused as refused:
            if refused.code in _NOT_FOUND:
                return None
            raise _unanswered() from None
        told = answer["message"]
        headers = _parse(base64.b64decode(told.get("hdrs", "")))
        return Message(
            told["seq"],
            told["subject"],
            _before(headers),
            headers,
            base64.b64decode(told.get("data", "")),
        )

    def scan(self, stream: str, subject: str) -> Iterator[list[Message]]:
        """The last message of each subject that matches, without its body, in order of places, as
        they are at the first of these pages."""
        config = {
            "deliver_policy": "last_per_subject",
            "filter_subject": subject,
            "headers_only": True,
        }
        pages = self._drain(stream, config, "")

        async def following() -> list[Message]:
            return await anext(pages, [])

        while page := self.run(following()):
            yield page

    def read_replica(self, stream: str, node: str, hear: Callable[[Message], object]) -> None:
        """Have `hear` called, in the engine's thread, with each message of a stream as one node has
        it. Messages that the node has lost are passed over. Raises RelayBusy if the engine puts no
        reader on that node."""

        async def read() -> None:
            async for page in self._drain(stream, {"deliver_policy": "all"}, node):
                for message in page:
                    hear(message)

        self.run(read())

    async def _drain(
        self, stream: str, reader: dict[str, Any], node: str
    ) -> AsyncIterator[list[Message]]:
        """Read a stream through a reader of the engine on a node, or on any if it is empty."""
        config = reader | {
            "ack_policy": "none",
            "mem_storage": True,
            "num_replicas": 1,
            "inactive_threshold": int(4 * ANSWER_S * 1e9),
        }
        for _ in range(PLACE_TRIES):
            try:
                made = await self._api(
                    f"CONSUMER.CREATE.{stream}", {"stream_name": stream, "config": config}
                )
            except EngineRefused:
                raise _unanswered() from None
            try:
                if node in ("", made.get("cluster", {}).get("leader")):
                    async for page in self._drained(stream, made["name"], made["num_pending"]):
                        yield page
                    return
            finally:
                with contextlib.suppress(EngineRefused, RelayBusy):
                    await self._api(f"CONSUMER.DELETE.{stream}.{made['name']}")
        raise RelayBusy(f"no reader on node {node}", retry_after=RETRY_S)

    async def _drained(
        self, stream: str, consumer: str, count: int
    ) -> AsyncIterator[list[Message]]:
        found = 0
        came: asyncio.Queue[Msg] = asyncio.Queue()
        # These messages have their own subjects, so they need a subscription of their own.
        inbox = self._client.new_inbox()
        subscription = await self._client.subscribe(
            inbox, cb=came.put, pending_msgs_limit=-1, pending_bytes_limit=-1
        )
        subject = f"$JS.{self._domain}.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"
        tries = SCAN_TRIES
        try:
            while found < count:
                most = min(PAGE_MESSAGES, count - found)
                request = {"batch": most, "expires": int(SCAN_S * 1e9)}
                await _sent(
                    self._client.publish(subject, msgspec.json.encode(request), reply=inbox)
                )
                page: list[Message] = []
                while len(page) < most:
                    message = await asyncio.wait_for(came.get(), ANSWER_S)
                    status = (message.headers or {}).get("Status")
                    if status is None:
                        page.append(_scanned(message))
                    elif status == "503" and tries:
                        # Our node does not know yet where the new reader is.
                        tries -= 1
                        await asyncio.sleep(SCAN_RETRY_S)
                        break
                    elif status not in ("404", "408"):
                        raise _unanswered()
                    elif page:
                        break  # the time of this request is over, and not the messages
                    else:
                        return  # the others were purged meanwhile, or the node has lost them
                found += len(page)
                if page:
                    yield page
        except TimeoutError:
            raise _unanswered() from None
        finally:
            await subscription.unsubscribe()

    def purge(self, stream: str, subject: str, *, below: int) -> None:
        """Delete the messages of a subject at places below one. Their bytes stay on disks for some
        time. Raises RelayBusy."""
        try:
            self.api(f"STREAM.PURGE.{stream}", {"filter": subject, "seq": below})
        except EngineRefused as refused:
            raise RelayBusy(str(refused), retry_after=RETRY_S) from None

    # Notices, which nothing keeps

    def tell(self, subject: str, body: bytes) -> None:
        """Send a notice to everybody who listens, soon."""

        async def tell() -> None:
            with contextlib.suppress(nats.errors.Error):
                await self._client.publish(subject, body)

        asyncio.run_coroutine_threadsafe(tell(), self._loop)

    def listen(self, subject: str, hear: Callable[[str, bytes], bytes | None]) -> None:
        """Have `hear` called, in the engine's thread, with the subject and body of each notice. If
        it returns bytes, they are the answer to the sender."""

        async def heard(message: Msg) -> None:
            answer = hear(message.subject, message.data)
            if answer is not None and message.reply:
                await self._client.publish(message.reply, answer)

        self.run(self._subscribe(subject, heard))

    async def _subscribe(self, subject: str, heard: Callable[[Msg], Awaitable[None]]) -> None:
        await self._client.subscribe(subject, cb=heard)
        await self._client.flush()

    def ask_one(self, subject: str, body: bytes) -> Future[bytes | None]:
        """The answer to a question, in some other thread; None if nobody listens, or if no answer
        comes in time."""

        async def ask() -> bytes | None:
            try:
                message = await self._ask(subject, body)
            except RelayBusy:
                return None
            return None if (message.headers or {}).get("Status") else message.data

        return asyncio.run_coroutine_threadsafe(ask(), self._loop)

    def serve(self, subject: str, hear: Callable[[bytes, Callable[[bytes], None]], None]) -> None:
        """Have `hear` called, in the engine's thread, with each question and a function that sends
        the answer to it, which any thread may call."""

        async def heard(message: Msg) -> None:
            def answer(body: bytes) -> None:
                sending = _sent(self._client.publish(message.reply, body))
                asyncio.run_coroutine_threadsafe(sending, self._loop)

            hear(message.data, answer)

        self.run(self._subscribe(subject, heard))

    def consult(self, subject: str, body: bytes, *, wait_s: float, enough: int) -> list[bytes]:
        """The answers to a question: those that come within `wait_s`, or the first `enough`."""

        async def ask() -> list[bytes]:
            answers: list[bytes] = []
            done = asyncio.Event()

            def hear(message: Msg) -> None:
                if (message.headers or {}).get("Status") is None:
                    answers.append(message.data)
                if len(answers) >= enough:
                    done.set()

            with self._expect(hear) as inbox:
                await _sent(self._client.publish(subject, body, reply=inbox))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), wait_s)
            return answers

        return self.run(ask())


def _unanswered() -> RelayBusy:
    return RelayBusy("the cluster does not answer", retry_after=RETRY_S)


async def _sent(publish: Awaitable[None]) -> None:
    try:
        await publish
    except nats.errors.Error as error:
        raise RelayBusy(type(error).__name__, retry_after=RETRY_S) from None


async def _ignore(_: Exception) -> None:
    """Errors of a connection show where somebody waits for it."""


def _headers(message: Publish) -> dict[str, str]:
    headers = message.headers | {_EXPECTED: str(message.before)}
    if message.chain:
        headers[_EXPECTED_OVER] = message.chain
    return headers


def _window(groups: Sequence[Sequence[Publish]], left: list[int]) -> list[int]:
    """The first groups that may be under way at once."""
    room, some = WINDOW_BYTES, []
    for index in left:
        if room <= 0:
            break
        room -= sum(len(message.body) for message in groups[index])
        some.append(index)
    return some


def _is_unheard(answer: Msg) -> bool:
    """Whether nobody heard the message: its stream has no leader just now, and has not stored
    it."""
    return (answer.headers or {}).get("Status") == "503"


def _outcome(answer: Msg) -> Outcome:
    told = msgspec.json.decode(answer.data) if answer.data else {}
    error = told.get("error")
    if error is None:
        return int(told["seq"]) if "seq" in told else "unknown"
    return "refused" if error.get("err_code") in _REFUSED else "unknown"


def _direct(message: Msg) -> Message:
    headers = message.headers or {}
    return Message(
        int(headers["Nats-Sequence"]),
        headers["Nats-Subject"],
        _before(headers),
        headers,
        message.data,
    )


def _before(headers: Mapping[str, str]) -> int:
    """The predecessor that a message with these headers names."""
    return int(headers.get(_EXPECTED) or 0)


def _scanned(message: Msg) -> Message:
    headers = message.headers or {}
    return Message(
        message.metadata.sequence.stream,
        message.subject,
        _before(headers),
        headers,
        message.data,
    )


def _parse(raw: bytes) -> dict[str, str]:
    lines = raw.decode("utf-8", "replace").split("\r\n")[1:]
    return dict(line.split(": ", 1) for line in lines if ": " in line)
