"""The models that LiteLLM serves. Facts are from LiteLLM 1.104.5; `tests/conformance` checks them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from msgspec import Struct, field
from msgspec.json import Decoder

from clients.litellm.rows import decoded
from clients.upstream import Upstream
from domain.models import ServedModel, ServedModels

_PER_MILLION = 1_000_000


class _Name(Struct):
    id: str


class _Names(Struct):
    rows: list[_Name] = field(name="data")


class _Facts(Struct):
    """What LiteLLM says about a deployment. These are an operator's own words, so an odd one is as good as none."""

    access_groups: Any = None
    litellm_provider: Any = None
    key: Any = None
    max_input_tokens: Any = None
    input_cost_per_token: Any = None
    output_cost_per_token: Any = None


class _Deployment(Struct):
    model_name: str
    model_info: _Facts = field(default_factory=_Facts)


class _Deployments(Struct):
    rows: list[_Deployment] = field(name="data")


_NAMES, _DEPLOYMENTS = Decoder(_Names), Decoder(_Deployments)


class LiteLLMModels:
    """Reads the models."""

    def __init__(self, upstream: Upstream) -> None:
        self._upstream = upstream

    async def served(self) -> ServedModels:
        """`GET /models` and `GET /model/info`. Raises UpstreamError.

        Only the first says what can be called: the second also lists names that LiteLLM makes of a wildcard and does
        not serve.
        """
        reply = await self._upstream.read("/models", {"return_wildcard_routes": "true"})
        names = sorted({row.id for row in decoded(reply, _NAMES, "models").rows} - {""})
        if not names:
            return ServedModels()  # without a model `/model/info` fails
        deployments: defaultdict[str, list[_Facts]] = defaultdict(list)
        for row in decoded(await self._upstream.read("/model/info"), _DEPLOYMENTS, "models").rows:
            deployments[row.model_name].append(row.model_info)
        return ServedModels(
            models=tuple(_model(name, deployments[name]) for name in names if "*" not in name),
            wildcards=tuple(name for name in names if "*" in name),
            groups=_groups(facts for every in deployments.values() for facts in every),
        )


def _model(name: str, deployments: Sequence[_Facts]) -> ServedModel:
    """A name may have several deployments: the smallest window and the highest prices hold for all of them."""
    windows = [_number(facts.max_input_tokens) for facts in deployments]
    prices_in = [_number(facts.input_cost_per_token) for facts in deployments]
    prices_out = [_number(facts.output_cost_per_token) for facts in deployments]
    providers = {facts.litellm_provider for facts in deployments if isinstance(facts.litellm_provider, str)}
    provider = providers.pop() if len(providers) == 1 else None
    # LiteLLM's own list of models has an entry of exactly this name.
    is_own = provider is not None and any(facts.key == name for facts in deployments)
    window = min(filter(None, windows), default=None)
    return ServedModel(
        id=name,
        groups=_groups(deployments),
        provider=provider,
        context_window=None if window is None else int(window),
        input_price=_price(prices_in),
        output_price=_price(prices_out),
        own_name=f"{provider}/{name}" if is_own else None,
    )


def _groups(deployments: Iterable[_Facts]) -> tuple[str, ...]:
    groups = [group for facts in deployments if isinstance(facts.access_groups, list) for group in facts.access_groups]
    return tuple(sorted({group for group in groups if isinstance(group, str)}))


def _price(per_token: Sequence[float | None]) -> float | None:
    """USD per million tokens, without the noise of the multiplication."""
    highest = max((price for price in per_token if price is not None), default=None)
    return None if highest is None else round(highest * _PER_MILLION, 9)


def _number(value: Any) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number and 0 <= value < math.inf else None
