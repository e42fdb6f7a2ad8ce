"""What silently does nothing: each trap is set in manifests that were without, and found."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
from click.testing import CliRunner

from samdrift.cli import main
from samdrift.cluster.foreign import Found, Objects, Unreadable, read
from samdrift.cluster.rendering import files_of, manifests_of
from samdrift.cluster.traps import traps_in
from samdrift.gateway.listener import read_body
from samdrift.reading import read_document

EXAMPLES = Path(__file__).parents[2] / "examples"
READING = read_body(frozenset({"cache_prompt"}))
BASE = {
    name: files_of(manifests_of(read_document(EXAMPLES / f"cluster-{name}.yaml"), "0.1.0", READING))
    for name in ("five-municipalities", "adapters-and-dedicated", "outside-models")
}


WRITTEN = {name: [one.body for one in read(files).all] for name, files in BASE.items()}


def objects(example):
    return copy.deepcopy(WRITTEN[example])


def found(bodies):
    return {one.rule for one in traps_in(Objects(Found(body, "all.yaml") for body in bodies))}


def of(bodies, kind, name=None):
    return next(b for b in bodies if b["kind"] == kind and name in (None, b["metadata"]["name"]))


def spec(kind, change, name=None):
    return lambda bodies: change(of(bodies, kind, name)["spec"])


def without(kind, name=None):
    return lambda bodies: bodies.remove(of(bodies, kind, name))


def add(kind, api, spec, name="foreign", namespace="samdrift"):
    return lambda bodies: bodies.append(
        {"apiVersion": api, "kind": kind, "metadata": {"name": name, "namespace": namespace}, "spec": spec}
    )


def first_rule(route):
    return route["rules"][0]


def first_quota(queue):
    return queue["resourceGroups"][0]["flavors"][0]["resources"][0]


def first_container(workload):
    return workload["template"]["spec"]["containers"][0]


def first_log(proxy):
    return proxy["telemetry"]["accessLog"]["settings"][0]


DESK_SERVICE = {"kind": "Service", "name": "samdrift-desk", "port": 9002}
GATEWAY = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "samdrift"}
ENVOY, AI = "gateway.envoyproxy.io/v1alpha1", "aigateway.envoyproxy.io/v1beta1"
BUFFER_FIRST = {"name": "envoy.filters.http.buffer", "before": "envoy.filters.http.lua"}


def own_lua_writes(bodies):
    """Somebody's Lua among our own writes into bodies, with the buffer before it."""
    of(bodies, "EnvoyExtensionPolicy")["spec"]["lua"].append({"type": "Inline", "inline": "body:setBytes(text)"})
    of(bodies, "EnvoyProxy")["spec"]["filterOrder"].append(BUFFER_FIRST)


def untold(part, word):
    """Envoy Gateway's configuration without something."""
    return lambda bodies: of_kind_without_name(bodies, "EnvoyGateway")[part].pop(word)


FIVE, ADAPTERS, OUTSIDE = "five-municipalities", "adapters-and-dedicated", "outside-models"

