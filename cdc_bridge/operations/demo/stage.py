"""Starts and stops the parts of the demo."""

from __future__ import annotations

import asyncio
import os
import sys
from contextlib import AsyncExitStack
from pathlib import Path
from secrets import token_bytes
from tempfile import TemporaryDirectory

from psycopg import AsyncConnection, sql
from psycopg.rows import TupleRow

from cdc_bridge.database import connect
from cdc_bridge.operations.demo.receiver import HEADER, Call, Receiver
from cdc_bridge.operations.install import install_text, sql_folder
from cdc_bridge.operations.throwaway_postgres import ThrowawayPostgres, find_binaries

__all__ = ["Stage"]
