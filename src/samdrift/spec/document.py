"""The document: what a community is. One frozen value, the only source of truth but for secrets and keys.

Bytes become these values in `spec.parsing`; what types cannot say is said by `spec.checking`. Each setting
carries its docstring under the field; the reference and the JSON Schema are made from them.

Strictness stands with each type (`Whole`, `Number`, `Size`, …) and not with the whole, because a strict model
would refuse YAML's lists where a tuple is meant.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from samdrift.spec.abilities import Task
from samdrift.spec.cluster import Cluster, Nodes
from samdrift.spec.identity import Identity, Issuer
from samdrift.spec.noun import Noun, Secret
from samdrift.spec.portion import Guarantee, Limit, Portion, portion_of
from samdrift.spec.replicas import Replicas, Scale
from samdrift.spec.retention import MemberRetention, Retention
from samdrift.spec.rollout import Rollout
from samdrift.spec.signin import SignInSettings
from samdrift.spec.units import Count, Duration, Name, Number, Size, Whole, YesNo
from samdrift.spec.weights import Precision, WeightsSettings

EngineName = Literal["llamacpp", "vllm", "sglang", "tensorrt-llm", "tgi", "text-generation-webui", "openai-compatible"]
"""The programs that serve models."""

Priority = Literal["interactive", "standard", "batch"]
"""How urgent a request is, between requests of the same organisation."""


PromptCache = Literal["none", "key", "organisation"]
"""Whose earlier prompts make a request faster."""


class Community(Noun):
    """Who shares this installation."""

    name: Annotated[str, Field(min_length=1, max_length=100)]
    """The name people see."""
    region: str = ""
    """Where it runs; shown to people, changes nothing."""
    environment: str = "production"
    """A label for dashboards and logs: `production`, `test`, …"""


class Tls(Noun):
    """Encryption at the entrance: TLS 1.2 and 1.3, with HTTP/2."""

    certificate: str
    """Path of the certificate chain (PEM), relative to the document."""
    key: str
    """Path of the private key (PEM), relative to the document."""
    client_ca: str = ""
    """Path of the authorities (PEM) whose certificates clients may show, relative to the document. A client need not show one;
    one that shows a certificate of another authority is not let in."""
    crl: str = ""
    """Path of revocation lists (PEM), one of each authority in `client_ca`, relative to the document. Read again when it
    changes. A list that is out of date lets no certificate of its authority in."""


class Timeouts(Noun):
    """How long the gateway bears with silence."""

    headers: Duration = 10.0
    """A client must send all headers within this time."""
    body: Duration = 60.0
    """A client must send the whole body within this time."""
    idle: Duration = 300.0
    """A connection without a request, and a stream without a byte, ends after this time."""
    request: Duration = 900.0
    """The longest one request may take after its turn came."""
    drain: Duration = 2.0
    """How long running answers may take to finish when the service stops. Raise it where restarts are
    planned."""


class Gateway(Noun):
    """The entrance."""

    listen: str = "127.0.0.1:8080"
    """Address and port to listen on. Other than loopback needs `tls`."""
    tls: Tls | None = None
    """Encryption; without it the gateway listens on loopback only."""
    max_body: Size = 20 * 1024 * 1024
    """The largest body a client may send; beyond it the answer is 413."""
    max_headers: Size = 32 * 1024
    """The largest set of headers; beyond it the answer is 431."""
    max_connections: Count = 10_000
    """How many client connections may be open; beyond it new ones are closed at once."""
    max_waiting: Count = 5_000
    """How many requests may wait their turn in all; beyond it the answer is 429."""
    timeouts: Timeouts = Timeouts()
    """How long the gateway bears with silence."""


class ProjectShare(Noun):
    """What a project is due of its organisation's share, relative to its neighbours."""

    weight: Annotated[Number, Field(gt=0, le=1_000_000)] | None = None
    """Its weight. Default for an organisation: by `inhabitants`, else 1; for a project: 1."""


