"""What a daemon does with endpoints: lease, stop, restart, lose, release, with no database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from shutil import copy

import psycopg
import pytest
from structlog.testing import capture_logs

from cdc_bridge.endpoints.endpoint_state import EndpointState
from cdc_bridge.endpoints.secrets_cipher import NO_KEYS
from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.errors import InstallationError, LeaseLost, ServerReplaced
from cdc_bridge.model import EndpointId
from cdc_bridge.runtime import assignment
from cdc_bridge.runtime.supervisor import RESTART_AFTER_SECONDS
from cdc_bridge.tasks import end
from tests.support.certificates import Certificates
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.scripted import LEASE_SECONDS, SERVER, TILL, Daemon, Released, listed

BAR = listed(2, "bar")
BAD_URL = {"url": "ftp://till.example"}


async def test_daemon_that_is_alone_leases_all_free_endpoints_at_once(daemon: Daemon) -> None:
    daemon.store.listed = [listed(number, f"e{number}") for number in range(5)]
    await daemon.coordinator.look()
    assert len(daemon.names) == 5
    assert all(leased.lease.valid for leased in daemon.supervisor.leased)


async def test_free_endpoints_are_leased_half_of_them_at_a_time_beside_another_daemon(daemon: Daemon) -> None:
    daemon.store.listed, daemon.store.others = [listed(), BAR], 1
    await daemon.coordinator.look()
    assert daemon.names == ["till"]
    await daemon.coordinator.look()
    assert daemon.names == ["bar", "till"]


async def test_leases_are_renewed_together_and_not_acquired_again(daemon: Daemon) -> None:
    pipelines = await daemon.lease(listed(), BAR)
    (delivering,) = daemon.delivering
    delivering.registration.renew(asked_at=0.0, lease_seconds=0.0)
    assert not daemon.leased("till").lease.valid
    await daemon.coordinator.look()
    assert daemon.leased("till").lease.valid
    assert daemon.leased("bar").lease.valid
    assert daemon.pipelines == {"till": [pipelines[0]], "bar": [pipelines[1]]}
    assert daemon.leased("till").lease.fencing_token == 1


async def test_endpoint_without_anything_to_deliver_has_no_pipeline(daemon: Daemon) -> None:
    daemon.store.listed = [listed()]
    await daemon.coordinator.look()
    assert daemon.leased("till").pipeline is None
    assert daemon.delivering[0].added == [daemon.leased("till")]
    assert daemon.supervisor.active == []


async def test_pipeline_that_has_nothing_to_deliver_any_more_ends_and_the_lease_stays(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    pipeline.rest()
    await daemon.supervisor.ended()
    assert not pipeline.open
    assert daemon.leased("till").pipeline is None
    await daemon.coordinator.look()
    assert daemon.names == ["till"]
    assert daemon.store.releases == []
    assert await daemon.activate("till") is not pipeline


async def test_endpoint_leased_elsewhere_is_left_alone(daemon: Daemon) -> None:
    daemon.store.listed, daemon.store.elsewhere = [listed()], {EndpointId(1)}
    await daemon.coordinator.look()
    assert daemon.names == []


async def test_endpoint_that_another_daemon_releases_is_leased(daemon: Daemon) -> None:
    daemon.store.listed, daemon.store.elsewhere = [listed()], {EndpointId(1)}
    await daemon.coordinator.look()
    daemon.store.elsewhere = set()
    await daemon.coordinator.look()
    assert daemon.names == ["till"]
    assert daemon.store.lists == 1


async def test_endpoints_of_a_daemon_that_is_not_live_any_more_are_leased_at_the_next_look(daemon: Daemon) -> None:
    daemon.store.listed, daemon.store.elsewhere, daemon.store.not_live = [listed()], {EndpointId(1)}, [17]
    await daemon.coordinator.look()
    assert daemon.store.ended == [17]
    assert daemon.coordinator._next_look_in_seconds < 1
    await daemon.coordinator.look()
    assert daemon.names == ["till"]


async def test_daemon_that_cannot_be_ended_as_somebody_locks_its_endpoint_is_no_reason_to_hurry(daemon: Daemon) -> None:
    for hurries in (True, False, False):
        daemon.store.not_live = [17]
        await daemon.coordinator.look()
        assert (daemon.coordinator._next_look_in_seconds < 1) == hurries
    daemon.store.stuck_sessions = 1  # They were ended now, so that something changes.
    daemon.store.not_live = [17]
    await daemon.coordinator.look()
    assert daemon.coordinator._next_look_in_seconds < 1


async def test_sessions_of_a_stuck_daemon_that_were_ended_are_logged(daemon: Daemon) -> None:
    await daemon.lease(listed())
    daemon.store.not_live, daemon.store.stuck_sessions = [17], 2
    with capture_logs() as logs:
        await daemon.coordinator.look()
        await daemon.coordinator.look()
    assert [(line["event"], line["sessions"]) for line in logs] == [("sessions of an expired lease ended", 2)]


async def test_it_looks_when_another_daemon_may_have_ended(daemon: Daemon) -> None:
    daemon.store.others, daemon.store.next_end_in_seconds = 1, 3.0
    await daemon.coordinator.look()
    assert daemon.coordinator._next_look_in_seconds == 3.0


async def test_endpoints_are_listed_only_if_somebody_changed_one_and_all_of_them_now_and_then(daemon: Daemon) -> None:
    await daemon.lease(listed(), BAR)
    for _ in range(5):
        await daemon.coordinator.look()
    assert (daemon.store.lists, daemon.store.full_lists) == (1, 1)
    daemon.store.listed = [listed(row={"max_in_flight": 1}), BAR]
    await daemon.coordinator.look()
    assert (daemon.store.lists, daemon.store.full_lists) == (2, 1)
    daemon.now += 600
    await daemon.coordinator.look()
    assert (daemon.store.lists, daemon.store.full_lists) == (3, 2)


async def test_crashed_endpoint_is_restarted_after_a_pause_while_the_other_goes_on(daemon: Daemon) -> None:
    crashing, other = await daemon.lease(listed(), BAR)
    with capture_logs() as logs:
        crashing.crash(ZeroDivisionError())
        released = await daemon.store.wait_for_release(1)
    assert released == Released(EndpointId(1), 1, "delivery task crashed and will restart: ZeroDivisionError", False)
    assert [line["endpoint"] for line in logs if line["event"] == "delivery task crashed"] == ["till"]
    assert not crashing.open
    await daemon.coordinator.look()
    assert daemon.names == ["bar"]
    daemon.now += RESTART_AFTER_SECONDS - 0.1
    await daemon.coordinator.look()
    assert daemon.names == ["bar"]
    daemon.now += 0.1
    await daemon.coordinator.look()
    assert daemon.names == ["bar", "till"]
    assert daemon.pipelines["bar"] == [other]
    assert daemon.leased("till").lease.fencing_token == 3


async def test_changed_definition_restarts_just_that_endpoint(daemon: Daemon) -> None:
    before, other = await daemon.lease(listed(), BAR)
    daemon.store.listed = [listed(row={"max_in_flight": 1}), BAR]
    await daemon.coordinator.look()
    assert await daemon.store.wait_for_release(1) == Released(EndpointId(1), 1, None, False)
    assert before.finished
    await daemon.coordinator.look()
    assert (await daemon.activate("till")).endpoint.max_in_flight == 1
    assert daemon.pipelines["bar"] == [other]
    assert not other.stopped.is_set()


async def test_endpoint_that_somebody_resumes_is_probed_once_and_goes_on(daemon: Daemon) -> None:
    resumed, other = await daemon.lease(listed(resumed_at="yesterday"), BAR)
    assert (resumed.probes, other.probes) == (0, 0)
    for _ in range(2):
        daemon.store.listed = [listed(resumed_at="now"), BAR]
        await daemon.coordinator.look()
    assert (resumed.probes, other.probes) == (1, 0)
    assert daemon.pipelines == {"till": [resumed], "bar": [other]}


async def test_endpoint_without_a_pipeline_may_be_resumed(daemon: Daemon) -> None:
    daemon.store.listed = [listed()]
    await daemon.coordinator.look()
    daemon.store.listed = [listed(resumed_at="now")]
    await daemon.coordinator.look()
    assert daemon.names == ["till"]


async def test_lost_registration_ends_all_pipelines_at_once_and_releases_nothing(daemon: Daemon) -> None:
    pipelines = await daemon.lease(listed(), BAR)
    for pipeline in pipelines:
        pipeline.requests_end.clear()
    daemon.store.registered, daemon.store.elsewhere = False, {EndpointId(1), EndpointId(2)}
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.names == []
    assert not any(pipeline.finished or pipeline.open for pipeline in pipelines)
    assert daemon.store.releases == []
    assert [(line["event"], line["endpoint"]) for line in logs] == [
        ("endpoint lease lost", "till"),
        ("endpoint lease lost", "bar"),
    ]


async def test_daemon_that_lost_its_registration_leases_anew_under_another_one(daemon: Daemon) -> None:
    await daemon.lease(listed(), BAR)
    daemon.store.registered = False
    await daemon.coordinator.look()
    before, after = daemon.delivering
    assert daemon.names == ["bar", "till"]
    assert daemon.leased("till").lease.registration is after.registration
    assert after.running
    assert after.added == daemon.supervisor.leased
    while not before.closed:
        await asyncio.sleep(0)
    assert not before.running
    assert before.dropped


async def test_leases_of_a_replaced_server_are_acquired_anew_once_requests_have_finished(daemon: Daemon) -> None:
    pipeline, resting = await daemon.lease(listed(), BAR)
    pipeline.requests_end.clear()
    resting.rest()
    while daemon.leased("bar").pipeline is not None:
        await asyncio.sleep(0)
    daemon.store.server = replace(SERVER, timeline="00000002")
    with capture_logs() as logs:
        await daemon.coordinator.look()
        await pipeline.stopped.wait()
        assert daemon.leased("bar").lease.server == daemon.store.server
        assert daemon.leased("till").lease.server == SERVER
        assert daemon.pipelines["till"] == [pipeline]
        assert not daemon.delivering[0].closed
        pipeline.requests_end.set()
        while daemon.names == ["bar", "till"]:
            await asyncio.sleep(0)
        await daemon.supervisor.ended()
        await daemon.coordinator.look()
        daemon.now += 1.0
        await daemon.coordinator.look()
    assert daemon.leased("till").lease.server == daemon.store.server
    assert daemon.delivering[0].closed
    assert "endpoint lease lost" not in [line["event"] for line in logs]


async def test_pipeline_that_finds_the_server_replaced_releases_nothing(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    pipeline.crash(ServerReplaced())
    await daemon.supervisor.ended()
    daemon.store.server = replace(SERVER, timeline="00000002")
    await daemon.coordinator.look()
    assert daemon.names == ["till"]
    assert daemon.store.releases == []


async def test_server_that_is_replaced_while_endpoints_are_started_does_not_end_the_daemon(daemon: Daemon) -> None:
    await daemon.coordinator.look()
    daemon.delivering[0].problem_of_adding = ServerReplaced()
    daemon.store.listed = [listed()]
    await daemon.coordinator.look()
    daemon.store.server = replace(SERVER, timeline="00000002")
    await daemon.coordinator.look()
    assert daemon.names == ["till"]
    assert daemon.delivering[1].added == daemon.supervisor.leased


async def test_reader_that_finds_the_registration_ended_leads_to_a_look_and_does_not_end_the_daemon(
    daemon: Daemon,
) -> None:
    await daemon.lease(listed())
    daemon.supervisor.changed.clear()
    daemon.delivering[0].crash(LeaseLost("ended"))
    await daemon.supervisor.changed.wait()
    daemon.store.registered = False
    await daemon.coordinator.look()
    assert daemon.delivering[1].running
    assert daemon.names == ["till"]


async def test_removed_endpoint_ends_at_once_without_a_release_and_loses_its_metrics(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr("cdc_bridge.runtime.lease_coordinator.SERIES.forget", forgotten.append)
    pipeline, other = await daemon.lease(listed(), BAR)
    leased = daemon.leased("till")
    pipeline.requests_end.clear()
    daemon.store.listed = [BAR]
    daemon.announcements.announced.set()  # No row is left that tells that it was removed.
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.names == ["bar"]
    assert not pipeline.open
    assert other.open
    assert daemon.store.releases == []
    assert daemon.delivering[0].left == daemon.delivering[0].forgotten == [leased]
    assert [(line["event"], line["endpoint"]) for line in logs] == [("endpoint removed", "till")]
    assert forgotten == ["till"]


async def test_endpoint_whose_lease_was_lost_as_it_was_removed_is_logged_as_removed(daemon: Daemon) -> None:
    pipeline, _ = await daemon.lease(listed(), BAR)
    pipeline.crash(LeaseLost("there is no such endpoint"))
    while "till" in daemon.names:
        await asyncio.sleep(0)
    daemon.store.listed = [BAR]
    daemon.announcements.announced.set()
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert [(line["event"], line["endpoint"]) for line in logs] == [("endpoint removed", "till")]


async def test_nothing_is_kept_of_endpoints_that_were_removed(daemon: Daemon) -> None:
    for number in range(1, 20):
        row = BAD_URL if number % 2 else {}
        daemon.store.listed = [listed(number, f"e{number}", resumed_at="now", row=row)]
        daemon.announcements.announced.set()
        await daemon.coordinator.look()
    daemon.store.listed = []
    daemon.announcements.announced.set()
    await daemon.coordinator.look()
    await daemon.coordinator.look()
    await daemon.supervisor.ended()
    await daemon.coordinator.look()
    coordinator, supervisor = daemon.coordinator, daemon.supervisor
    kept = [coordinator._resumed_at, coordinator._problems, coordinator._listed, coordinator._definitions._known]
    kept += [supervisor._leased, supervisor._active, supervisor._running, coordinator._endpoint_log._logged]
    assert not any(kept)
    assert not supervisor._releases.endpoint_ids


async def test_pipeline_that_finds_its_lease_lost_releases_nothing(daemon: Daemon) -> None:
    pipeline, _ = await daemon.lease(listed(), BAR)
    daemon.store.ours.pop(EndpointId(1))
    daemon.store.elsewhere = {EndpointId(1)}
    leased = daemon.leased("till")
    pipeline.crash(LeaseLost("leased by another daemon"))
    while "till" in daemon.names:
        await asyncio.sleep(0)
    daemon.announcements.announced.set()
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.names == ["bar"]
    assert [line["event"] for line in logs] == ["endpoint lease lost"]
    assert daemon.store.releases == []
    assert daemon.delivering[0].forgotten == [leased]


@pytest.mark.parametrize("state", ["paused", "disabled"])
async def test_paused_or_disabled_endpoint_is_stopped_and_logged_once(daemon: Daemon, state: str) -> None:
    pipeline, other = await daemon.lease(listed(), BAR)
    daemon.store.listed = [replace(listed(), **{state: True}), BAR]  # type: ignore[arg-type]
    with capture_logs() as logs:
        for _ in range(3):
            await daemon.coordinator.look()
            await daemon.store.wait_for_release(1)
        daemon.store.listed = [listed(), BAR]
        await daemon.coordinator.look()
    assert pipeline.finished
    assert not other.stopped.is_set()
    events = [line["event"] for line in logs]
    assert events == [f"endpoint {state}", "endpoint resumed", "endpoint assigned"]
    assert daemon.names == ["bar", "till"]


async def test_idle_endpoint_that_is_paused_is_released(daemon: Daemon) -> None:
    daemon.store.listed = [listed()]
    await daemon.coordinator.look()
    leased = daemon.leased("till")
    daemon.store.listed = [listed(paused=True)]
    await daemon.coordinator.look()
    assert await daemon.store.wait_for_release(1) == Released(EndpointId(1), 1, None, False)
    assert daemon.delivering[0].left == daemon.delivering[0].forgotten == [leased]


async def test_endpoint_that_responded_with_410_is_disabled_and_not_acquired_before_that_is_recorded(
    daemon: Daemon,
) -> None:
    (pipeline,) = await daemon.lease(listed())
    daemon.store.may_release.clear()
    daemon.supervisor.changed.clear()
    pipeline.withdraw()
    await daemon.supervisor.changed.wait()
    await daemon.coordinator.look()
    assert daemon.names == []
    daemon.store.may_release.set()
    assert await daemon.store.wait_for_release(1) == Released(EndpointId(1), 1, None, True)


async def test_endpoint_is_leased_once_the_file_that_it_names_is_there(
    daemon: Daemon, certificates: Certificates, tmp_path: Path
) -> None:
    ca_file = tmp_path / "ca.pem"
    daemon.store.listed = [listed(row={"ca_file": str(ca_file)})]
    await daemon.coordinator.look()
    assert daemon.names == []
    ((_, problem),) = daemon.store.problems
    assert "ca.pem, which cannot be read" in problem
    copy(certificates.ca_file, ca_file)  # Nobody announces that.
    await daemon.coordinator.look()
    assert daemon.names == ["till"]


async def test_invalid_definition_is_recorded_and_logged_once_and_stops_the_endpoint(daemon: Daemon) -> None:
    pipeline, _ = await daemon.lease(listed(), BAR)
    daemon.store.listed = [listed(row=BAD_URL), BAR]
    with capture_logs() as logs:
        await daemon.coordinator.look()
        assert daemon.store.problems == []
        await daemon.store.wait_for_release(1)
        await daemon.coordinator.look()
        ((endpoint_id, problem),) = daemon.store.problems
        daemon.store.listed = [listed(row=BAD_URL | {"problem": problem}), BAR]
        for _ in range(3):
            daemon.supervisor.changed.set()
            await daemon.coordinator.look()
    assert pipeline.finished
    assert endpoint_id == 1
    assert problem.startswith("url ")
    assert daemon.store.problems == [(endpoint_id, problem)]
    assert [(line["event"], line["problem"]) for line in logs] == [("endpoint invalid", problem)]
    assert daemon.names == ["bar"]


async def test_problem_that_comes_back_is_recorded_again(daemon: Daemon) -> None:
    for _ in range(2):
        daemon.store.listed = [listed(row=BAD_URL)]
        await daemon.coordinator.look()
        daemon.store.listed = [listed()]
        await daemon.coordinator.look()
        assert daemon.names == ["till"]
        daemon.store.listed = [listed(row=BAD_URL)]
        await daemon.coordinator.look()
        await daemon.store.wait_for_release(1)
        await daemon.coordinator.look()
        daemon.store.releases.clear()
    assert len(daemon.store.problems) == 3


async def test_position_of_another_cluster_is_recorded_as_a_problem(daemon: Daemon) -> None:
    daemon.store.listed = [listed(same_cluster=False)]
    await daemon.coordinator.look()
    assert daemon.store.problems == [(1, RESTORED_ELSEWHERE)]
    assert daemon.names == []


async def test_certificate_that_cannot_be_read_any_more_releases_the_lease_and_is_checked_anew_after_a_pause(
    daemon: Daemon, checked: list[str]
) -> None:
    daemon.unreadable = {"till": FileNotFoundError(2, "No such file or directory")}
    daemon.store.listed = [listed(), BAR]
    with capture_logs() as logs:
        await daemon.coordinator.look()
        released = await daemon.store.wait_for_release(1)
    problem = "a certificate file can no longer be read: No such file or directory"
    assert released == Released(EndpointId(1), 1, problem, False)
    assert [line["event"] for line in logs] == ["endpoint invalid", "endpoint assigned"]
    assert daemon.names == ["bar"]
    assert [leased.endpoint.name for leased in daemon.delivering[0].added] == ["bar"]
    assert checked == ["till", "bar"]
    daemon.unreadable = {}
    await daemon.coordinator.look()
    assert checked == ["till", "bar", "till"]
    assert daemon.names == ["bar"]
    daemon.now += RESTART_AFTER_SECONDS
    await daemon.coordinator.look()
    assert daemon.names == ["bar", "till"]


async def test_lack_of_file_descriptors_is_not_charged_to_the_endpoint(daemon: Daemon) -> None:
    daemon.unreadable = {"till": OSError(24, "Too many open files")}
    daemon.store.listed = [listed()]
    with capture_logs() as logs:
        await daemon.coordinator.look()
        released = await daemon.store.wait_for_release(1)
    assert released == Released(EndpointId(1), 1, None, False)
    assert "out of resources" in [line["event"] for line in logs]
    assert daemon.names == []


async def test_endpoints_leased_without_a_response_are_freed_and_leased_again(daemon: Daemon) -> None:
    await daemon.lease(BAR)
    daemon.store.listed, daemon.store.answer_lost = [listed(), BAR], True
    await daemon.coordinator.look()
    assert daemon.store.ours.keys() == {1, 2}
    assert daemon.names == ["bar"]
    await daemon.coordinator.look()
    assert daemon.store.freed == [{2}]
    await daemon.coordinator.look()
    assert daemon.names == ["bar", "till"]
    assert daemon.store.ours == {one.endpoint_id: one.lease.fencing_token for one in daemon.supervisor.leased}


async def test_endpoint_that_is_being_released_is_not_freed_as_unknown(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(BAR)
    daemon.store.may_release.clear()
    daemon.store.listed, daemon.store.answer_lost = [listed(), replace(BAR, paused=True)], True
    await daemon.coordinator.look()
    await pipeline.stopped.wait()
    while daemon.names:
        await asyncio.sleep(0)
    await daemon.coordinator.look()
    assert daemon.store.freed == [{2}]


async def test_endpoint_that_could_not_be_acquired_is_tried_again_soon(daemon: Daemon) -> None:
    daemon.store.listed, daemon.store.locked = [listed(), BAR], {EndpointId(1)}
    await daemon.coordinator.look()
    assert daemon.names == ["bar"]
    assert daemon.coordinator._next_look_in_seconds < 1
    daemon.store.locked = set()
    await daemon.coordinator.look()
    assert daemon.names == ["bar", "till"]


async def test_states_are_reported_once_they_have_changed(daemon: Daemon) -> None:
    pipeline, _ = await daemon.lease(listed(), BAR)
    await daemon.coordinator.look()
    daemon.store.reports.clear()
    await daemon.coordinator.look()
    assert daemon.store.reports == []
    pipeline.state = EndpointState(problem="HTTP 503")
    await daemon.coordinator.look()
    assert daemon.store.reports == [(1, EndpointState(problem="HTTP 503"))]
    daemon.store.failure = psycopg.OperationalError("the server closed the connection")
    pipeline.state = EndpointState(problem="HTTP 500")
    await daemon.coordinator.look()
    daemon.store.failure = None
    await daemon.coordinator.look()
    assert daemon.store.reports[1:] == [(1, EndpointState(problem="HTTP 500"))]


async def test_endpoint_at_rest_is_not_looked_at_again_once_its_last_state_is_reported(daemon: Daemon) -> None:
    pipeline, other = await daemon.lease(listed(), BAR)
    pipeline.rest()
    while daemon.leased("till").pipeline is not None:
        await asyncio.sleep(0)
    await daemon.coordinator.look()
    await daemon.coordinator.look()
    assert [leased.endpoint.name for leased in daemon.supervisor.active] == ["bar"]
    assert other.open


async def test_lost_database_is_logged_once_and_recovers(daemon: Daemon) -> None:
    with capture_logs() as logs:
        daemon.store.failure = psycopg.OperationalError("the server closed the connection")
        for _ in range(3):
            daemon.now += 1
            await daemon.coordinator.look()
        assert daemon.coordinator.database_lost
        assert (daemon.coordinator.looked_at, daemon.coordinator.tried_at) == (1000, 1003)
        daemon.store.failure = None
        await daemon.coordinator.look()
        await daemon.coordinator.look()
    assert [line["event"] for line in logs if line["event"] != "no endpoint"] == ["database lost", "database back"]
    assert not daemon.coordinator.database_lost
    assert daemon.coordinator.looked_at == 1003


async def test_missing_endpoint_is_logged_once_until_there_was_one(daemon: Daemon) -> None:
    with capture_logs() as logs:
        for listed_now in ([], [], [listed()], [listed(row={"max_in_flight": 2})], [], []):
            daemon.store.listed = listed_now
            daemon.announcements.announced.set()
            await daemon.coordinator.look()
    missing = [line for line in logs if line["event"] == "no endpoint"]
    assert [(line["log_level"], line["problem"]) for line in missing] == [
        ("warning", "there is no endpoint, so nothing is delivered")
    ] * 2
    assert "cdc-bridge endpoint add" in missing[0]["remedy"]


async def test_endpoint_that_is_paused_counts_as_one(daemon: Daemon) -> None:
    daemon.store.listed = [listed(paused=True)]
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert [line["event"] for line in logs] == ["endpoint paused"]


async def test_look_again_ends_when_a_look_has_succeeded_and_asks_for_one(daemon: Daemon) -> None:
    daemon.store.failure = psycopg.OperationalError("the server closed the connection")
    await daemon.coordinator.look()
    waiting = asyncio.create_task(daemon.coordinator.look_again())
    await asyncio.sleep(0)
    assert daemon.supervisor.changed.is_set()
    await daemon.coordinator.look()
    assert not waiting.done()
    daemon.store.failure = None
    await daemon.coordinator.look()
    await waiting


async def test_lost_database_is_left_to_running_pipelines_to_log(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    daemon.store.failure = psycopg.OperationalError("the server closed the connection")
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.coordinator.database_lost
    assert logs == []
    assert pipeline.open


async def test_announcement_has_the_schedules_read_also_if_the_database_was_away_first(daemon: Daemon) -> None:
    await daemon.lease(listed(), BAR)
    await daemon.coordinator.look()
    assert daemon.delivering[0].schedule_looks == 0
    daemon.announcements.announced.set()
    daemon.store.failure = psycopg.OperationalError("the server closed the connection")
    await daemon.coordinator.look()
    daemon.store.failure = None
    await daemon.coordinator.look()
    await daemon.coordinator.look()
    assert daemon.delivering[0].schedule_looks == 1


async def test_refused_statement_is_an_installation_error(daemon: Daemon) -> None:
    daemon.store.failure = psycopg.errors.InsufficientPrivilege("permission denied for table endpoint")
    with pytest.raises(InstallationError, match="permission denied for table endpoint"):
        await daemon.coordinator.look()


async def test_giving_up_releases_only_that_endpoint_and_leases_nothing_more(daemon: Daemon) -> None:
    _, other = await daemon.lease(listed(), BAR)
    await daemon.coordinator.give_up(daemon.leased("till"), "stuck: no progress for 120 s")
    assert daemon.store.releases == [Released(EndpointId(1), 1, "stuck: no progress for 120 s", False)]
    assert not other.stopped.is_set()
    renewals = daemon.store.renewals
    await daemon.coordinator.look()
    assert daemon.store.renewals == renewals


async def test_reload_restarts_just_the_endpoint_whose_certificates_have_changed(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    ca_file.write_text("one")
    declared = replace(TILL, ca_file=ca_file)
    daemon = Daemon(declared)
    in_settings = listed(in_settings=True)
    pipeline, other = await daemon.lease(in_settings, BAR)
    daemon.supervisor.changed.clear()
    daemon.coordinator.reload(declared, allow_http=False, cipher=NO_KEYS)
    assert daemon.supervisor.changed.is_set()
    await daemon.coordinator.look()
    assert not daemon.leased("till").stopping

    ca_file.write_text("two")
    daemon.coordinator.reload(declared, allow_http=False, cipher=NO_KEYS)
    await daemon.store.wait_for_release(1)
    await daemon.coordinator.look()
    assert await daemon.activate("till") is not pipeline
    assert daemon.pipelines["bar"] == [other]
    await daemon.supervisor.close()


async def test_many_endpoints_are_leased_in_parts_with_a_renewal_before_each(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(assignment, "ACQUIRED_AT_ONCE", 2)
    daemon.store.listed = [listed(number) for number in range(1, 8)]
    daemon.store.locked = {EndpointId(1), EndpointId(2), EndpointId(3)}
    for look in range(4):
        assert len(daemon.store.ours) == (0, 0, 1, 3)[look]
        await daemon.coordinator.look()
        assert daemon.store.renewals == look + 1
    assert daemon.store.ours.keys() == {4, 5, 6, 7}
    daemon.store.locked.clear()
    for _ in range(2):
        await daemon.coordinator.look()
    assert daemon.store.ours.keys() == {1, 2, 3, 4, 5, 6, 7}


async def test_reload_checks_every_definition_anew(daemon: Daemon, checked: list[str]) -> None:
    await daemon.lease(listed(), BAR)
    assert checked == ["till", "bar"]
    daemon.coordinator.reload(None, allow_http=False, cipher=NO_KEYS)
    await daemon.coordinator.look()
    assert checked == ["till", "bar", "till", "bar"]
    await daemon.coordinator.look()
    assert len(checked) == 4


class Running:
    """A coordinator that runs by itself."""

    def __init__(self, daemon: Daemon) -> None:
        self.stopping = asyncio.Event()
        self.task = asyncio.create_task(daemon.coordinator.run(self.stopping))


@pytest.fixture
async def running(daemon: Daemon) -> AsyncIterator[Running]:
    await daemon.lease(listed(), BAR)
    running = Running(daemon)
    await daemon.store.renewed.wait()
    yield running
    await end([running.task])


async def test_stop_finishes_requests_while_leases_are_renewed_and_then_releases_all(
    daemon: Daemon, running: Running
) -> None:
    pipelines = [daemon.pipelines["till"][0], daemon.pipelines["bar"][0]]
    for pipeline in pipelines:
        pipeline.requests_end.clear()
    running.stopping.set()
    for pipeline in pipelines:
        await pipeline.stopped.wait()
    daemon.store.renewed.clear()
    await daemon.store.renewed.wait()
    assert daemon.store.releases == []
    assert daemon.store.unregistered == []
    for pipeline in pipelines:
        pipeline.requests_end.set()
    await running.task
    assert all(pipeline.finished for pipeline in pipelines)
    assert {released.endpoint_id for released in daemon.store.releases} == {1, 2}
    assert daemon.store.unregistered == [1]
    assert daemon.names == []
    assert daemon.delivering[0].closed


async def test_stop_reaches_pipelines_at_once_also_while_a_look_waits_for_the_database(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    looking, may_go_on = asyncio.Event(), asyncio.Event()

    async def slowly() -> None:
        looking.set()
        await may_go_on.wait()

    daemon.store.during_renewal = slowly
    running = Running(daemon)
    await looking.wait()
    running.stopping.set()
    await pipeline.stopped.wait()
    may_go_on.set()
    await running.task
    assert {released.endpoint_id for released in daemon.store.releases} == {1}
    assert daemon.store.unregistered == [1]


async def test_leases_that_are_lost_while_the_daemon_stops_are_logged(daemon: Daemon, running: Running) -> None:
    pipeline = daemon.pipelines["till"][0]
    pipeline.requests_end.clear()
    running.stopping.set()
    await pipeline.stopped.wait()
    await daemon.store.wait_for_release(2)
    daemon.store.registered = False
    with capture_logs() as logs:
        await running.task
    assert [(line["event"], line["endpoint"]) for line in logs] == [("endpoint lease lost", "till")]
    assert daemon.store.unregistered == []


async def test_installation_error_ends_the_daemon_and_the_other_endpoint_is_released(
    daemon: Daemon, running: Running
) -> None:
    daemon.pipelines["till"][0].crash(InstallationError("table cdc_bridge.change is missing"))
    with pytest.raises(InstallationError, match="is missing"):
        await running.task
    assert daemon.pipelines["bar"][0].finished
    assert {released.endpoint_id for released in daemon.store.releases} == {1, 2}


@pytest.mark.parametrize("error", [InstallationError("table cdc_bridge.change is missing"), ZeroDivisionError("?")])
async def test_change_log_that_cannot_be_read_ends_the_daemon_and_the_endpoints_are_released(
    daemon: Daemon, running: Running, error: Exception
) -> None:
    daemon.delivering[0].crash(error)
    with capture_logs(), pytest.raises(type(error)):
        await running.task
    assert all(pipelines[0].finished for pipelines in daemon.pipelines.values())
    assert {released.endpoint_id for released in daemon.store.releases} == {1, 2}
    assert daemon.store.unregistered == [1]


async def test_cancelled_daemon_ends_its_pipelines_and_releases_nothing(daemon: Daemon, running: Running) -> None:
    await end([running.task])
    assert daemon.store.releases == []
    assert not daemon.pipelines["till"][0].finished
    assert not daemon.pipelines["till"][0].open
    assert daemon.delivering[0].closed


@pytest.mark.usefixtures("running")
async def test_announcement_and_changed_state_lead_to_a_look_at_once(daemon: Daemon) -> None:
    assert LEASE_SECONDS > 50  # A look that nothing leads to would take longer than a test may.
    for announce in (daemon.announcements.announced.set, daemon.pipelines["till"][0].state_changed):
        daemon.store.renewed.clear()
        announce()
        await daemon.store.renewed.wait()


@in_virtual_time
async def test_changed_state_leads_to_one_look_and_no_more() -> None:
    daemon = Daemon()
    (pipeline,) = await daemon.lease(listed())
    running = Running(daemon)
    pipeline.state_changed()
    await asyncio.sleep(daemon.coordinator.look_every_seconds)
    looks = daemon.store.renewals
    await asyncio.sleep(10 * daemon.coordinator.look_every_seconds)
    assert looks < daemon.store.renewals <= looks + 10
    running.stopping.set()
    await running.task


@in_virtual_time
async def test_pipelines_that_come_to_rest_lead_to_no_look() -> None:
    daemon = Daemon()
    await daemon.lease(listed(), BAR)
    running = Running(daemon)
    await asyncio.sleep(daemon.coordinator.look_every_seconds)
    looks = daemon.store.renewals
    for _ in range(100):
        await asyncio.sleep(daemon.coordinator.look_every_seconds / 20)
        daemon.pipelines["till"][-1].rest()
        while daemon.leased("till").pipeline is not None:
            await asyncio.sleep(0)
        await daemon.activate("till")
    assert daemon.store.renewals <= looks + 6
    running.stopping.set()
    await running.task


async def test_daemon_recovers_by_itself_when_the_database_is_back(daemon: Daemon) -> None:
    daemon.store.listed = [listed()]
    daemon.store.failure = psycopg.OperationalError("the server closed the connection")
    running = Running(daemon)
    await daemon.store.renewed.wait()
    daemon.store.failure = None
    while not daemon.names:
        daemon.store.renewed.clear()
        await daemon.store.renewed.wait()
        await asyncio.sleep(0)
    running.stopping.set()
    await running.task
