"""From a document to manifests: every object is what its definition says, the same each time, and soon."""

from __future__ import annotations

import copy
import time
from pathlib import Path

import pytest
import yaml
from tests.cluster import definitions

from samdrift.cluster.entrance import FORGED
from samdrift.cluster.envoys import controller_configuration
from samdrift.cluster.foreign import read
from samdrift.cluster.manifests import VERSIONS
from samdrift.cluster.queues import manager_configuration
from samdrift.cluster.rendering import ENVOY_GATEWAY, KUEUE, files_of, manifests_of
from samdrift.cluster.traps import traps_in
from samdrift.cluster.watching import dashboard
from samdrift.observe import catalogue
from samdrift.reading import read_document
from samdrift.runtime.environment import Environment

EXAMPLES = sorted((Path(__file__).parents[2] / "examples").glob("cluster-*"))
each_example = pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
PEOPLE = ("/api/v1", "/signin", "/console")
BUILT_IN = ("networking.k8s.io", "rbac.authorization.k8s.io", "apps", "batch", "policy")


def manifests(example, **more):
    return manifests_of(read_document(example), "0.1.0", **more)


def custom(found):
    """Those that a custom resource definition describes."""
    return [m for m in found if (group := VERSIONS[m.body["kind"]].rpartition("/")[0]) and group not in BUILT_IN]


@each_example
def test_every_object_is_what_its_definition_says_with_defaults_and_rules(example):
    found = custom(manifests(example))
    assert len(found) > 25
    assert {m.key: faults for m in found if (faults := definitions.faults(m.body))} == {}


def test_the_check_of_definitions_finds_what_an_api_server_would_refuse():
    found = {m.key: m.body for m in manifests(EXAMPLES[0])}
    service = next(body for key, body in found.items() if key[0] == "LLMInferenceService" and "scaling" in body["spec"])

    def changed(change):
        body = copy.deepcopy(service)
        change(body["spec"])
        return definitions.faults(body)

    assert definitions.faults(service) == []
    assert changed(lambda s: s.update(replicas=1))  # a CEL rule: not beside `scaling`
    assert changed(lambda s: s["scaling"]["keda"].update(idleReplicaCount=5))  # a CEL rule between two fields
    assert changed(lambda s: s["scaling"].update(minReplicas=0))
    assert changed(lambda s: s.update(modell={}))
    assert changed(lambda s: s["model"].pop("uri"))
    assert changed(lambda s: s["router"]["scheduler"].update(replicas="one"))
    gateway = copy.deepcopy(found["SecurityPolicy", "samdrift", "samdrift-desk"])
    gateway["spec"]["targetRefs"][0]["kind"] = "AIGatewayRoute"
    assert definitions.faults(gateway)


@each_example
def test_nothing_in_our_own_output_silently_does_nothing(example):
    assert [str(one) for one in traps_in(read(files_of(manifests(example))))] == []


@each_example
def test_the_same_document_gives_the_same_bytes_and_each_object_stands_once(example):
    first, second = manifests(example), manifests(example)
    assert files_of(first) == files_of(second)
    assert len({m.key for m in first}) == len(first)


@each_example
def test_files_are_whole_and_say_where_each_object_comes_from(example):
    found = manifests(example)
    files = files_of(found)
    top = yaml.safe_load(files["kustomization.yaml"])
    assert set(top["resources"]) == set(files) - {"kustomization.yaml", KUEUE, ENVOY_GATEWAY}
    objects = [body for name in top["resources"] for body in yaml.safe_load_all(files[name])]
    assert len(objects) == len(found)
    for name in top["resources"]:
        assert files[name].count("---\n# ") == len(list(yaml.safe_load_all(files[name])))
    assert yaml.safe_load(files[KUEUE]) == manager_configuration()
    assert yaml.safe_load(files[ENVOY_GATEWAY]) == controller_configuration()