SET = [
    (
        "forged-identity",
        FIVE,
        spec("ClientTrafficPolicy", lambda s: s["headers"]["earlyRequestHeaders"]["remove"].remove("x-tenant-id")),
    ),
    (
        "forged-identity",
        FIVE,
        spec("ClientTrafficPolicy", lambda s: s["headers"]["earlyRequestHeaders"]["remove"].remove("x-samdrift-address")),
    ),
    ("forged-identity", FIVE, without("ClientTrafficPolicy")),
    (
        "waits-for-the-active-desk",
        FIVE,
        spec("StatefulSet", lambda s: first_container(s)["readinessProbe"]["httpGet"].update(path="/readyz")),
    ),
    ("one-desk-hears", FIVE, spec("EnvoyProxy", lambda s: first_log(s)["sinks"].pop())),
    (
        "one-desk-hears",
        FIVE,
        spec("EnvoyProxy", lambda s: [k["als"].update(backendRefs=[DESK_SERVICE]) for k in first_log(s)["sinks"]]),
    ),
    (
        "forged-certificate",
        FIVE,
        spec("ClientTrafficPolicy", lambda s: s["headers"]["xForwardedClientCert"].update(mode="AppendForward")),
    ),
    ("fails-open", FIVE, spec("SecurityPolicy", lambda s: s["extAuth"].update(failOpen=True))),
    ("impatient-question", FIVE, spec("SecurityPolicy", lambda s: s["extAuth"].pop("timeout"))),
    ("impatient-stream", FIVE, spec("ClientTrafficPolicy", lambda s: s["timeout"]["http"].pop("streamIdleTimeout"))),
    ("question-put-aside", FIVE, spec("SecurityPolicy", lambda s: s.pop("extAuth"), "samdrift-desk-tokens")),
    ("unasked-listener", FIVE, spec("AIGatewayRoute", lambda s: s["parentRefs"][0].pop("sectionName"))),
    ("token-not-needed", FIVE, spec("SecurityPolicy", lambda s: s["jwt"].update(optional=True), "samdrift-desk-tokens")),
    ("sixty-seconds", FIVE, spec("AIGatewayRoute", lambda s: first_rule(s).pop("timeouts"))),
    ("ignored-on-pool", FIVE, spec("AIGatewayRoute", lambda s: first_rule(s)["backendRefs"][0].update(modelNameOverride="x"))),
    ("no-grant", FIVE, without("ReferenceGrant")),
    (
        "service-quota",
        OUTSIDE,
        add(
            "QuotaPolicy",
            "aigateway.envoyproxy.io/v1alpha1",
            {"serviceQuota": {"quota": {}}, "targetRefs": [{"kind": "AIServiceBackend", "name": "outside-gpt"}]},
        ),
    ),
    (
        "quota-by-another-name",
        OUTSIDE,
        add(
            "QuotaPolicy",
            "aigateway.envoyproxy.io/v1alpha1",
            {"perModelQuotas": [{"modelName": "gpt"}], "targetRefs": [{"kind": "AIServiceBackend", "name": "outside-gpt"}]},
        ),
    ),
    (
        "one-bucket-is-enough",
        OUTSIDE,
        add(
            "QuotaPolicy",
            "aigateway.envoyproxy.io/v1alpha1",
            {
                "perModelQuotas": [{"modelName": "gpt-5", "quota": {"defaultBucket": {"limit": 1}, "bucketRules": [{}]}}],
                "targetRefs": [{"kind": "AIServiceBackend", "name": "outside-gpt"}],
            },
        ),
    ),
    (
        "quota-on-pool",
        OUTSIDE,
        lambda bodies: (
            of(bodies, "AIServiceBackend", "chat")["spec"].update(backendRef={"kind": "Service", "name": "chat"}),
            add(
                "QuotaPolicy", "aigateway.envoyproxy.io/v1alpha1", {"targetRefs": [{"kind": "AIServiceBackend", "name": "chat"}]}
            )(bodies),
        ),
    ),
    ("backend-is-no-backend", OUTSIDE, spec("AIServiceBackend", lambda s: s.update(backendRef={"name": "chat"}))),
    (
        "limit-from-nothing",
        FIVE,
        spec(
            "BackendTrafficPolicy",
            lambda s: s.update(rateLimit={"global": {"rules": [{"limit": {"requests": 1, "fromMetadata": {"key": "x"}}}]}}),
        ),
    ),
    ("policy-for-nothing", FIVE, spec("SecurityPolicy", lambda s: s["targetRefs"][0].update(sectionName="entranse"))),
    (
        "policy-for-nothing",
        FIVE,
        add(
            "SecurityPolicy",
            ENVOY,
            {"extAuth": {"timeout": "60s"}, "targetRefs": [{"kind": "AIGatewayRoute", "name": "samdrift-1"}]},
        ),
    ),
    ("configuration-of-none", FIVE, lambda bodies: of(bodies, "Gateway")["metadata"].pop("annotations")),
    ("content-in-traces", FIVE, spec("GatewayConfig", lambda s: s["extProc"]["kubernetes"]["env"].clear())),
    ("content-in-traces", FIVE, without("GatewayConfig")),
    ("selects-nothing", FIVE, spec("ClusterQueue", lambda s: s.pop("namespaceSelector"))),
    ("queue-to-nowhere", FIVE, spec("LocalQueue", lambda s: s.update(clusterQueue="none"))),
    ("namespace-not-chosen", FIVE, spec("ClusterQueue", lambda s: s["namespaceSelector"]["matchLabels"].update(a="b"))),
    ("limit-without-cohort", FIVE, spec("ClusterQueue", lambda s: s.pop("cohortName"))),
    ("old-cohort", FIVE, spec("ClusterQueue", lambda s: s.update(cohort="samdrift"))),
    ("cohort-of-its-own", FIVE, spec("ClusterQueue", lambda s: s.update(cohortName="samdrit"))),
    ("no-such-flavour", FIVE, lambda bodies: of(bodies, "ResourceFlavor")["metadata"].update(name="other")),
    (
        "resources-in-another-order",
        FIVE,
        spec("Cohort", lambda s: s["resourceGroups"][0].update(coveredResources=["a", "nvidia.com/gpu"])),
    ),
    (
        "devices-counted-twice",
        FIVE,
        lambda bodies: bodies.append({**of(bodies, "ResourceFlavor"), "metadata": {"name": "again"}}),
    ),
    (
        "two-ways-to-borrow",
        FIVE,
        spec("ClusterQueue", lambda s: s["preemption"].update(borrowWithinCohort={"policy": "LowerPriority"})),
    ),
    ("never-asked-back", FIVE, spec("ClusterQueue", lambda s: s.pop("preemption"))),
    ("weights-not-read", FIVE, lambda bodies: of_configuration(bodies).pop("fairSharing")),
    ("not-covered", FIVE, lambda bodies: of_configuration(bodies).pop("resources")),
    (
        "not-managed",
        FIVE,
        lambda bodies: of(bodies, "Namespace", "samdrift-models")["metadata"]["labels"].pop("samdrift.org/queued"),
    ),
    ("ends-before-ready", FIVE, lambda bodies: of_configuration(bodies).pop("waitForPodsReady")),
    (
        "no-such-queue",
        FIVE,
        lambda bodies: of(bodies, "LLMInferenceService")["metadata"]["labels"].update({"kueue.x-k8s.io/queue-name": "x"}),
    ),
    ("past-the-queue", FIVE, lambda bodies: of(bodies, "LLMInferenceService")["metadata"].pop("labels")),
    ("always-on-borrowed", FIVE, spec("ClusterQueue", lambda s: first_quota(s).update(nominalQuota="2"), "samdrift-shared")),
    ("surge-under-quota", FIVE, spec("LLMInferenceService", lambda s: s.pop("rolloutStrategy"))),
    ("surge-under-quota", OUTSIDE, spec("InferenceService", lambda s: s["predictor"].pop("deploymentStrategy"), "chat")),
    ("two-numbers", FIVE, spec("LLMInferenceService", lambda s: s.update(replicas=2), "chat")),
    ("never-idle", FIVE, spec("LLMInferenceService", lambda s: s["scaling"].pop("minReplicas"), "code")),
    (
        "asleep-while-answering",
        FIVE,
        spec(
            "LLMInferenceService",
            lambda s: s["scaling"]["keda"]["triggers"][0]["metadata"].update(query="sum(samdrift_waiting_requests)"),
            "code",
        ),
    ),
    (
        "label-left-behind",
        FIVE,
        lambda bodies: (
            of(bodies, "LLMInferenceService")["metadata"]["labels"].update({"samdrift.org/model": "chat"}),
            of(bodies, "LLMInferenceService")["spec"]["labels"].pop("samdrift.org/model"),
        ),
    ),
    ("second-way-in", FIVE, spec("LLMInferenceService", lambda s: s["router"].update(route={}))),
    (
        "two-pickers",
        FIVE,
        spec(
            "LLMInferenceService",
            lambda s: s["router"].update(scheduler={"replicas": 2, "config": {"inline": {"featureGates": ["flowControl"]}}}),
        ),
    ),
    (
        "adapter-from-image",
        ADAPTERS,
        spec("LLMInferenceService", lambda s: s["model"]["lora"]["adapters"][0].update(uri="oci://x"), "chat"),
    ),
    (
        "nobody-can-ask",
        ADAPTERS,
        spec("LLMInferenceService", lambda s: s["model"]["lora"]["adapters"][0].update(name="other"), "chat"),
    ),
    ("cache-of-nothing", ADAPTERS, spec("LocalModelCache", lambda s: s.update(sourceModelUri="hf://other"))),
    ("cache-nowhere", ADAPTERS, spec("LocalModelCache", lambda s: s.update(nodeGroups=["other"]))),
    ("old-group", FIVE, add("InferenceObjective", "inference.networking.x-k8s.io/v1alpha2", {})),
    ("old-version", FIVE, lambda bodies: of(bodies, "AIGatewayRoute").update(apiVersion="aigateway.envoyproxy.io/v1alpha1")),
    ("no-fence", FIVE, lambda bodies: [bodies.remove(b) for b in list(bodies) if b["kind"] == "NetworkPolicy"]),
    (
        "shut-in",
        FIVE,
        lambda bodies: [
            bodies.remove(b) for b in list(bodies) if b["kind"] == "NetworkPolicy" and b["metadata"]["name"] == "pickers"
        ],
    ),
    ("shared-prompts", FIVE, without("EnvoyPatchPolicy")),
    ("shared-prompts", FIVE, spec("EnvoyPatchPolicy", lambda s: s["jsonPatches"].pop(0))),
    ("shared-prompts", OUTSIDE, without("EnvoyPatchPolicy")),
    (
        "shared-prompts",
        FIVE,
        lambda bodies: bodies.append(
            {
                "apiVersion": "serving.kserve.io/v1alpha1",
                "kind": "ServingRuntime",
                "metadata": {"name": "tgi", "namespace": "samdrift-models"},
                "spec": {"containers": [{"image": "ghcr.io/huggingface/text-generation-inference:3.3.7"}]},
            }
        ),
    ),
    ("overwritten-body", FIVE, spec("BackendTrafficPolicy", lambda s: s.pop("requestBuffer"))),
    ("overwritten-body", FIVE, spec("BackendTrafficPolicy", lambda s: s["targetRefs"][0].update(sectionName="tokens"))),
    ("overwritten-body", FIVE, spec("EnvoyProxy", lambda s: s["filterOrder"].append(BUFFER_FIRST))),
    ("overwritten-body", FIVE, own_lua_writes),
    ("asked-too-early", FIVE, spec("EnvoyProxy", lambda s: s.pop("filterOrder"))),
    ("undecided-body", FIVE, spec("AIGatewayRoute", lambda s: s["rules"][0]["matches"][0]["headers"].pop())),
    ("undecided-body", FIVE, spec("AIGatewayRoute", lambda s: s["rules"][0].pop("matches"))),
    ("never-decided", FIVE, without("EnvoyPatchPolicy")),
    ("switched-off", FIVE, untold("extensionApis", "enableEnvoyPatchPolicy")),
    ("switched-off", FIVE, untold("extensionApis", "enableLua")),
    ("switched-off", FIVE, untold("extensionApis", "enableBackend")),
    ("patch-of-nothing", FIVE, untold("runtimeFlags", "enabled")),
    ("patch-of-nothing", FIVE, spec("EnvoyPatchPolicy", lambda s: s["jsonPatches"][0].update(name="samdrift/samdrift/entrance"))),
    ("policy-for-nothing", FIVE, spec("EnvoyPatchPolicy", lambda s: s["targetRef"].update(name="other"))),
    ("never-emptied", FIVE, spec("PodDisruptionBudget", lambda s: s.update(minAvailable=2))),
]