class Share(ProjectShare):
    """What an organisation is due, relative to its neighbours; what it may take beyond that, and what it gives."""

    guarantee: Guarantee = "none"
    """What it is due of each model at least, even if its weight would give it less: `none`, a part of the model's seats
    (`25%`), or a number of them (`2 seats`). The others share what is left by their weights."""
    borrow: Limit = "unlimited"
    """How many seats beyond its own it may use while others leave them idle: `unlimited`, `none`, a part of its own
    (`50%`: up to one and a half times its own), or a number of seats (`2 seats`). Borrowing leaves no debt."""
    lend: Limit = "unlimited"
    """How many of its own seats others may use while it leaves them idle: `unlimited`, `none`, a part of its own
    (`50%`), or a number of seats (`2 seats`). What it does not lend stands idle when it does not use it."""

    @property
    def guaranteed(self) -> Portion | None:
        """The guarantee as a number; None for none."""
        return None if self.guarantee == "none" else portion_of(self.guarantee)

    @property
    def borrows(self) -> Portion | None:
        """What it may borrow as a number; None without limit."""
        return portion_of(self.borrow)

    @property
    def lends(self) -> Portion | None:
        """What it lends as a number; None without limit."""
        return portion_of(self.lend)


class Project(Noun):
    """One application of an organisation."""

    name: str = ""
    """The name people see; default: its identifier."""
    share: ProjectShare = ProjectShare()
    """Its part of the organisation's share."""
    priority: Priority = "interactive"
    """The priority of its requests."""


class Organisation(Noun):
    """A member: the unit of fairness and of a statement."""

    name: str = ""
    """The name people see; default: its identifier."""
    inhabitants: Annotated[Whole, Field(gt=0, le=10_000_000_000)] | None = None
    """Its size, from which its weight follows unless `share.weight` says otherwise."""
    share: Share = Share()
    """What it is due."""
    identity: tuple[Identity, ...] = ()
    """How its applications are known beside API keys: by certificates and by tokens."""
    models: tuple[Name, ...] | None = None
    """The models and adapters it may use; default: all but those of other organisations."""
    aliases: dict[Name, Name] = {}
    """Names of its own, by the model or adapter that each stands for: `chat: chat-bornholm`. They come before `aliases` of the
    community and before models of that name, so that its applications keep asking for `chat` and get what is its own."""
    outside: Literal["refused", "allowed"] = "refused"
    """Whether its requests may leave the community: to models with `runs: outside`. Without it, it does not see them."""
    prompt_cache: PromptCache = "key"
    """Whose earlier prompts a request may profit from where an engine still remembers them: nobody's (`none`), those of the same
    key, or of the same user of an issuer (`key`), or those of the whole organisation (`organisation`). Who profits can tell by
    `cached_tokens`, and by the time an answer takes, that somebody of them asked the same before; others never can."""
    retention: MemberRetention = MemberRetention()
    """What is kept of its requests."""
    projects: dict[Name, Project] = {}
    """Its applications. A key that names no project belongs to the project `default`, which always exists."""


class Device(Noun):
    """An accelerator, or a part of a machine's processor."""

    kind: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")]
    """What it is: `cpu`, `nvidia-b200`, `amd-mi300x`, … Its first part says whose it is; the others are looked for in the names
    of the devices that are found."""
    memory: Size | None = None
    """How much memory it has for models; default: of accelerators, what they are found to have."""
    cores: Count | None = None
    """For `cpu`: how many processor cores engines may use together; default: all but one, which is left to Envoy."""
    count: Count = 1
    """How many of them."""


class Pool(Noun):
    """Devices that models share."""

    devices: Annotated[tuple[Device, ...], Field(min_length=1)]
    """The devices of this pool."""
    nodes: Nodes = Nodes()
    """Which nodes of a cluster they are in; not read on one machine."""


class Adapter(Noun):
    """A LoRA adapter: a model of its own in requests, keys and statements, served by the engines of another."""

    weights: str
    """Where its weights are, named as a model's are; in a cluster also `pvc:NAME/PATH`. llama.cpp takes a GGUF file, vLLM and
    SGLang a folder with safetensors and `adapter_config.json`."""
    organisation: Name | None = None
    """Whose it is; for the others it does not exist. Default: whose the model is, or everybody's."""
    licence: Annotated[str, Field(max_length=100)] = ""
    """The licence that you accept for its weights, as a model's."""


