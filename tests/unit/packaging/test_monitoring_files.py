"""The alert rules and the dashboard name metrics that are there, and the rules fire when they ought to."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest

from cdc_bridge.metrics import SERIES, exposition
from cdc_bridge.runtime.metrics_collector import HealthCollector
from tests.support.overviews import NO_ENDPOINT

SHARE = Path(str(files("cdc_bridge") / "packaging"))
RULES = SHARE / "prometheus-alerts.yml"
DASHBOARD = SHARE / "grafana-dashboard.json"
PROMTOOL = shutil.which("promtool")
needs_promtool = pytest.mark.skipif(
    PROMTOOL is None, reason="promtool is not here (Debian: apt-get install prometheus)"
)

# Each series, what it is for so many minutes, and which alerts it brings about by then.
CASES = """
rule_files: [%s]
evaluation_interval: 1m
tests:
  - interval: 1m
    input_series:
      - {series: 'cdc_bridge_build_info{version="1"}', values: '1x30'}
      - {series: 'cdc_bridge_problem{part="capture"}', values: '0x5 1x25'}
      - {series: 'cdc_bridge_problem{part="endpoint"}', values: '0x5 1x25'}
      - {series: 'cdc_bridge_lag_seconds{endpoint="till"}', values: '0x5 400x25'}
      - {series: 'cdc_bridge_lag_seconds{endpoint="paused"}', values: '400x30'}
      - {series: 'cdc_bridge_endpoint_status{endpoint="till",status="failing",instance="a"}', values: '0x5 1x25'}
      - {series: 'cdc_bridge_endpoint_status{endpoint="till",status="failing",instance="b"}', values: '0x5 1x25'}
      - {series: 'cdc_bridge_endpoint_status{endpoint="till",status="paused",instance="a"}', values: '0x30'}
      - {series: 'cdc_bridge_endpoint_status{endpoint="paused",status="paused",instance="a"}', values: '1x30'}
      - {series: 'cdc_bridge_endpoint_status{endpoint="free",status="unassigned",instance="a"}', values: '0x5 1x25'}
      - {series: 'cdc_bridge_endpoint_status{endpoint="_others",status="unassigned",instance="a"}', values: '0x10 7x20'}
      - {series: 'cdc_bridge_endpoint_status{endpoint="_others",status="paused",instance="a"}', values: '1x30'}
      - {series: 'cdc_bridge_lag_seconds{endpoint="_others"}', values: '0x15 360x15'}
    alert_rule_test:
      - {eval_time: 4m, alertname: CdcBridgeProblem, exp_alerts: []}
      - {eval_time: 4m, alertname: CdcBridgeLag, exp_alerts: []}
      - {eval_time: 4m, alertname: CdcBridgeEndpointUnassigned, exp_alerts: []}
      - {eval_time: 10m, alertname: CdcBridgeAbsent, exp_alerts: []}
      - eval_time: 10m
        alertname: CdcBridgeProblem
        exp_alerts:
          - exp_labels: {severity: critical, part: capture}
            exp_annotations:
              summary: "cdc-bridge: problem with capture"
              description: Changes may not be captured or not be delivered. /readyz and cdc-bridge check show the cause and the remedy.
          - exp_labels: {severity: critical, part: endpoint}
            exp_annotations:
              summary: "cdc-bridge: problem with endpoint"
              description: Changes may not be captured or not be delivered. /readyz and cdc-bridge check show the cause and the remedy.
      - eval_time: 10m
        alertname: CdcBridgeLag
        exp_alerts:
          - exp_labels: {severity: critical, endpoint: till}
            exp_annotations:
              summary: "cdc-bridge: till is 6m 40s behind"
              description: See cdc-bridge status, and cdc-bridge endpoint show NAME.
      - {eval_time: 9m, alertname: CdcBridgeEndpointFailing, exp_alerts: []}
      - eval_time: 15m
        alertname: CdcBridgeEndpointFailing
        exp_alerts:
          - exp_labels: {severity: warning, endpoint: till}
            exp_annotations:
              summary: "cdc-bridge: till is failing"
              description: Deliveries are retried and none is lost. cdc-bridge endpoint list --status failing says why, cdc-bridge endpoint test NAME shows the response.
      - eval_time: 10m
        alertname: CdcBridgeEndpointUnassigned
        exp_alerts:
          - exp_labels: {severity: critical, endpoint: free}
            exp_annotations:
              summary: "cdc-bridge: free is unassigned"
              description: No live daemon delivers to it. See cdc-bridge endpoint list --status unassigned.
      - eval_time: 20m
        alertname: CdcBridgeEndpointUnassigned
        exp_alerts:
          - exp_labels: {severity: critical, endpoint: free}
            exp_annotations:
              summary: "cdc-bridge: free is unassigned"
              description: No live daemon delivers to it. See cdc-bridge endpoint list --status unassigned.
          - exp_labels: {severity: critical, endpoint: _others}
            exp_annotations:
              summary: "cdc-bridge: _others is unassigned"
              description: No live daemon delivers to it. See cdc-bridge endpoint list --status unassigned.
      - eval_time: 20m
        alertname: CdcBridgeLag
        exp_alerts:
          - exp_labels: {severity: critical, endpoint: till}
            exp_annotations:
              summary: "cdc-bridge: till is 6m 40s behind"
              description: See cdc-bridge status, and cdc-bridge endpoint show NAME.
          - exp_labels: {severity: critical, endpoint: _others}
            exp_annotations:
              summary: "cdc-bridge: _others is 6m 0s behind"
              description: See cdc-bridge status, and cdc-bridge endpoint show NAME.
  - interval: 1m
    input_series:
      - {series: 'something_else', values: '1x30'}
    alert_rule_test:
      - eval_time: 5m
        alertname: CdcBridgeAbsent
        exp_alerts:
          - exp_labels: {severity: critical}
            exp_annotations:
              summary: No cdc-bridge daemon can be scraped
              description: Nothing is delivered without a daemon; changes are kept in the change log. See systemctl status cdc-bridge.