def of_configuration(bodies):
    return of_kind_without_name(bodies, "Configuration")


def of_kind_without_name(bodies, kind):
    return next(b for b in bodies if b["kind"] == kind)


@pytest.mark.parametrize(("rule", "example", "change"), SET, ids=[f"{n}-{rule}" for n, (rule, *_) in enumerate(SET)])
def test_a_trap_that_is_set_is_found(rule, example, change):
    bodies = objects(example)
    assert rule not in found(bodies)
    change(bodies)
    assert rule in found(bodies)


def test_every_rule_has_a_trap_that_sets_it_off():
    import re

    package = Path(__file__).parents[2] / "src" / "samdrift" / "cluster"
    set_off = r'yield trap\(\s*\w+(?:\[0\])?,\s*"([a-z-]+)"'
    written = {rule for file in package.glob("traps_*.py") for rule in re.findall(set_off, file.read_text())}
    assert written == {rule for rule, *_ in SET}


@pytest.mark.parametrize("argument", ["--no-enable-prefix-caching", "--enable-prefix-caching"])
def test_an_engine_that_remembers_no_prompts_needs_no_salts(argument):
    bodies = objects(FIVE)
    bodies.remove(of(bodies, "EnvoyPatchPolicy"))
    for body in bodies:
        if body["kind"] == "LLMInferenceService":
            body["spec"]["template"]["containers"][0]["args"].append(argument)
    assert ("shared-prompts" in found(bodies)) is (argument == "--enable-prefix-caching")