class Model(Noun):
    """A thing members use, by this name."""

    weights: str | None = None
    """Where the weights are: `package:NAME/PATH` (in an installed Python package), `file:PATH`,
    `hf:ORG/NAME[@REVISION][/FILE]`, `s3:BUCKET/PATH` or `oci:HOST/REPOSITORY[:TAG]`. Samdrift then starts and keeps the
    engines."""
    precision: Precision | None = None
    """What the weights are made into before they are served: `fp16`, or `int8` (half the memory of that); default: as they
    are."""
    licence: Annotated[str, Field(max_length=100)] = ""
    """The licence that you accept for these weights, by the name their source gives it, such as `llama3.1`. Needed where it is
    not an open one, or where a hub names none."""
    address: str | None = None
    """Instead of `weights`: where an engine of this kind already runs, `127.0.0.1:9000`, the absolute path of a Unix
    socket, or `https://HOST` on another machine. Somebody else starts and keeps it."""
    engine: EngineName = "llamacpp"
    """The program that serves it. `openai-compatible` is any server that answers as OpenAI's does; it needs an `address`."""
    runs: Literal["inside", "outside"] | None = None
    """Whether an engine at an `https://` address belongs to the community. To one that runs `outside`, only requests of
    organisations go that have allowed it. Such an address needs it."""
    credential: Secret = ""
    """What the engine at `address` wants to see, as a reference such as `${env:ENGINE_KEY}`; sent to it as
    `Authorization: Bearer …`, and shown to nobody."""
    served_as: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}$")] | None = None
    """The name by which the engine at `address` knows the model; default: the name it has here."""
    pool: Name
    """The pool it runs in."""
    task: Task = "generate"
    """`generate` answers chats and completions, `embed` answers embeddings, `rerank` sorts documents by how well they answer a
    query."""
    projector: str | None = None
    """For llama.cpp: what makes images into something that the model reads (its `mmproj`), named as `weights` are. The model then
    takes images in chats."""
    images: YesNo = False
    """Whether the model takes images in chats, for engines whose weights see by themselves. One with a `projector` does."""
    seats: Annotated[Whole, Field(gt=0, le=1024)] = 4
    """How many requests one replica works on at once."""
    context: Annotated[Whole, Field(ge=16, le=10_000_000)] = 2048
    """How many tokens one seat holds, prompt and answer together."""
    replicas: Replicas = Scale()
    """How many engines serve it: a number, or `{min: 0, max: 2, idle: 10m}` to load it when it is asked for."""
    rollout: Rollout | None = None
    """How a new version takes over: `{canary: 10%, watch: 10m}` sends it a part of the requests first and goes back by itself if
    they fail. Default: all at once, as soon as it has answered a request of ours."""
    fallback: Annotated[tuple[Name, ...], Field(max_length=8)] = ()
    """Models of the same task that answer instead, the first that can, where this one has no engine that is up or coming. Only
    those that the organisation may use. The row in the ledger names the model that answered."""
    devices: Annotated[Whole, Field(gt=0, le=64)] = 1
    """How many devices one replica is cut over (tensor parallelism); they are of one kind. Engines want a number that divides the
    model's heads: 2, 4 or 8."""
    memory: Size | None = None
    """How much memory one replica takes of the pool's devices, on all of its own together; default: reckoned from its weights,
    seats and context, and measured once it has been up."""
    threads: Count | None = None
    """Processor threads of one replica; default: the pool's cores divided by its replicas."""
    organisation: Name | None = None
    """The organisation whose engines these are: nobody else may use them, and for the others the model does not exist. Default:
    they are shared."""
    adapters: dict[Name, Adapter] = {}
    """LoRA adapters that its engines serve beside it, by the name under which they are asked for."""

    @property
    def sees(self) -> bool:
        """Does it take images in chats?"""
        return self.images or self.projector is not None


class Cost(Noun):
    """What a token costs against the share. Only the proportions matter."""

    input: Annotated[Number, Field(ge=0, le=1000)] = 1.0
    """A token of the prompt."""
    cached: Annotated[Number, Field(ge=0, le=1000)] = 0.1
    """A token of the prompt that the engine still knew."""
    output: Annotated[Number, Field(ge=0, le=1000)] = 2.0
    """A token of the answer."""