"""  # noqa: E501


@pytest.fixture(scope="module")
def known() -> set[str]:
    """The names of all series that a daemon shows."""
    SERIES.of("named-here")
    try:
        text = exposition(HealthCollector(NO_ENDPOINT)).decode()
    finally:
        SERIES.forget("named-here")
    names = set(re.findall(r"^# TYPE (\S+)", text, flags=re.MULTILINE))
    return names | {f"{name}_bucket" for name in names}


def dashboard_expressions() -> list[str]:
    dashboard: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return [target["expr"] for panel in dashboard["panels"] for target in panel["targets"]]


@pytest.mark.parametrize("file", [RULES, DASHBOARD], ids=lambda file: file.name)
def test_every_metric_that_is_named_is_there(file: Path, known: set[str]) -> None:
    named = set(re.findall(r"\b(?:cdc_bridge|process)_[a-z_]+", file.read_text()))
    assert len(named) >= 6
    assert named - known == set()


def test_every_problem_of_readyz_raises_an_alarm() -> None:
    rules = RULES.read_text()
    assert 'part!~"lag|wake-up"' in rules
    assert 'part="wake-up"' in rules
    assert "cdc_bridge_lag_seconds" in rules


@needs_promtool
def test_rules_fire_when_they_ought_to_and_not_before(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES % RULES)
    assert PROMTOOL is not None
    tried = subprocess.run([PROMTOOL, "test", "rules", str(cases)], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stdout + tried.stderr


@needs_promtool
def test_expressions_of_the_dashboard_can_be_read(tmp_path: Path) -> None:
    rules = tmp_path / "rules.json"
    names = [
        {"record": f"tried:{number}", "expr": re.sub(r"\$__rate_interval", "5m", expression)}
        for number, expression in enumerate(dashboard_expressions())
    ]
    rules.write_text(json.dumps({"groups": [{"name": "tried", "rules": names}]}))
    assert PROMTOOL is not None
    tried = subprocess.run([PROMTOOL, "check", "rules", str(rules)], capture_output=True, text=True, check=False)
    assert tried.returncode == 0, tried.stdout + tried.stderr