def test_a_region_of_98_members_and_20_models_is_rendered_in_under_two_seconds():
    spec = read_document(EXAMPLES[-1])
    assert (len(spec.organisations), len(spec.models)) == (98, 20)
    began = time.process_time()  # others may use this machine, too
    files = files_of(manifests_of(spec, "0.1.0"))
    assert time.process_time() - began < 2
    assert len(files) > 98


def by_kind(found, kind):
    return {m.body["metadata"]["name"]: m.body for m in found if m.body["kind"] == kind}


def test_each_member_has_a_namespace_that_is_shut_and_a_queue_that_admits_from_it_alone():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    for member in ("aarhus", "randers", "silkeborg", "viborg", "skanderborg"):
        home = f"samdrift-org-{member}"
        mine = [m.body for m in found if m.body["metadata"].get("namespace") == home]
        shut = next(m for m in mine if m["kind"] == "NetworkPolicy" and m["metadata"]["name"] == "nothing")
        assert shut["spec"] == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        queue = by_kind(found, "ClusterQueue")[home]
        assert queue["spec"]["namespaceSelector"] == {"matchLabels": {"kubernetes.io/metadata.name": home}}


def quota(found, queue):
    (group,) = by_kind(found, "ClusterQueue")[queue]["spec"]["resourceGroups"]
    return group["flavors"][0]["resources"][0]


def test_a_replica_takes_as_many_devices_as_its_model_says_unless_the_cluster_says_otherwise(tmp_path):
    text = next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities").read_text()
    before = "chat: {weights: file:weights/chat.gguf, pool: gpu, seats"
    assert before in text
    document = tmp_path / "document.yaml"
    text = text.replace(before, before.replace("gpu,", "gpu, devices: 4,"))
    document.write_text(text.replace("Qwen3-32B, devices: 2", "Qwen3-32B"))
    kinds = by_kind(manifests(document), "LLMInferenceService")
    assert [kinds[name]["spec"]["parallelism"] for name in ("chat", "code")] == [{"tensor": 4}, {"tensor": 2}]
    (main,) = kinds["chat"]["spec"]["template"]["containers"]
    assert main["resources"]["limits"] == {"nvidia.com/gpu": "4"}


def test_guarantee_borrowing_and_lending_become_quotas_and_the_devices_add_up():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    gpu = {"name": "nvidia.com/gpu"}
    assert quota(found, "samdrift-org-aarhus") == {**gpu, "nominalQuota": "4"}
    assert quota(found, "samdrift-org-randers") == {**gpu, "nominalQuota": "2", "borrowingLimit": "4", "lendingLimit": "1"}
    assert quota(found, "samdrift-org-skanderborg") == {**gpu, "nominalQuota": "0", "borrowingLimit": "0"}
    assert quota(found, "samdrift-shared") == {**gpu, "nominalQuota": "5", "borrowingLimit": "8", "lendingLimit": "0"}
    queues = [quota(found, name) for name in by_kind(found, "ClusterQueue")]
    rest = by_kind(found, "Cohort")["samdrift"]["spec"]["resourceGroups"][0]["flavors"][0]["resources"][0]
    assert sum(int(q["nominalQuota"]) for q in [*queues, rest]) == 16


def test_forged_identity_is_taken_off_and_a_desk_that_is_away_lets_nobody_in():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    (clients,) = by_kind(found, "ClientTrafficPolicy").values()
    assert set(clients["spec"]["headers"]["earlyRequestHeaders"]["remove"]) == set(FORGED)
    assert len(FORGED) <= 64
    asking = by_kind(found, "SecurityPolicy")
    assert asking.keys() == {"samdrift-desk", "samdrift-desk-tokens", "samdrift-models"}
    assert asking.pop("samdrift-models")["spec"]["targetRefs"] == [
        {"group": "gateway.networking.k8s.io", "kind": "HTTPRoute", "name": "samdrift-models"}
    ]
    for policy in asking.values():
        assert policy["spec"]["extAuth"]["failOpen"] is False
    assert "jwt" in asking["samdrift-desk-tokens"]["spec"]
    assert "jwt" not in asking["samdrift-desk"]["spec"]


