"""What a daemon does with endpoints: lease, stop, restart, lose, release, with no database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from structlog.testing import capture_logs

from cdc_bridge.endpoints.status import RESTORED_ELSEWHERE
from cdc_bridge.errors import InstallationError, LeaseLost, ServerReplaced
from cdc_bridge.model import EndpointId
from cdc_bridge.tasks import end
from tests.unit.pipeline.virtual_time import in_virtual_time
from tests.unit.runtime.scripted import LEASE_SECONDS, SERVER, TILL, Daemon, Released, listed

RESTART_AFTER_SECONDS = 5
BAR = listed(2, "bar")
BAD_URL = {"url": "ftp://till.example"}


async def test_free_endpoints_are_leased_half_of_them_at_a_time(daemon: Daemon) -> None:
    daemon.store.listed = [listed(), BAR]
    await daemon.coordinator.look()
    assert daemon.names == ["till"]
    await daemon.coordinator.look()
    assert daemon.names == ["bar", "till"]
    assert all(leased.lease.valid for leased in daemon.supervisor.leased)


async def test_leased_endpoint_is_renewed_and_not_acquired_again(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    daemon.leased("till").lease.renew(asked_at=0.0, lease_seconds=0.0)
    await daemon.coordinator.look()
    assert daemon.leased("till").lease.valid
    assert daemon.pipelines == {"till": [pipeline]}
    assert daemon.leased("till").lease.fencing_token == 1


async def test_endpoint_leased_elsewhere_is_left_alone(daemon: Daemon) -> None:
    daemon.store.listed = [listed(free=False, lease_ends_in_seconds=9.0)]
    await daemon.coordinator.look()
    assert daemon.names == []


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
    assert daemon.pipeline("till").endpoint.max_in_flight == 1
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


async def test_lost_lease_ends_the_pipeline_at_once_and_releases_nothing(daemon: Daemon) -> None:
    pipeline, other = await daemon.lease(listed(), BAR)
    pipeline.requests_end.clear()
    daemon.store.lost = {EndpointId(1)}
    daemon.store.listed = [listed(free=False), BAR]
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.names == ["bar"]
    assert not pipeline.finished
    assert not pipeline.open
    assert other.open
    assert daemon.store.releases == []
    assert [line["event"] for line in logs] == ["endpoint lease lost"]


async def test_lease_of_a_replaced_server_is_acquired_anew_once_its_requests_have_finished(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    pipeline.requests_end.clear()
    daemon.store.server = replace(SERVER, timeline="00000002")
    with capture_logs() as logs:
        await daemon.coordinator.look()
        await pipeline.stopped.wait()
        assert daemon.pipelines["till"] == [pipeline]
        pipeline.crash(ServerReplaced())
        pipeline.requests_end.set()
        await daemon.store.wait_for_release(1)
        await daemon.coordinator.look()
    assert daemon.leased("till").lease.server == daemon.store.server
    assert "endpoint lease lost" not in [line["event"] for line in logs]


async def test_pipeline_that_finds_the_server_replaced_releases_nothing(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    pipeline.crash(ServerReplaced())
    await daemon.supervisor.ended()
    await daemon.coordinator.look()
    assert daemon.names == ["till"]
    assert daemon.store.releases == []


async def test_removed_endpoint_is_logged_as_removed_and_loses_its_metrics(
    daemon: Daemon, monkeypatch: pytest.MonkeyPatch
) -> None:
    forgotten: list[str] = []
    monkeypatch.setattr("cdc_bridge.runtime.lease_coordinator.forget_endpoint", forgotten.append)
    await daemon.lease(listed(), BAR)
    assert forgotten == []
    daemon.store.lost = {EndpointId(1)}
    daemon.store.listed = [BAR]
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.names == ["bar"]
    assert [(line["event"], line["endpoint"]) for line in logs] == [("endpoint removed", "till")]
    assert forgotten == ["till"]


async def test_pipeline_that_finds_its_lease_lost_releases_nothing(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    pipeline.crash(LeaseLost("leased by another daemon"))
    daemon.store.listed = [listed(free=False)]
    await daemon.supervisor.ended()
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert [line["event"] for line in logs] == ["endpoint lease lost"]
    assert daemon.store.releases == []


async def test_endpoint_released_during_a_renewal_is_not_taken_for_lost(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    leased = daemon.leased("till")
    leased.stopping.set()
    await daemon.store.wait_for_release(1)
    with capture_logs() as logs:
        await daemon.supervisor.lose(leased)
        await daemon.coordinator.look()
    assert pipeline.finished
    assert [line["event"] for line in logs] == ["endpoint assigned"]


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


async def test_endpoint_that_answered_410_is_disabled_and_not_acquired_before_that_is_recorded(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    daemon.store.may_release.clear()
    daemon.supervisor.changed.clear()
    pipeline.withdraw()
    await daemon.supervisor.changed.wait()
    await daemon.coordinator.look()
    assert daemon.names == []
    daemon.store.may_release.set()
    assert await daemon.store.wait_for_release(1) == Released(EndpointId(1), 1, None, True)


async def test_invalid_definition_is_recorded_and_logged_once_and_stops_the_endpoint(daemon: Daemon) -> None:
    pipeline, _ = await daemon.lease(listed(), BAR)
    invalid = listed(row=BAD_URL)
    daemon.store.listed = [invalid, BAR]
    with capture_logs() as logs:
        await daemon.coordinator.look()
        await daemon.store.wait_for_release(1)
        ((name, problem),) = daemon.store.problems
        daemon.store.listed = [listed(row=BAD_URL | {"problem": problem}), BAR]
        await daemon.coordinator.look()
    assert pipeline.finished
    assert name == "till"
    assert problem.startswith("url ")
    assert daemon.store.problems == [(name, problem)]
    assert [(line["event"], line["problem"]) for line in logs] == [("endpoint invalid", problem)]
    assert daemon.names == ["bar"]


async def test_position_of_another_cluster_is_recorded_as_a_problem(daemon: Daemon) -> None:
    daemon.store.listed = [listed(same_cluster=False)]
    await daemon.coordinator.look()
    assert daemon.store.problems == [("till", RESTORED_ELSEWHERE)]
    assert daemon.names == []


async def test_certificate_that_cannot_be_read_any_more_releases_the_lease_and_is_checked_anew_after_a_pause(
    daemon: Daemon, checked: list[str]
) -> None:
    daemon.unreadable = {"till"}
    daemon.store.listed = [listed()]
    with capture_logs() as logs:
        await daemon.coordinator.look()
        released = await daemon.store.wait_for_release(1)
    problem = "a certificate file can no longer be read: No such file or directory"
    assert released == Released(EndpointId(1), 1, problem, False)
    assert [line["event"] for line in logs] == ["endpoint invalid"]
    assert daemon.names == []
    assert len(checked) == 1
    daemon.unreadable = set()
    await daemon.coordinator.look()
    assert len(checked) == 2
    assert daemon.names == []
    daemon.now += RESTART_AFTER_SECONDS
    await daemon.coordinator.look()
    assert daemon.names == ["till"]


async def test_sessions_of_expired_leases_are_ended_only_if_an_endpoint_could_not_be_acquired(daemon: Daemon) -> None:
    await daemon.lease(BAR)
    assert daemon.store.expired == []
    daemon.store.listed = [listed(), BAR]
    daemon.store.locked = {EndpointId(1)}
    daemon.store.expired_sessions = 2
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.store.expired == [{1}]
    assert daemon.coordinator._next_look_in_seconds < 1
    assert [(line["event"], line["sessions"]) for line in logs] == [("sessions of an expired lease ended", 2)]


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
    assert [line["event"] for line in logs] == ["database lost", "database back"]
    assert not daemon.coordinator.database_lost
    assert daemon.coordinator.looked_at == 1003


async def test_lost_database_is_left_to_running_pipelines_to_log(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    daemon.store.failure = psycopg.OperationalError("the server closed the connection")
    with capture_logs() as logs:
        await daemon.coordinator.look()
    assert daemon.coordinator.database_lost
    assert logs == []
    assert pipeline.open


async def test_announcement_has_pipelines_look_at_their_schedules_also_if_the_database_was_away_first(
    daemon: Daemon,
) -> None:
    pipeline, other = await daemon.lease(listed(), BAR)
    await daemon.coordinator.look()
    assert pipeline.schedule_looks == 0
    daemon.announcements.announced.set()
    daemon.store.failure = psycopg.OperationalError("the server closed the connection")
    await daemon.coordinator.look()
    daemon.store.failure = None
    await daemon.coordinator.look()
    await daemon.coordinator.look()
    assert (pipeline.schedule_looks, other.schedule_looks) == (1, 1)


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
    daemon.coordinator.reload(declared, allow_http=False)
    assert daemon.supervisor.changed.is_set()
    await daemon.coordinator.look()
    assert not daemon.leased("till").stopping.is_set()

    ca_file.write_text("two")
    daemon.coordinator.reload(declared, allow_http=False)
    await daemon.store.wait_for_release(1)
    await daemon.coordinator.look()
    assert daemon.pipelines["till"][0] is pipeline
    assert len(daemon.pipelines["till"]) == 2
    assert daemon.pipelines["bar"] == [other]
    await daemon.supervisor.close()


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
    pipelines = [daemon.pipeline("till"), daemon.pipeline("bar")]
    for pipeline in pipelines:
        pipeline.requests_end.clear()
    running.stopping.set()
    for pipeline in pipelines:
        await pipeline.stopped.wait()
    daemon.store.renewed.clear()
    await daemon.store.renewed.wait()
    assert daemon.store.releases == []
    for pipeline in pipelines:
        pipeline.requests_end.set()
    await running.task
    assert all(pipeline.finished for pipeline in pipelines)
    assert {released.endpoint_id for released in daemon.store.releases} == {1, 2}
    assert daemon.names == []


async def test_stop_reaches_pipelines_at_once_also_while_a_look_waits_for_the_database(daemon: Daemon) -> None:
    (pipeline,) = await daemon.lease(listed())
    looking, may_go_on = asyncio.Event(), asyncio.Event()
    renew_and_list = daemon.store.renew_and_list
    daemon.store.listed = [listed(free=False)]

    async def slow_look(*arguments: object, **named: object) -> object:
        looking.set()
        await may_go_on.wait()
        return await renew_and_list(*arguments, **named)  # type: ignore[arg-type]

    daemon.store.renew_and_list = slow_look  # type: ignore[assignment, method-assign]
    running = Running(daemon)
    await looking.wait()
    running.stopping.set()
    await pipeline.stopped.wait()
    may_go_on.set()
    await running.task
    assert [released.endpoint_id for released in daemon.store.releases] == [1]


async def test_lease_that_is_lost_while_the_daemon_stops_is_logged(daemon: Daemon, running: Running) -> None:
    pipeline = daemon.pipeline("till")
    pipeline.requests_end.clear()
    running.stopping.set()
    await pipeline.stopped.wait()
    daemon.store.lost = {EndpointId(1)}
    with capture_logs() as logs:
        await running.task
    assert [(line["event"], line["endpoint"]) for line in logs] == [("endpoint lease lost", "till")]


async def test_installation_error_ends_the_daemon_and_the_other_endpoint_is_released(
    daemon: Daemon, running: Running
) -> None:
    daemon.pipeline("till").crash(InstallationError("table cdc_bridge.change is missing"))
    with pytest.raises(InstallationError, match="is missing"):
        await running.task
    assert daemon.pipeline("bar").finished
    assert {released.endpoint_id for released in daemon.store.releases} == {1, 2}


async def test_cancelled_daemon_ends_its_pipelines_and_releases_nothing(daemon: Daemon, running: Running) -> None:
    await end([running.task])
    assert daemon.names == []
    assert daemon.store.releases == []
    assert not daemon.pipeline("till").finished


@pytest.mark.usefixtures("running")
async def test_announcement_and_changed_state_lead_to_a_look_at_once(daemon: Daemon) -> None:
    assert LEASE_SECONDS > 50  # A look that nothing leads to would take longer than a test may.
    for announce in (daemon.announcements.announced.set, daemon.pipeline("till").state_changed):
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
