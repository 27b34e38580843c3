"""The Helm chart: every set of values renders to valid objects, and known mistakes of charts are not made."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING, Any

import helm_python
import pytest
import yaml

from dataflows.exporter import reference
from dataflows.fleet import load
from tests.commands import assert_parses
from tests.conftest import ROOT
from tests.k8s import dashboards
from tests.k8s.charts import (
    CHART,
    CRDS,
    FLEET,
    NEWEST,
    OLDEST,
    SETS,
    container,
    only,
    parent_of,
    pod_templates,
    render,
    rendered,
    values_of,
)
from tests.k8s.manifests import FOLDER, manifests

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("case", SETS)
def test_lint_has_nothing_to_say(case: str) -> None:
    """Neither an error nor a warning, for every set of values."""
    report = helm_python.lint(CHART, values_of(case), strict=True, kube_version=f"v{OLDEST}.0")
    assert report["total_charts_linted"] == 1
    assert [each for each in report["messages"] if each["severity"] > 1] == []
    assert report["errors"] == []


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", SETS)
def test_objects_are_valid_in_the_oldest_and_the_newest_kubernetes(case: str, version: str) -> None:
    """By the schemas of both, with no unknown field."""
    import kubernetes_validate  # noqa: PLC0415 - takes 1.5 s, in the one worker of these tests

    objects = [each for each in rendered(case) if each["kind"] not in CRDS]
    assert len(objects) > 3
    for each in objects:
        kubernetes_validate.validate(each, version, strict=True)


@pytest.mark.parametrize("case", SETS)
def test_every_command_of_a_pod_is_taken_by_the_program(case: str) -> None:
    """The command line of the fleet, of a backup, a restore and a replay."""
    for template in pod_templates(rendered(case)):
        for each in template["spec"]["containers"]:
            assert_parses([*each["command"], *each["args"]])


@pytest.mark.parametrize("case", SETS)
def test_pods_have_no_privilege(case: str) -> None:
    """Not root, no capability, a root that cannot be written, no token of the API, a seccomp profile."""
    for template in pod_templates(rendered(case)):
        spec = template["spec"]
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert spec["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for each in spec["containers"]:
            assert each["securityContext"] == {
                "allowPrivilegeEscalation": False,
                "readOnlyRootFilesystem": True,
                "capabilities": {"drop": ["ALL"]},
            }
            assert each["resources"]["requests"]
            assert each["resources"]["limits"]["memory"]
        assert not any("hostPath" in volume for volume in spec["volumes"])


def test_the_fleet_of_the_config_map_can_be_loaded(tmp_path: Path) -> None:
    """What is mounted is what was given, to the byte."""
    data = only(rendered("one process"), "ConfigMap")["data"]
    (tmp_path / "fleet.toml").write_text(data["fleet.toml"], encoding="utf-8")
    assert data["fleet.toml"] == FLEET
    assert load(tmp_path / "fleet.toml", environ={}).input.kafka is not None


def test_a_changed_fleet_restarts_the_pod() -> None:
    """Its digest is an annotation of the pod."""
    first, second = (
        only(render({"fleet": text}), "StatefulSet")["spec"]["template"]["metadata"]["annotations"]
        for text in (FLEET, FLEET + "\n# changed\n")
    )
    assert first != second


def test_all_processes_run_in_one_pod_that_keeps_one_volume() -> None:
    """The partitions of a store are of one moment only as a whole, so they are on one volume."""
    objects = rendered("many processes")
    spec = only(objects, "StatefulSet")["spec"]
    assert spec["replicas"] == 1
    assert [each["spec"]["accessModes"] for each in spec["volumeClaimTemplates"]] == [["ReadWriteOnce"]]
    assert spec["persistentVolumeClaimRetentionPolicy"] == {"whenDeleted": "Retain", "whenScaled": "Retain"}
    arguments = container(objects)["args"]
    assert arguments[arguments.index("--processes") + 1] == "4"
    assert [port["containerPort"] for port in container(objects)["ports"]] == [9464, 9465, 9466, 9467]


def test_a_missing_store_is_created_only_by_the_first_installation() -> None:
    """An emptied volume is an error of the pod, and an upgrade that would create a store is refused."""
    assert "--existing" in container(rendered("one process"))["args"]
    first = {"fleet": FLEET, "store": {"create": True}}
    assert "--existing" not in container(render(first))["args"]
    with pytest.raises(helm_python.HelmError, match=r"store\.create: only for the first installation"):
        render(first, upgrade=True)


def test_a_stop_has_time_for_a_snapshot() -> None:
    """SIGTERM is handled, and the grace period is longer than the longest epoch and its snapshot."""
    spec = only(rendered("many processes"), "StatefulSet")["spec"]["template"]["spec"]
    assert spec["shareProcessNamespace"] is True
    assert spec["terminationGracePeriodSeconds"] >= 90
    for wrong in ({"terminationGracePeriodSeconds": 30}, {"epoch": "10m"}, {"epoch": "61s"}):
        with pytest.raises(helm_python.HelmError):
            render({"fleet": FLEET, **wrong})


def test_probes_ask_the_endpoint_of_the_first_process() -> None:
    """A long check of the store is no failure: the startup probe gives it half an hour."""
    found = container(rendered("many processes"))
    paths = {"startupProbe": "/startupz", "livenessProbe": "/livez", "readinessProbe": "/readyz"}
    for probe, path in paths.items():
        assert found[probe]["httpGet"] == {"path": path, "port": "metrics-0"}
    assert found["startupProbe"]["periodSeconds"] * found["startupProbe"]["failureThreshold"] >= 1800


def test_a_pod_that_cannot_start_can_be_upgraded_and_found() -> None:
    """Parallel management replaces a broken pod; the Service names a pod before it is ready."""
    objects = rendered("one process")
    assert only(objects, "StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"
    service = only(objects, "Service")["spec"]
    assert (service["clusterIP"], service["publishNotReadyAddresses"]) == ("None", True)
    assert only(objects, "StatefulSet")["spec"]["serviceName"] == only(objects, "Service")["metadata"]["name"]


@pytest.mark.parametrize("case", SETS)
def test_what_cannot_be_changed_holds_no_version(case: str) -> None:
    """Neither selectors nor the template of the volume have labels that an upgrade changes."""
    for each in rendered(case):
        spec = each.get("spec", {})
        fixed = [spec.get("selector", {}), spec.get("volumeClaimTemplates", [])]
        assert not re.search(r"helm\.sh/chart|/version", json.dumps(fixed)), each["kind"]


@pytest.mark.parametrize("case", SETS)
def test_no_name_of_a_release_is_written_into_the_chart(case: str) -> None:
    """Two releases in one namespace share no name; all names are those of DNS, and begin with a letter."""
    names = {(each["kind"], each["metadata"]["name"]) for each in rendered(case)}
    others = {(each["kind"], each["metadata"]["name"]) for each in render(values_of(case), "other")}
    assert not names & others
    for _, name in names:
        assert re.fullmatch(r"[a-z]([-a-z0-9]{0,50}[a-z0-9])?", name)


def test_numbers_stay_text() -> None:
    """Names, labels, annotations, variables and tags that look like numbers, or like true."""
    for each in rendered("numeric names"):
        for key in ("labels", "annotations"):
            assert all(isinstance(value, str) for value in (each["metadata"].get(key) or {}).values())
    found = container(rendered("numeric names"))
    assert {each["name"]: each["value"] for each in found["env"]}["DEBUG"] == "true"
    assert found["image"] == "highwater:1.10"


@pytest.mark.parametrize(
    "wrong",
    [
        {"image": {"tag": 1.1}},
        {"env": {"DEBUG": True}},
        {"env": {"BYTEWAX_DATAFLOW_API_ENABLED": "1"}},
        {"processses": 2},
        {"processes": 0},
        {"store": {"parts": 4}},
        {"backup": {"enabled": True, "schedule": "daily"}},
        {"restore": {"backup": "20261127T021700Z"}},
        {"restore": {"backup": "../escape"}, "backup": {"enabled": True}},
        {"replay": {"enabled": True}},
        {"fleet": ""},
    ],
)
def test_a_wrong_value_is_refused(wrong: dict[str, Any]) -> None:
    """By the schema, or by a message that names the key."""
    with pytest.raises(helm_python.HelmError, match=rf"{next(iter(wrong))}|BYTEWAX_"):
        render({"fleet": FLEET, **wrong})


def test_a_parent_chart_may_hand_down_its_own_values(tmp_path: Path) -> None:
    """``global`` and the condition ``enabled`` are no mistakes; the chart renders as part of another."""
    parent = parent_of(tmp_path / "plant")
    values = {"global": {"region": "north"}, "highwater": {"enabled": True, "fleet": FLEET}}
    objects = render(values, chart=parent)
    assert container(objects)["command"][-1] == "/etc/highwater/fleet.toml"
    assert render({**values, "highwater": {"enabled": False, "fleet": FLEET}}, chart=parent) == []


def test_a_restore_stops_the_fleet_and_its_backups() -> None:
    """Its job cannot run beside the fleet, since both would hold the store."""
    objects = rendered("backup and restore")
    assert only(objects, "StatefulSet")["spec"]["replicas"] == 0
    assert only(objects, "CronJob")["spec"]["suspend"] is True
    (job,) = only(objects, "Job", f"restore-{_digest('20261127T021700Z')}")["spec"]["template"]["spec"][
        "containers"
    ]
    assert job["args"][:3] == ["/backup/20261127T021700Z", "/var/lib/highwater/store", "--replace"]
    claims = {each["name"]: each.get("persistentVolumeClaim") for each in _volumes(objects)}
    assert claims["data"] == {"claimName": "data-pumps-highwater-0"}


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _volumes(objects: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return only(objects, "Job")["spec"]["template"]["spec"]["volumes"]


def test_a_backup_runs_where_the_volume_is() -> None:
    """The volume can be mounted on one node only, that of the fleet; the backups outlive the release."""
    objects = render({"fleet": FLEET, "backup": {"enabled": True}})
    job = only(objects, "CronJob")["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    (term,) = job["jobTemplate"]["spec"]["template"]["spec"]["affinity"]["podAffinity"][
        "requiredDuringSchedulingIgnoredDuringExecution"
    ]
    labels = only(objects, "StatefulSet")["spec"]["template"]["metadata"]["labels"]
    assert term["topologyKey"] == "kubernetes.io/hostname"
    assert term["labelSelector"]["matchLabels"].items() <= labels.items()
    claim = only(objects, "PersistentVolumeClaim")
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize("case", SETS)
def test_the_network_policy_covers_every_pod_and_opens_metrics_only(case: str) -> None:
    """Nothing else may be reached, and only names and brokers may be asked."""
    objects = rendered(case)
    policy = only(objects, "NetworkPolicy")["spec"]
    for template in pod_templates(objects):
        assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
    ports = {port["port"] for rule in policy["ingress"] for port in rule["ports"]}
    assert ports == {port["containerPort"] for port in container(objects)["ports"]}
    assert policy["policyTypes"] == ["Ingress", "Egress"]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} <= {53, 9092, 9093, 9094}


@pytest.mark.parametrize("case", SETS)
def test_there_is_no_disruption_budget(case: str) -> None:
    """For one pod it could only block the drain of a node, or allow what it should prevent."""
    assert "PodDisruptionBudget" not in {each["kind"] for each in rendered(case)}


def test_every_image_has_a_version() -> None:
    """No tag is ``latest``, and a digest takes the place of the tag."""
    assert container(rendered("one process"))["image"] == "highwater:0.1.0"
    assert container(rendered("hardened"))["image"].startswith("registry.plant/highwater@sha256:0a0a")


def test_the_chart_has_the_version_of_the_program() -> None:
    """As in pyproject.toml."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text(encoding="utf-8"))
    assert f'version = "{chart["appVersion"]}"' in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


