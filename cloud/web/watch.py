"""What a process is asked by those who watch it: `/healthz` and `/metrics`, beside the pages or alone."""

from __future__ import annotations

from fastapi import FastAPI
from sqlalchemy import Engine

from cloud.config import WatchConfig
from cloud.health import Health
from cloud.web import healthz, metrics
from cloud.web.security import SecurityHeaders


def add_watch(app: FastAPI, engine: Engine, config: WatchConfig) -> None:
    """Add both to an application.

    Who runs a process sets `app.state.health` to a cloud.health.HealthOf, and `app.state.metrics` to a MetricsOf.
    Raises Fatal.
    """
    app.state.engine = engine
    app.state.health = lambda: Health(parts={})
    app.state.metrics = list
    app.state.metrics_token = metrics.read_token(config)
    app.include_router(healthz.router)
    app.include_router(metrics.router)


def create_watch(engine: Engine, config: WatchConfig) -> FastAPI:
    """An application that has nothing else, for a process without pages. Raises Fatal."""
    app = FastAPI(title="coldproof worker", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(SecurityHeaders, https=False)
    add_watch(app, engine, config)
    return app
