"""compose/: what the rules and the dashboard ask for exists, and everything that is provisioned can be found."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from proxy.config import load_config
from proxy.metrics import names

ROOT = Path(__file__).parents[3]
COMPOSE = ROOT / "compose"
KNOWN = names() | set(re.findall(r"`(pgveil_auditor_\w+)", (ROOT / "docs" / "supervision.md").read_text(encoding="utf-8")))
RULES = yaml.safe_load((COMPOSE / "prometheus" / "pgveil.rules.yml").read_text(encoding="utf-8"))
DASHBOARDS = {p.name: json.loads(p.read_text(encoding="utf-8")) for p in (COMPOSE / "grafana" / "dashboards").glob("*.json")}


def expressions() -> Iterator[tuple[str, str]]:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            yield rule["alert"], rule["expr"]
    for name, dashboard in DASHBOARDS.items():
        for panel in dashboard["panels"]:
            for target in panel.get("targets", ()):
                yield f"{name}: {panel['title']}", target["expr"]


@pytest.mark.parametrize(("where", "expression"), [pytest.param(w, e, id=w) for w, e in expressions()])
def test_every_metric_exists(where: str, expression: str) -> None:
    asked = set(re.findall(r"\bpgveil_\w+", expression))
    assert asked or "process_" in expression or "up{" in expression
    for name in asked:
        assert name in KNOWN or re.sub(r"_(bucket|sum|count)$", "", name) in KNOWN, name


def test_rules_say_what_is_wrong_and_for_whom() -> None:
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert rule["labels"]["severity"] in ("page", "ticket") or "{{" in rule["labels"]["severity"]
            assert rule["annotations"]["summary"]


def test_every_rule_is_tried_by_promtools_test() -> None:
    tried = (COMPOSE / "prometheus" / "pgveil.test.yml").read_text(encoding="utf-8")
    for group in RULES["groups"]:
        for rule in group["rules"]:
            assert f'alertname="{rule["alert"]}"' in tried


def test_panels_have_a_place_of_their_own_and_a_source_that_is_provisioned() -> None:
    provisioned = yaml.safe_load((COMPOSE / "grafana/provisioning/datasources/prometheus.yaml").read_text())["datasources"]
    uids = {source["uid"] for source in provisioned}
    assert DASHBOARDS
    for dashboard in DASHBOARDS.values():
        panels = dashboard["panels"]
        assert len({p["id"] for p in panels}) == len(panels)
        taken = set()
        for panel in panels:
            at = panel["gridPos"]
            cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
            assert not cells & taken, panel["title"]
            taken |= cells
            assert panel["type"] == "row" or panel["datasource"]["uid"] in uids


def test_the_auditor_is_scraped() -> None:
    config = load_config(COMPOSE / "pgveil.yaml", {"PGVEIL_CONTROL_PASSWORD": "x"})
    assert config.supervision is not None
    assert config.supervision.http is not None
    assert f"pgveil:{config.supervision.http[1]}" in (COMPOSE / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")


def test_files_that_the_services_mount_are_there() -> None:
    services = yaml.safe_load((COMPOSE / "compose.yaml").read_text(encoding="utf-8"))["services"]
    mounts = [v.split(":")[0] for s in services.values() for v in s.get("volumes", ()) if v.startswith(".")]
    assert len(mounts) >= 8
    for mount in mounts:
        assert (COMPOSE / mount).exists(), mount


def test_the_configuration_is_one() -> None:
    config = load_config(COMPOSE / "pgveil.yaml", {"PGVEIL_CONTROL_PASSWORD": "x"})
    assert config.http is not None
    scrape = (COMPOSE / "prometheus" / "prometheus.yml").read_text(encoding="utf-8")
    assert f"http://pgveil:{config.http.port}/targets" in scrape
    assert f"check port {config.http.port} " in (COMPOSE / "haproxy" / "haproxy.cfg").read_text(encoding="utf-8")


def test_the_image_has_every_file_that_the_package_is_built_from() -> None:
    dockerfile = (COMPOSE / "Dockerfile").read_text(encoding="utf-8")
    copied = {name for line in re.findall(r"^COPY (?!--)(.*)$", dockerfile, flags=re.MULTILINE) for name in line.split()[:-1]}
    assert copied >= {"pyproject.toml", "setup.py", "README.md", "LICENSE", "policies", "rewrite", "proxy"}
