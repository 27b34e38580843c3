"""A real API server takes the chart: nothing is unknown, nothing warned of, and upgrades are possible.

`tests/k8s/tools.sh build` makes the tools from their Go modules (etcd, kube-apiserver, kubectl, helm,
kubeconform); where they are not built, these tests are skipped.
"""

from __future__ import annotations

import copy
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from tests.k8s.charts import CHART, CRDS, FLEET, SETS, parent_of, render, rendered, values_of
from tests.processes import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.ci

SCRIPT = ROOT / "tests" / "k8s" / "tools.sh"
OLDEST, NEWEST = "1.31.14", "1.37.2"
#: Charts as they were released; one is added where a chart changes, none is written again.
FORMER = sorted((ROOT / "tests" / "k8s" / "former").glob("*.tgz"))


def script(*arguments: str) -> str:
    """What the script of the tools prints."""
    ran = subprocess.run(["bash", str(SCRIPT), *arguments], capture_output=True, text=True, check=False)  # noqa: S607
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def tool(name: str) -> str:
    """Path of a tool; the test is skipped where it is not built."""
    path = Path(script("bin")) / name
    if not path.exists():
        pytest.skip(f"{name} is not built; bash tests/k8s/tools.sh build {name}")
    return str(path)


def documents(objects: list[dict[str, Any]]) -> str:
    """Objects as JSON, which is YAML with every text in quotes."""
    return "\n---\n".join(map(json.dumps, objects))


class Cluster:
    """An API server without controllers, and the commands that talk to it.

    Args:
        kubeconfig: of its administrator.
    """

    def __init__(self, kubeconfig: str) -> None:
        self._env = {**os.environ, "KUBECONFIG": kubeconfig}
        self.monitored = False

    def run(self, name: str, *arguments: str, given: str = "") -> str:
        """Run kubectl or helm; an error or a warning is a failure."""
        ran = subprocess.run(
            [tool(name), *arguments], env=self._env, input=given, capture_output=True, text=True, check=False
        )
        assert ran.returncode == 0, ran.stderr
        assert "Warning" not in ran.stderr, ran.stderr
        return ran.stdout

    def namespace(self, name: str) -> str:
        """Make a namespace that refuses what the Pod Security Standard *restricted* refuses."""
        self.run("kubectl", "create", "namespace", name)
        labels = [f"pod-security.kubernetes.io/{what}=restricted" for what in ("enforce", "warn")]
        self.run("kubectl", "label", "namespace", name, *labels)
        return name


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    for name in ("etcd", "kube-apiserver", "kubectl", "helm"):
        tool(name)
    folder = tmp_path_factory.mktemp("api")
    started = script("api-start", str(folder))
    try:
        found = Cluster(re.search(r"KUBECONFIG=(\S+)", started)[1])  # type: ignore[index]
        try:
            found.run("kubectl", "create", "-f", script("crds"))
            found.monitored = True
        except AssertionError:
            # The definitions of the Prometheus operator have to be downloaded.
            found.monitored = False
        yield found
    finally:
        script("api-stop", str(folder))


@pytest.mark.parametrize("case", SETS)
def test_the_server_takes_every_set_of_values_without_a_warning(cluster: Cluster, case: str) -> None:
    """Unknown fields, wrong schedules, selectors that do not match, and privileges would be refused."""
    namespace = cluster.namespace(re.sub(r"\W", "-", case))
    objects = [each for each in rendered(case) if cluster.monitored or each["kind"] not in CRDS]
    flags = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    applied = cluster.run("kubectl", "apply", "-n", namespace, *flags, "-f", "-", given=documents(objects))
    assert len(applied.splitlines()) == len(objects)


def test_the_server_takes_the_chart_as_part_of_another(cluster: Cluster, tmp_path: Path) -> None:
    """With values that a parent chart hands down to all of its parts."""
    namespace = cluster.namespace("part")
    values = {"global": {"region": "north"}, "highwater": {"enabled": True, "fleet": FLEET}}
    objects = render(values, chart=parent_of(tmp_path / "plant"))
    flags = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    applied = cluster.run("kubectl", "apply", "-n", namespace, *flags, "-f", "-", given=documents(objects))
    assert len(applied.splitlines()) == len(objects) > 0


def test_the_server_sees_what_is_wrong(cluster: Cluster) -> None:
    """Else the test above could not fail: a privileged container is warned of, an unknown field refused."""
    namespace = cluster.namespace("wrong")
    (found,) = [each for each in rendered("one process") if each["kind"] == "StatefulSet"]
    flags = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
    for change in ({"privileged": True}, {"priviledged": False}):
        wrong: dict[str, Any] = copy.deepcopy(found)
        wrong["spec"]["template"]["spec"]["containers"][0]["securityContext"].update(change)
        with pytest.raises(AssertionError, match=r"privileged|priviledged"):
            cluster.run("kubectl", "apply", "-n", namespace, *flags, "-f", "-", given=json.dumps(wrong))