def test_models_are_reached_only_where_the_desk_is_asked_and_the_console_where_it_is_not():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    policies = [p["spec"] for p in by_kind(found, "SecurityPolicy").values() if "extAuth" in p["spec"]]
    asked = {t["sectionName"] for p in policies for t in p["targetRefs"]}
    assert asked == {"entrance", "tokens"}
    for route in by_kind(found, "AIGatewayRoute").values():
        assert {p["sectionName"] for p in route["spec"]["parentRefs"]} == asked
    pages, models = (by_kind(found, "HTTPRoute")[f"samdrift-{name}"] for name in ("api", "models"))
    assert {p["sectionName"] for p in models["spec"]["parentRefs"]} == asked
    for route in (pages, models):
        assert {b["name"] for rule in route["spec"]["rules"] for b in rule["backendRefs"]} == {"samdrift-api"}
    assert [p["sectionName"] for p in pages["spec"]["parentRefs"]] == ["pages"]
    assert pages["spec"]["hostnames"] == ["console.ai.example.dk"]


def test_no_pod_of_ours_may_do_more_than_it_must():
    found = manifests(EXAMPLES[0])
    pods = [m.body["spec"]["template"]["spec"] for m in found if m.body["kind"] in ("Deployment", "Job", "StatefulSet")]
    assert len(pods) == 4
    for pod in pods:
        (container,) = pod["containers"]
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert pod["automountServiceAccountToken"] is (pod["serviceAccountName"] == "samdrift-desk")
        assert pod["securityContext"]["runAsNonRoot"] is True


def test_of_two_desks_both_are_there_to_a_rollout_and_each_by_a_name_of_its_own():
    found = manifests(EXAMPLES[0])
    (desks,) = (body["spec"] for body in by_kind(found, "StatefulSet").values())
    assert (desks["replicas"], desks["podManagementPolicy"]) == (2, "Parallel")
    headless = by_kind(found, "Service")[desks["serviceName"]]["spec"]
    assert (headless["clusterIP"], headless["publishNotReadyAddresses"]) == ("None", True)
    assert headless["selector"].items() <= desks["template"]["metadata"]["labels"].items()
    (container,) = desks["template"]["spec"]["containers"]
    paths = {name: container[f"{name}Probe"]["httpGet"] for name in ("startup", "liveness", "readiness")}
    assert {name: one["path"] for name, one in paths.items()} == {
        "startup": "/livez",
        "liveness": "/livez",
        "readiness": "/standbyz",
    }
    assert {one["port"] for one in paths.values()} == {9464}


def test_both_desks_hear_every_receipt():
    found = manifests(EXAMPLES[0])
    (proxy,) = by_kind(found, "EnvoyProxy").values()
    (setting,) = proxy["spec"]["telemetry"]["accessLog"]["settings"]
    told = [ref for sink in setting["sinks"] for ref in sink["als"]["backendRefs"]]
    assert all(sink["als"]["logName"] == "receipts" for sink in setting["sinks"])
    backends = by_kind(found, "Backend")
    assert [backends[ref["name"]]["spec"]["endpoints"] for ref in told] == [
        [{"fqdn": {"hostname": f"samdrift-desk-{n}.samdrift-desks.samdrift.svc.cluster.local", "port": 9002}}] for n in (0, 1)
    ]


def surroundings(found, kind, name):
    """What a process reads from the environment it is given, the Secrets being there."""
    (container,) = by_kind(found, kind)[name]["spec"]["template"]["spec"]["containers"]
    secrets = {("samdrift-db-app", "uri"): "postgresql://db/samdrift", ("samdrift-seed", "seed"): "5a" * 32}
    given = {}
    for one in container["env"]:
        if (secret := one.get("valueFrom", {}).get("secretKeyRef")) is not None:
            given[one["name"]] = secrets[secret["name"], secret["key"]]
        else:
            given[one["name"]] = one.get("value", name)
    assert container["args"] == [name.removeprefix("samdrift-")]
    return Environment.of(given), container


