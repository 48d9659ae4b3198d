"""The models on offer: which upstream serves each, and what it can do."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from enclave_server.chat.bounds import PROVIDER, Bounds
from enclave_server.chat.profiles import PLAIN, Profile
from enclave_server.chat.upstream.endpoint import Upstream
from protocol.token_prices import Tariff

FREE = Tariff({})


@dataclass(frozen=True, slots=True)
class Model:
    """A model: its name here, its upstream, its name there, what it can do, and what may be asked.

    `completion_options` are `suffix`, `echo` and `best_of`. `context_length` and `output_limit`
    are counts of tokens; `sampling` are the further fields that may pass to its upstream. One that
    makes `embeddings` answers nothing else. `tariff` is what it costs.
    """

    name: str
    upstream: Upstream
    upstream_name: str
    tools: bool = True
    images: bool = True
    completion_options: bool = True
    bounds: Bounds = PROVIDER
    system_prompt: str | None = None
    profile: Profile = PLAIN
    context_length: int | None = None
    output_limit: int | None = None
    files: bool = True
    reasoning: bool = True
    structured_output: bool = True
    embeddings: bool = False
    sampling: frozenset[str] = frozenset()
    tariff: Tariff = FREE


@dataclass(frozen=True, slots=True)
class ModelTable:
    """The models in the order in which they are listed."""

    models: tuple[Model, ...]
    _by_name: Mapping[str, Model] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        by_name = {model.name: model for model in self.models}
        if len(by_name) != len(self.models):
            raise ValueError("two models have the same name")
        object.__setattr__(self, "_by_name", by_name)

    def find(self, name: str) -> Model | None:
        """Return the model of that exact name."""
        return self._by_name.get(name)

    def upstreams(self) -> Iterable[Upstream]:
        """Return each upstream once."""
        return {model.upstream.name: model.upstream for model in self.models}.values()