class Wait(Noun):
    """How long a request may wait its turn, by priority, before it is refused with 429."""

    interactive: Duration = 20.0
    """Somebody is watching."""
    standard: Duration = 60.0
    """An application is waiting."""
    batch: Duration = 900.0
    """Nobody is waiting."""
    cold: Duration = 20.0
    """No engine of the model is up, and one is starting: so long, if that is longer. Raise it where engines take long to
    start, up to what clients bear."""


class Fairness(Noun):
    """How turns are taken."""

    cost: Cost = Cost()
    """What tokens cost against the share."""
    wait: Wait = Wait()
    """How long requests may wait."""
    max_queue: Count = 1_000
    """How many requests of one organisation may wait for one model; beyond it the answer is 429."""
    guarantee_window: Duration = 30.0
    """How large a burst goes first: so many seconds of an organisation's own share, saved up while it asks for little. A
    longer window is kinder to bursts and lets the others fall behind by as much for a while."""
    lease: Duration = 900.0
    """How long after admission a receipt is expected; then the seat is free again."""


class LedgerSettings(Noun):
    """Where usage and keys are kept."""

    url: Secret = ""
    """A SQLAlchemy URL, usually a reference such as `${env:SAMDRIFT_LEDGER}`; default: SQLite in the data
    folder."""


class Record(Noun):
    """A record of who asked for what size of request when, so that a day can be played again under other shares
    (`samdrift replay`). It holds no content, no key and no ticket; files lie in the folder `record` of the data folder."""

    what: Literal["nothing", "requests", "users"] = "nothing"
    """What is recorded: `nothing`; `requests`, by organisation and project; or `users`, where requests of one API key can be
    told from those of another besides, by a hash under a secret that is made anew each day and never stored."""
    keep: Duration = 30 * 86_400.0
    """How long a day's file is kept after that day; then it is deleted, also if nothing is recorded any more."""
    max_size: Size = 2**30
    """How large a day's file may become; beyond it the rest of the day is not recorded, and counted."""


class Observe(Noun):
    """Metrics, traces and the record."""

    listen: str = "127.0.0.1:9464"
    """Address of Prometheus metrics, readiness and liveness. Loopback only: it has no key."""
    traces: str = ""
    """OTLP/HTTP endpoint for traces (`http://127.0.0.1:4318`); default: no traces."""
    trace_fraction: Annotated[Number, Field(ge=0, le=1)] = 0.05
    """Which part of requests is traced."""
    record: Record = Record()
    """A record of requests for replays, without content."""


def _number_itself(value: object) -> object:
    if isinstance(value, bool):  # to Python, and so to Literal, true is 1
        raise ValueError("true is no format")  # noqa: TRY004 - pydantic wants ValueError
    return value


class Spec(Noun):
    """The whole document."""

    samdrift: Annotated[Literal[1], BeforeValidator(_number_itself)]
    """The format of the document: 1."""
    community: Community
    """Who shares this installation."""
    gateway: Gateway = Gateway()
    """The entrance."""
    organisations: Annotated[dict[Name, Organisation], Field(min_length=1)]
    """The members, by identifier."""
    issuers: dict[Name, Issuer] = {}
    """Whose tokens are believed, by a name of yours."""
    pools: Annotated[dict[Name, Pool], Field(min_length=1)]
    """The devices, by pool."""
    models: Annotated[dict[Name, Model], Field(min_length=1)]
    """What members can ask for, by name."""
    aliases: dict[Name, Name] = {}
    """Further names of models and adapters, by what each stands for: `chat: chat-2026-03`. Applications that use them need not
    change when a model is replaced by its next version. Whoever may use the model may use the name."""
    fairness: Fairness = Fairness()
    """How turns are taken."""
    weights: WeightsSettings = WeightsSettings()
    """How the models' weights are fetched and kept."""
    ledger: LedgerSettings = LedgerSettings()
    """Where usage and keys are kept."""
    signin: SignInSettings = SignInSettings()
    """How people sign in."""
    retention: Retention = Retention()
    """What is kept for how long."""
    observe: Observe = Observe()
    """Metrics and traces."""
    cluster: Cluster | None = None
    """How it runs on Kubernetes; not read on one machine."""