def test_each_process_understands_what_it_is_told_and_opens_the_ports_that_lead_to_it():
    found = manifests(EXAMPLES[0])
    open_ = {"desk": ("ask", "tell", "metrics"), "api": ("listen", "metrics"), "worker": ("metrics",)}
    for name, ports in open_.items():
        around, container = surroundings(found, "StatefulSet" if name == "desk" else "Deployment", f"samdrift-{name}")
        assert around.seed == bytes.fromhex("5a" * 32)
        assert (around.ledger, str(around.document)) == ("postgresql://db/samdrift", "/etc/samdrift")
        opened = {getattr(around, port) for port in ports}
        assert opened == {f"0.0.0.0:{port['containerPort']}" for port in container["ports"]}
        leading = by_kind(found, "Service")[f"samdrift-{name}"]["spec"]["ports"]
        assert {p["name"]: p["port"] for p in leading} == {p["name"]: p["containerPort"] for p in container["ports"]}
    (job,) = (m.body for m in found if m.body["kind"] == "Job")
    assert "samdrift-seed" not in str(job)  # who makes tables needs no keys


def test_the_api_may_ask_both_desks_how_all_stands():
    found = manifests(EXAMPLES[0])
    around, _ = surroundings(found, "Deployment", "samdrift-api")
    assert around.desk.split(",") == [f"http://samdrift-desk-{n}.samdrift-desks.samdrift.svc.cluster.local:9464" for n in (0, 1)]
    fences = {
        m.body["metadata"]["name"]: m.body["spec"]
        for m in found
        if m.body["kind"] == "NetworkPolicy" and m.body["metadata"]["namespace"] == "samdrift"
    }
    port = [{"protocol": "TCP", "port": 9464}]

    def pods(name):
        return [{"podSelector": {"matchLabels": {"app.kubernetes.io/name": f"samdrift-{name}"}}}]

    assert {"to": pods("desk"), "ports": port} in fences["api"]["egress"]
    assert {"from": pods("api"), "ports": port} in fences["desk"]["ingress"]


