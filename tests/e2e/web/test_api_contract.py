"""The API holds to its OpenAPI document: schemathesis makes requests from it, right and wrong, and judges responses.

Two of its checks are left out. ``positive_data_acceptance``: whether a URL or a condition can be used, no schema says.
``ignored_auth``: after ten wrong tokens the API responds with 429; ``test_api_access.py`` looks at each operation.
"""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

from openapi_spec_validator import validate

from cdc_bridge.web.api.openapi import document
from cdc_bridge.web.api.routes import OPERATIONS
from tests.support.api import API_TOKEN, PREFIX, ApiClient
from tests.support.bridge import Bridge, run_command
from tests.support.certificates import Certificates
from tests.support.databases import Database
from tests.support.receiver import Receiver
from tests.support.waiting import until

SCHEMATHESIS = Path(sys.executable).with_name("schemathesis")
EXAMPLES = 3
NUMBER = 4711
"""Of the delivery that the document's examples name."""

KEEP_TILL = """
create function public.keep() returns trigger language plpgsql as 'begin return null; end';
create trigger keep before delete on cdc_bridge.endpoint
for each row when (old.name = 'till') execute function public.keep();
"""


async def test_document_is_valid_served_and_printed(api: ApiClient) -> None:
    served = (await api.get("/openapi.json")).body
    validate(served)
    assert served == json.loads(json.dumps(document(OPERATIONS)))
    code, printed, _ = await run_command("contract", "api")
    assert (code, json.loads(printed)) == (0, served)
    routes = {(path, method.upper()) for path, methods in served["paths"].items() for method in methods}
    assert routes == {(operation.path, operation.method) for operation in OPERATIONS}


async def test_responses_to_right_and_wrong_requests_are_those_of_the_document(
    api: ApiClient,
    api_bridge: Bridge,
    database: Database,
    receiver: Receiver,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    """The endpoint and the delivery that the document's examples name are there, and stay."""
    till = {"name": "till", "url": receiver.url, "ca_file": str(certificates.ca_file)}
    assert (await api.post("/endpoints", till)).status == 201
    database.execute("select setval('cdc_bridge.change_seq_seq', %s, false)", (NUMBER,))
    database.execute("insert into reservations (id, cust_id, reference) values ('R', 'C', 1)")
    recorded = f"select count(*) from cdc_bridge.delivery where seq = {NUMBER} and state = 'delivered'"
    await until(lambda: database.value(recorded) == 2, "it is delivered to both endpoints")
    database.execute(KEEP_TILL)
    process = await asyncio.create_subprocess_exec(
        SCHEMATHESIS, "run", f"{api.url}{PREFIX}/openapi.json",
        "--header", f"Authorization: Bearer {API_TOKEN}",
        "--checks", "all", "--exclude-checks", "positive_data_acceptance,ignored_auth",
        "--max-examples", str(EXAMPLES), "--generation-deterministic", "--no-shrink", "--no-color",
        cwd=tmp_path, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
    )  # fmt: skip
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert f"Tested: {len(OPERATIONS) - 1}" in output.decode(), output.decode()  # The document itself is left out.
    assert not [line for line in api_bridge.log if line["level"] == "error"]