def test_a_command_finds_traps_in_foreign_manifests_and_says_where(tmp_path):
    (tmp_path / "queue.yaml").write_text(
        "apiVersion: kueue.x-k8s.io/v1beta2\nkind: ClusterQueue\nmetadata: {name: ours}\nspec: {}\n"
    )
    answer = CliRunner().invoke(main, ["check", "kubernetes", str(tmp_path)])
    assert answer.exit_code == 1
    assert "queue.yaml: ClusterQueue ours: Without `namespaceSelector`" in answer.output
    (tmp_path / "queue.yaml").write_text("kind: {{ .Values.kind }}\n")
    assert CliRunner().invoke(main, ["check", "kubernetes", str(tmp_path)]).exit_code == 2
    assert CliRunner().invoke(main, ["check", "kubernetes", str(tmp_path / "none")]).exit_code == 2


@pytest.mark.parametrize(
    "strange",
    [
        "a: [",
        "{{ x }}",
        "kind: [1]\napiVersion: 2",
        "- 1\n- 2",
        "kind: List\napiVersion: v1\nitems: [1, null]",
        "kind: LLMInferenceService\napiVersion: x/v1\nmetadata: {name: x}\nspec: [1]",
        "kind: ClusterQueue\napiVersion: x/v1",
        "kind: NetworkPolicy\napiVersion: x/v1\nmetadata: {namespace: a}\nspec: {podSelector: 3, ingress: 4}",
        "kind: LLMInferenceService\napiVersion: x/v1\nmetadata: {name: a, namespace: a, labels: 7}\nspec: {model: 3, router: 9}",
        "kind: ConfigMap\napiVersion: v1\ndata: {a: 'config.kueue.x-k8s.io: ['}",
    ],
)
def test_whatever_stands_in_a_file_is_read_or_refused_with_a_sentence(strange):
    try:
        traps_in(read({"strange.yaml": strange}))
    except Unreadable as refused:
        sentence = str(refused)
    else:
        sentence = ""
    assert sentence == "" or sentence.startswith("strange.yaml")