def test_who_signs_in_is_known_by_the_address_that_envoy_saw():
    assert "x-samdrift-address" in FORGED
    (rule,) = by_kind(manifests(EXAMPLES[0]), "HTTPRoute")["samdrift-api"]["spec"]["rules"]
    assert {match["path"]["value"] for match in rule["matches"]} == {*PEOPLE, "/healthz"}
    (told,) = rule["filters"]
    assert told["requestHeaderModifier"] == {
        "set": [{"name": "x-samdrift-address", "value": "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}]
    }


def test_a_model_that_may_sleep_wakes_by_who_waits_and_stays_awake_while_it_answers():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    scaling = by_kind(found, "LLMInferenceService")["code"]["spec"]["scaling"]
    assert (scaling["minReplicas"], scaling["maxReplicas"], scaling["keda"]["idleReplicaCount"]) == (1, 2, 0)
    query = scaling["keda"]["triggers"][0]["metadata"]["query"]
    assert "samdrift_waiting_requests" in query
    assert "samdrift_seats_in_use" in query


def test_dashboard_rules_and_triggers_use_metrics_that_there_are():
    import re

    known = {i.name for i in vars(catalogue).values() if isinstance(i, catalogue.Instrument)}
    found = manifests(EXAMPLES[-1])
    text = str([m.body for m in found if m.body["kind"] in ("PrometheusRule", "LLMInferenceService")]) + str(dashboard())
    used = {re.sub(r"_(total|bucket)$", "", word) for word in re.findall(r"samdrift_[a-z_]+", text)}
    assert used
    assert used <= known


def test_an_adapter_and_its_base_lead_to_the_same_pool_and_a_members_own_model_runs_in_its_namespace():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-adapters-and-dedicated"))
    rules = [rule for route in by_kind(found, "AIGatewayRoute").values() for rule in route["spec"]["rules"]]
    names = [[match["headers"][0]["value"] for match in rule["matches"]] for rule in rules]
    assert names[0] == ["chat", "aalborg-sag", "hjoerring-brev"]
    assert by_kind(found, "LLMInferenceService")["journal"]["metadata"]["namespace"] == "samdrift-org-region-nord"


def test_bodies_are_read_before_the_desk_is_asked_and_by_others_after_what_it_decided_is_in_them():
    found = manifests(EXAMPLES[0], reading="function envoy_on_request(handle) end -- reads\n")
    (policy,) = by_kind(found, "EnvoyExtensionPolicy").values()
    reading, unread = (lua["inline"] for lua in policy["spec"]["lua"])
    assert "reads" in reading
    assert "control_unavailable" in unread
    assert "@" not in unread
    (patched,) = by_kind(found, "EnvoyPatchPolicy").values()
    lua, *_ = (patch["operation"] for patch in patched["spec"]["jsonPatches"])
    assert (lua["op"], lua["jsonPath"]) == ("add", "$..http_filters[?(@.name=='envoy.filters.http.buffer')]")
    assert "x-samdrift-fields" in lua["value"]["typed_config"]["default_source_code"]["inline_string"]
    (proxy,) = by_kind(found, "EnvoyProxy").values()
    asked = "envoy.filters.http.ext_authz"
    moves = proxy["spec"]["filterOrder"]
    assert {move["name"].rpartition(".")[2]: (move.get("before"), move.get("after")) for move in moves} == {
        "lua": (asked, None),
        "jwt_authn": (asked, None),
        "buffer": (None, asked),
    }
    (towards,) = by_kind(found, "BackendTrafficPolicy").values()
    (clients,) = by_kind(found, "ClientTrafficPolicy").values()
    assert towards["spec"]["requestBuffer"]["limit"] == clients["spec"]["connection"]["bufferLimit"]


def test_a_request_comes_to_an_engine_only_by_the_name_that_the_desk_decided_on():
    assert "x-samdrift-decided" in FORGED
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-adapters-and-dedicated"))
    for route in by_kind(found, "AIGatewayRoute").values():
        for match in (match for rule in route["spec"]["rules"] for match in rule["matches"]):
            asked, decided = match["headers"]
            assert (asked["name"], decided["name"]) == ("x-ai-eg-model", "x-samdrift-decided")
            assert asked["value"] == decided["value"]


def test_envoy_reports_soon_and_reads_as_many_headers_as_the_document_says():
    (patched,) = by_kind(manifests(EXAMPLES[0]), "EnvoyPatchPolicy").values()
    assert {patch["name"] for patch in patched["spec"]["jsonPatches"]} == {"tcp-443"}
    said = {patch["operation"].get("path"): patch["operation"]["value"] for patch in patched["spec"]["jsonPatches"][1:]}
    assert said == {"/buffer_flush_interval": "0.02s", "/max_request_headers_kb": 32}


def test_what_is_outside_is_reached_with_tls_and_a_key_that_stands_in_no_manifest():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-outside-models"))
    assert by_kind(found, "Backend")["outside-gpt"]["spec"]["tls"] == {
        "wellKnownCACertificates": "System",
        "sni": "api.openai.com",
    }
    assert by_kind(found, "BackendSecurityPolicy")["outside-gpt"]["spec"]["apiKey"] == {"secretRef": {"name": "openai-key"}}
    assert not by_kind(found, "Secret")
    assert not by_kind(found, "Cluster")  # the database is there already


def test_a_projector_lies_beside_its_weights(tmp_path):
    document = tmp_path / "document.yaml"
    text = next(e for e in EXAMPLES if e.stem == "cluster-outside-models").read_text()
    small = "small: {weights: file:weights/small.gguf,"
    assert small in text
    document.write_text(text.replace(small, f"{small} projector: file:weights/mmproj-small.gguf,"))
    runtimes = by_kind(manifests(document), "ServingRuntime")
    (container,) = runtimes["small"]["spec"]["containers"]
    assert {"--model=/mnt/models/model.gguf", "--mmproj=/mnt/models/mmproj.gguf"} <= set(container["args"])
    assert "--mmproj" not in str(runtimes["chat"])


def test_models_of_others_are_reached_where_the_document_says_by_the_name_they_have_there():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-outside-models"))
    (rules,) = (route["spec"]["rules"] for route in by_kind(found, "AIGatewayRoute").values())
    refs = {rule["matches"][0]["headers"][0]["value"]: rule["backendRefs"] for rule in rules}
    assert refs["gpt"] == [{"name": "outside-gpt", "modelNameOverride": "gpt-5"}]
    assert refs["claude"] == [{"name": "outside-claude"}]
    backend = by_kind(found, "Backend")["outside-gpt"]["spec"]
    assert backend["endpoints"] == [{"fqdn": {"hostname": "api.openai.com", "port": 443}}]
    assert backend["tls"]["sni"] == "api.openai.com"
    assert not {"gpt", "claude"} & by_kind(found, "LLMInferenceService").keys()


def fence(found, name, namespace="samdrift"):
    return next(
        (m.body["spec"] for m in found if m.key == ("NetworkPolicy", namespace, name)),
        None,
    )


def test_our_own_processes_reach_what_the_document_sends_them_to_and_nothing_else(tmp_path):
    document = tmp_path / "document.yaml"
    text = next(e for e in EXAMPLES if e.stem == "cluster-outside-models").read_text()
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-one-organisation"))
    assert not any(fence(found, name) for name in ("to-others", "to-issuers", "traces"))
    text = text.replace("https://api.openai.com", "https://api.openai.com:8443")
    text += "observe: {traces: 'http://otel-collector.monitoring:4318'}\n"
    text += "issuers: {login: {issuer: 'https://login.dk', audience: x, jwks: 'https://login.dk:9443/keys'}}\n"
    document.write_text(text)
    found = manifests(document)

    def ports(name):
        (rule,) = fence(found, name)["egress"]
        return [one["port"] for one in rule["ports"]]

    assert {name: ports(name) for name in ("to-others", "to-issuers", "traces")} == {
        "to-others": [443, 8443],
        "to-issuers": [443, 9443],
        "traces": [4318],
    }
    assert fence(found, "to-others")["podSelector"] == {"matchLabels": {"app.kubernetes.io/name": "samdrift-desk"}}


def test_engines_tell_nobody_how_they_are_used_and_write_down_no_requests():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    for service in by_kind(found, "LLMInferenceService").values():
        (container,) = service["spec"]["template"]["containers"]
        assert {one["name"]: one["value"] for one in container["env"]} == {
            "VLLM_NO_USAGE_STATS": "1",
            "DO_NOT_TRACK": "1",
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "VLLM_LOGGING_LEVEL": "WARNING",
        }


def test_a_model_that_embeds_is_served_as_the_engine_of_one_machine_is():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    arguments = {
        name: body["spec"]["template"]["containers"][0]["args"] for name, body in by_kind(found, "LLMInferenceService").items()
    }
    assert "--runner=pooling" in arguments["embed"]
    assert not any(word.startswith("--task") for words in arguments.values() for word in words)
    assert "--runner=pooling" not in arguments["chat"]


def test_of_a_model_with_several_replicas_one_node_at_a_time_is_emptied():
    found = manifests(next(e for e in EXAMPLES if e.stem == "cluster-five-municipalities"))
    budgets = {m.key: m.body["spec"] for m in found if m.body["kind"] == "PodDisruptionBudget"}
    services = by_kind(found, "LLMInferenceService")
    chat = budgets["PodDisruptionBudget", "samdrift-models", "chat"]
    assert chat["maxUnavailable"] == 1
    assert chat["selector"]["matchLabels"].items() <= services["chat"]["spec"]["labels"].items()
    assert ("PodDisruptionBudget", "samdrift-models", "code") not in budgets  # it sleeps, or runs once
