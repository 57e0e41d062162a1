"""States below the first adapter, computed once a row: frozen blocks give the same ones every time a row is seen."""

from collections.abc import Callable
from typing import Any

import torch
from transformers import DynamicCache


class _Reached(Exception):
    """The first block with an adapter was reached, with these states."""

    def __init__(self, states: Any) -> None:
        self.states = states


class Below:
    """The frozen lower blocks of a network.

    ``first`` is the number of the first trained one, ``prefix`` how many tokens all rows share, ``room`` how many bytes may be kept.
    """

    def __init__(self, network: Any, blocks: Any, first: int, prefix: int, room: int) -> None:
        self.first, self.prefix, self._room = first, prefix, room
        self._network = network
        self._border = blocks[first]
        self._kept: dict[int, Any] = {}
        self._bytes = 0
        # Of the shared prefix: its states at the border, and its keys and values in each lower block.
        self._of_prefix: Any = None
        self._lower: list[tuple[Any, Any]] = []
        self._skipping = False
        for block in blocks[:first]:
            block.forward = self._skippable(block.forward)

    def states(self, inputs: dict[str, Any], keys: list[int]) -> Any:
        """What enters the first trained block, of the rows' tokens behind the prefix: (rows, tokens, size)."""
        ids, mask = inputs["input_ids"], inputs["attention_mask"]
        lengths = mask.sum(1).tolist()
        missing = [place for place, key in enumerate(keys) if key not in self._kept]
        fresh = dict(zip(missing, self._computed(ids[missing], mask[missing]), strict=True)) if missing else {}
        rows = [fresh[place][: lengths[place] - self.prefix] if place in fresh else self._kept[key] for place, key in enumerate(keys)]
        found = rows[0].new_zeros(len(keys), ids.shape[1] - self.prefix, rows[0].shape[-1])
        for place, own in enumerate(rows):
            found[place, : len(own)] = own
            if place in fresh and self._bytes + own.nbytes <= self._room:
                self._kept[keys[place]] = own.clone()
                self._bytes += own.nbytes
        return found

    def above(self, states: Any, mask: Any) -> Any:
        """The last hidden states of these rows, from the first trained block on; gradients flow through the prefix as well."""
        self._skipping = True
        try:
            if not self.prefix:
                whole = bool(mask.all())
                return self._run(inputs_embeds=states, attention_mask=None if whole else mask, use_cache=False)
            cache = DynamicCache(config=self._network.config)
            self._run(inputs_embeds=self._of_prefix[None], past_key_values=cache, use_cache=True)
            for layer in cache.layers[: self.first]:
                # Of a skipped block only the length is asked.
                stand_in = states.new_zeros(1, 1, self.prefix, 1)
                layer.update(stand_in, stand_in)
            for layer in cache.layers[self.first :]:
                layer.keys = layer.keys.expand(len(states), -1, -1, -1)
                layer.values = layer.values.expand(len(states), -1, -1, -1)
            return self._run(inputs_embeds=states, attention_mask=mask, past_key_values=cache, use_cache=True)
        finally:
            self._skipping = False

    def let_go(self) -> None:
        """Give the kept states back."""
        self._kept.clear()
        self._bytes = 0

    def _run(self, **inputs: Any) -> Any:
        return self._network.base_model(**inputs).last_hidden_state

    def _computed(self, ids: Any, mask: Any) -> Any:
        """The states of rows at the border, behind the prefix, whose own are computed once."""
        if not self.prefix:
            return self._reached(input_ids=ids, attention_mask=None if bool(mask.all()) else mask, use_cache=False)
        if self._of_prefix is None:
            cache = DynamicCache(config=self._network.config)
            self._of_prefix = self._reached(input_ids=ids[:1, : self.prefix], past_key_values=cache, use_cache=True)[0]
            self._lower = [(layer.keys, layer.values) for layer in cache.layers[: self.first]]
        cache = DynamicCache(config=self._network.config)
        for layer, (keys, values) in zip(cache.layers, self._lower, strict=False):
            layer.update(keys.expand(len(ids), -1, -1, -1), values.expand(len(ids), -1, -1, -1))
        return self._reached(input_ids=ids[:, self.prefix :], attention_mask=mask, past_key_values=cache, use_cache=True)

    def _reached(self, **inputs: Any) -> Any:
        """The states at the border; nothing above it is computed."""

        def stop(_: Any, given: tuple[Any, ...], named: dict[str, Any]) -> None:
            raise _Reached(given[0] if given else named["hidden_states"])

        handle = self._border.register_forward_pre_hook(stop, with_kwargs=True)
        try:
            with torch.no_grad():
                self._network.base_model(**inputs)
        except _Reached as reached:
            return reached.states
        finally:
            handle.remove()
        raise RuntimeError("the first trained block was never reached")

    def _skippable(self, forward: Callable[..., Any]) -> Callable[..., Any]:
        def passed(hidden_states: Any, *given: Any, **named: Any) -> Any:
            return hidden_states if self._skipping else forward(hidden_states, *given, **named)

        return passed