def of_another_version(folder: Path) -> Path:
    """Copy the chart of today under the version of another release."""
    shutil.copytree(CHART, folder)
    text = (folder / "Chart.yaml").read_text(encoding="utf-8")
    text = re.sub(r'^(version: |appVersion: ")[\d.]+', r"\g<1>0.0.9", text, flags=re.MULTILINE)
    (folder / "Chart.yaml").write_text(text, encoding="utf-8")
    return folder


@pytest.mark.parametrize("former", [None, *FORMER], ids=lambda path: "today" if path is None else path.stem)
def test_an_upgrade_changes_nothing_that_cannot_be_changed(
    cluster: Cluster, former: Path | None, tmp_path: Path
) -> None:
    """From a chart of before, and of another version, with other values; then it is rescaled and stopped."""
    namespace = cluster.namespace("upgrade" if former is None else f"upgrade-{former.stem.replace('.', '-')}")
    chart = former or of_another_version(tmp_path / "highwater")
    fleet = tmp_path / "fleet.toml"
    fleet.write_text(FLEET, encoding="utf-8")
    common = ["--namespace", namespace, "--set-file", f"fleet={fleet}", "--set", "backup.enabled=true"]
    cluster.run("helm", "install", "pumps", str(chart), *common, "--set", "store.create=true")
    fleet.write_text(FLEET + "\n# changed\n", encoding="utf-8")
    for change in ("processes=4", "running=false", "restore.backup=20261127T021700Z", "metrics.port=9000"):
        cluster.run("helm", "upgrade", "pumps", str(CHART), *common, "--set", change)
    said = cluster.run("kubectl", "get", "-n", namespace, "statefulset", "-o", "yaml")
    (found,) = yaml.safe_load(said)["items"]
    assert found["metadata"]["labels"]["helm.sh/chart"] == "highwater-0.1.0"
    cluster.run("helm", "uninstall", "pumps", "--namespace", namespace)
    kept = yaml.safe_load(cluster.run("kubectl", "get", "-n", namespace, "pvc", "-o", "yaml"))["items"]
    assert [each["metadata"]["name"] for each in kept] == ["pumps-highwater-backup"]


def test_plain_manifests_are_taken_as_they_are(cluster: Cluster) -> None:
    """`kubectl apply` on the folder, as the README says."""
    if not cluster.monitored:
        pytest.skip("the definitions of the Prometheus operator cannot be downloaded")
    namespace = cluster.namespace("plain")
    cluster.run(
        "kubectl", "apply", "-n", namespace, "--warnings-as-errors", "-f", str(ROOT / "k8s" / "manifests")
    )


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("case", SETS)
def test_kubeconform_finds_nothing(case: str, version: str, tmp_path: Path) -> None:
    """By Kubernetes' own schemas of both versions."""
    schemas = Path(script("schema-dir"))
    if not (schemas / f"v{version}-standalone-strict").is_dir():
        pytest.skip(f"no schemas of {version}; bash tests/k8s/tools.sh schemas {version}")
    path = tmp_path / "objects.yaml"
    path.write_text(documents(rendered(case)), encoding="utf-8")
    skipped = ",".join(sorted(CRDS))
    flags = ["-strict", "-kubernetes-version", version, "-schema-location", str(schemas), "-skip", skipped]
    ran = subprocess.run(
        [tool("kubeconform"), *flags, str(path)], capture_output=True, text=True, check=False
    )
    assert (ran.returncode, ran.stdout) == (0, ""), ran.stdout


@pytest.mark.parametrize("case", SETS)
def test_helm_itself_lints_the_chart_and_renders_the_same(case: str, tmp_path: Path) -> None:
    """The tests render with a library; the command gives the same objects."""
    values = tmp_path / "values.yaml"
    values.write_text(json.dumps(values_of(case)), encoding="utf-8")
    flags = [str(CHART), "--values", str(values)]
    subprocess.run([tool("helm"), "lint", "--strict", *flags], capture_output=True, check=True)
    name = SETS[case][0]
    command = [tool("helm"), "template", name, *flags, "--namespace", "plant", "--kube-version", OLDEST]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found = [each for each in yaml.safe_load_all(ran.stdout) if each]

    def key(each: dict[str, Any]) -> tuple[str, str]:
        return each["kind"], each["metadata"]["name"]

    assert sorted(found, key=key) == sorted(rendered(case), key=key)