def test_every_value_is_in_the_schema_and_has_a_default() -> None:
    """What is neither in values.yaml nor handed down by a parent chart is not in the schema."""
    schema = json.loads((CHART / "values.schema.json").read_text(encoding="utf-8"))
    values = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))

    def keys(table: dict[str, Any], path: str = "") -> set[str]:
        found = set()
        for key, each in table.get("properties", {}).items():
            found |= {f"{path}{key}"} | keys(each, f"{path}{key}.")
        return found

    def given(table: dict[str, Any], known: set[str], path: str = "") -> set[str]:
        found = set()
        for key, each in table.items():
            found.add(f"{path}{key}")
            if isinstance(each, dict) and any(name.startswith(f"{path}{key}.") for name in known):
                found |= given(each, known, f"{path}{key}.")
        return found

    known = keys(schema) - {"global", "enabled"}
    assert given(values, known) == known


def test_plain_manifests_are_those_of_the_chart() -> None:
    """``make manifests`` would change nothing."""
    on_disk = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.iterdir()}
    assert on_disk == manifests()


def test_every_alert_has_a_runbook_that_exists() -> None:
    """The anchor of each rule, and of each alert out, is a heading; no heading is left over."""
    rules = yaml.safe_load((CHART / "files" / "rules.yaml").read_text(encoding="utf-8"))
    alerts = [rule for group in rules["groups"] for rule in group["rules"]]
    page = (ROOT / "docs" / "runbooks.md").read_text(encoding="utf-8")
    headings = re.findall(r"^## (\S+)$", page, re.MULTILINE)
    source = (ROOT / "dataflows" / "notify" / "notices.py").read_text(encoding="utf-8")
    sent = set(re.findall(r'_notice\(\s*"(Highwater\w+)"', source))
    assert len(sent) == 4
    assert sorted([*(rule["alert"] for rule in alerts), *sent]) == sorted(headings)
    for rule in alerts:
        assert rule["annotations"]["runbook_url"] == f"docs/runbooks.md#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_runbooks_are_where_the_values_say() -> None:
    """``metrics.rules.runbooks`` takes the place of the page in the repository."""
    text = json.dumps(only(rendered("monitoring"), "PrometheusRule"))
    assert "https://wiki/runbooks#highwaternocommit" in text
    assert "docs/runbooks.md" not in text


