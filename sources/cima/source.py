"""CIMA as a source: `pull` reads the change feed, `keys` the listing, `fetch` products; `to_changes` maps, purely."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import date, datetime, timedelta
from itertools import islice

import httpx

from sources.cima import mapping
from sources.cima.calendar import day_of
from sources.cima.client import CimaClient, call_of
from sources.cima.dates import MADRID, instant_of
from sources.cima.feed import FEED_ROW, UnreadableRow, Work, collapse, next_cursor, read_feed
from sources.cima.listing import read_listing
from sources.cima.mapping.composition import SOURCE
from sources.cima.options import CimaOptions
from sources.cima.product import PRODUCT_PARTS, fetch_product, fetch_row, flag_parts
from tsi_fetch.clock import Clock
from tsi_fetch.errors import Unusable
from tsi_fetch.http.chain import build_client
from tsi_fetch.http.limit import Pace
from tsi_fetch.http.meter import Meter
from tsi_fetch.http.record import Recorder
from tsi_fetch.http.recording import Recording
from tsi_fetch.ports import NOTHING
from tsi_fetch.words import Batch, Change, Cursor, Fault, KeyPage, Position, Row, StampedPage, Validators

TYPES = frozenset(
    "AdministrableProductDefinition Bundle Composition DocumentReference Ingredient List ManufacturedItemDefinition"
    " MedicinalProductDefinition Organization PackagedProductDefinition RegulatedAuthorization".split()
)
"""What the mapping makes."""

AHEAD = 2
"""Products fetched ahead of the one that is handed on, per connection: what bounds the memory."""


class Cima:
    """The register.  What it holds: the HTTP client, and nothing of what was read.

    `recorder`, `recording`, `wire`, `pace` and `rng` are handed to the chain of transports.
    """

    stream = "registroCambios"
    mapping = mapping.MAPPING_VERSION
    types = TYPES
    attribution = SOURCE
    zone = MADRID

    def __init__(
        self,
        options: CimaOptions,
        clock: Clock,
        *,
        recorder: Recorder | None = None,
        recording: Recording | None = None,
        meter: Meter | None = None,
        wire: httpx.BaseTransport | None = None,
        pace: Pace | None = None,
        rng: random.Random | None = None,
    ) -> None:
        self._options = options
        self._http = build_client(
            options.chain(),
            clock,
            recorder=recorder,
            recording=recording,
            meter=meter,
            wire=wire,
            pace=pace,
            rng=rng,
        )
        self._client = CimaClient(self._http, options.base_url)
        self._overlap = timedelta(days=options.overlap_days)

    @staticmethod
    def urls(options: CimaOptions, key: str) -> tuple[str, ...]:
        """Where a person can read a row at the register: the product, its documents, or what its flags ask for."""
        product = mapping.side_product(key)
        parts = PRODUCT_PARTS if product == key else flag_parts(key.removeprefix(product)[1:].split("+"))
        return tuple(f"{options.base_url}/{call_of(part, product)}" for part in parts)

    def pull(self, position: Position, started: datetime) -> Iterator[Batch]:
        """Read the whole feed, then fetch what changed, the oldest change first.

        Only the last batch carries a cursor: the feed is newest first, so nothing before is proven settled.
        """
        before, today = position.cursor, day_of(started)
        since = (date.fromisoformat(before.value) if before else today) - self._overlap
        feed = read_feed(self._client, since)
        self._client.forget()  # what was fetched before may have changed since, and the feed says so only once
        known = position.checkpoint | (before.seen if before else frozenset())
        unreadable = [row for row in feed.unreadable if row.key not in known]
        work = collapse(row for row in feed.rows if row.key not in known)
        yield from self._batches([*unreadable, *work], next_cursor(feed, before, today, self._overlap))

    def _batches(self, items: Sequence[UnreadableRow | Work], cursor: Cursor | None) -> Iterator[Batch]:
        rows = self._rows(iter(items))
        left = len(items)
        while left > self._options.batch:
            left -= self._options.batch
            yield self._batch(islice(rows, self._options.batch))
        yield self._batch(rows, cursor)

    def _batch(self, fetched: Iterable[tuple[Row, ...]], cursor: Cursor | None = None) -> Batch:
        """The rows of one item are never parted: they are settled together, or not at all."""
        return Batch(self.stream, tuple(row for rows in fetched for row in rows), cursor)

    def keys(self) -> Iterator[KeyPage]:
        """One pass over the listing of all medicines."""
        return read_listing(self._client)

    def fetch(self, keys: Iterable[str], known: Mapping[str, Validators] = NOTHING) -> Iterator[Batch]:
        """Fetch these products whole, or what some of their flags ask for (`99001#psum`), in the order given."""
        rows = self._rows(iter(keys), known)
        while some := tuple(islice(rows, self._options.batch)):
            yield self._batch(some)

    def changed(self, since: datetime, until: datetime) -> Iterator[StampedPage]:
        """Products that the change feed names since the day of `since` in Madrid: it knows no end."""
        feed = read_feed(self._client, day_of(since))
        rows = tuple((row.nregistro, instant_of(row.stamp)) for row in feed.rows)
        yield StampedPage(rows, len(feed.unreadable))

    def forget(self) -> None:
        """What was fetched before is fetched anew."""
        self._client.forget()

    def to_changes(self, row: Row) -> Sequence[Change]:
        """Map one row.  Unusable where the row, or what is in it, cannot be read."""
        if row.unfetched:
            raise Unusable(row.unfetched)
        if not row.answers:
            return ()
        if row.answers[0].part == FEED_ROW:
            raise Unusable(Fault("cima-feed-row", "$", "a row of the change feed names a product and a day"))
        return mapping.to_changes(row)

    def settled(self, batch: Batch) -> None:
        """The register need not be told."""

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def _rows(
        self, items: Iterator[UnreadableRow | Work | str], known: Mapping[str, Validators] = NOTHING
    ) -> Iterator[tuple[Row, ...]]:
        """The rows of each of `items`, in their order, whichever arrives first; so many are under way or ahead."""
        workers = self._options.connections
        pool = ThreadPoolExecutor(workers, thread_name_prefix="cima")
        ahead: deque[Future[tuple[Row, ...]]] = deque()
        try:
            for item in items:
                ahead.append(pool.submit(self._fetched, item, known))
                if len(ahead) > workers * AHEAD:
                    yield ahead.popleft().result()
            while ahead:
                yield ahead.popleft().result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)

    def _fetched(self, item: UnreadableRow | Work | str, known: Mapping[str, Validators]) -> tuple[Row, ...]:
        if isinstance(item, UnreadableRow):
            return (Row(item.key, (item.answer,), settles=(item.key,)),)
        if isinstance(item, str):
            if mapping.side_product(item) != item:
                return (fetch_row(self._client, item, known=known.get(item)),)
            return fetch_product(self._client, item, known=known.get(item))
        if item.whole:
            return fetch_product(self._client, item.nregistro, item.settles, told=item.flags)
        # Of its flags alone it is a row of scopes of its own, which never speaks for the whole product.
        return (fetch_row(self._client, mapping.side_key(item.nregistro, item.flags), item.settles),)
