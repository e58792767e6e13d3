"""Figures of a relay for Prometheus: totals and sizes, nothing per drop, per person or per
connection."""

from __future__ import annotations

from typing import TYPE_CHECKING

import picows
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

if TYPE_CHECKING:
    import asyncio
    import socket

PATH = b"/metrics"


class Metrics:
    """The counters of one relay."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.connections = Gauge("amanat_connections", "Open connections", registry=self.registry)
        self.waiting_writes = Gauge(
            "amanat_waiting_writes", "Writes that wait for the disk", registry=self.registry
        )
        self.followers = Gauge(
            "amanat_followers", "Reads and follows in progress", registry=self.registry
        )
        self.stored_bytes = Gauge(
            "amanat_stored_bytes", "Bytes of the cells in all drops", registry=self.registry
        )
        self.bucket_bytes = Gauge(
            "amanat_bucket_bytes", "Bytes of the cells in buckets alone", registry=self.registry
        )
        self.created = Counter(
            "amanat_created_drops", "Drops that clients have created", registry=self.registry
        )
        self.appended = Counter(
            "amanat_appended_cells", "Cells made durable", registry=self.registry
        )
        self.appended_bytes = Counter(
            "amanat_appended_bytes", "Bytes of cells made durable", registry=self.registry
        )
        self.delivered = Counter(
            "amanat_delivered_cells", "Cells handed to readers", registry=self.registry
        )
        self.delivered_file_bytes = Counter(
            "amanat_delivered_file_bytes",
            "Bytes of large cells handed to readers of drops that are no buckets",
            registry=self.registry,
        )
        self.commit_seconds = Histogram(
            "amanat_commit_seconds",
            "Time of one group commit",
            buckets=(0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0),
            registry=self.registry,
        )
        self.failed = Counter(
            "amanat_failed_requests", "Requests refused", ["code"], registry=self.registry
        )

    async def serve(self, listener: socket.socket) -> asyncio.Server:
        """Serve the figures on a listening socket."""

        def answer(request: picows.WSUpgradeRequest) -> picows.WSUpgradeResponseWithListener:
            if request.path == PATH:
                response = picows.WSUpgradeResponse.create_ok_response(
                    generate_latest(self.registry)
                )
            else:
                response = picows.WSUpgradeResponse.create_error_response(404)
            return picows.WSUpgradeResponseWithListener(response, None)

        return await picows.ws_create_server(answer, sock=listener)