def test_every_metric_of_a_rule_exists() -> None:
    """A rule on a metric that was renamed would never fire."""
    text = (CHART / "files" / "rules.yaml").read_text(encoding="utf-8")
    names = set(re.findall(r"\bhighwater_\w+", text))
    assert len(names) > 8
    assert {name for name in names if f"`{name}`" not in reference()} == set()


def test_dashboards_are_those_of_their_panels() -> None:
    """``make manifests`` would change nothing; each is a ConfigMap with the label that Grafana looks for."""
    on_disk = {path.stem: path.read_text(encoding="utf-8") for path in dashboards.FOLDER.iterdir()}
    assert on_disk == {name: dashboards.dashboard(name) for name in dashboards.DASHBOARDS}
    maps = [each for each in rendered("monitoring") if each["kind"] == "ConfigMap"]
    found = [each for each in maps if each["metadata"]["labels"].get("grafana_dashboard") == "1"]
    assert {key: value for each in found for key, value in each["data"].items()} == {
        f"{name}.json": text for name, text in on_disk.items()
    }


def test_compose_mounts_what_is_there_and_listens_on_loopback() -> None:
    """Every file that it mounts exists, every image has a version, and no port is open to others."""
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert {"kafka", "prometheus", "alertmanager", "grafana"} == services.keys()
    for each in services.values():
        assert re.search(r":v?\d", each["image"])
        assert all(port.startswith("127.0.0.1:") for port in each["ports"])
        mounted = [volume.partition(":")[0] for volume in each["volumes"]]
        assert all((ROOT / path).exists() for path in mounted if path.startswith("./"))
