"""Path patching by whole runs with TransformerLens's hooks."""

from transformer_lens.utils import get_act_name


class Paths:
    """Pairs of equal length in one direction. Patched values are logit differences by pair."""

    def __init__(self, model, receiving, source, answers):
        self.model, self.receiving, self.answers = model, receiving, answers
        self.layers, self.heads = model.cfg.n_layers, model.cfg.n_heads
        _, self.own = model.run_with_cache(receiving)
        _, self.other = model.run_with_cache(source)

    def difference(self, logits) -> list[float]:
        right, wrong = logits[:, -1].gather(-1, self.answers).unbind(-1)
        return (right - wrong).tolist()

    def heard_through_mlps(self, senders, wanted):
        """The wanted activations where every head's z is its own, but the senders' the other run's."""
        kept = {}

        def hold(z, hook):
            z = self.own[hook.name].clone()
            for layer, head in senders:
                if layer == hook.layer():
                    z[:, :, head] = self.other[hook.name][:, :, head]
            return z

        def keep(values, hook):
            kept[hook.name] = values.clone()

        hooks = [(get_act_name("z", layer), hold) for layer in range(self.layers)]
        logits = self.model.run_with_hooks(
            self.receiving, fwd_hooks=hooks + [(name, keep) for name in wanted]
        )
        return logits, kept

    def through_mlps(self, senders, receivers, inputs) -> list[float]:
        names = {get_act_name(i, layer) for i in inputs for layer, _ in receivers}
        _, heard = self.heard_through_mlps(senders, names)

        def put(values, hook):
            for layer, head in receivers:
                if layer == hook.layer():
                    values[:, :, head] = heard[hook.name][:, :, head]
            return values

        return self.difference(
            self.model.run_with_hooks(self.receiving, fwd_hooks=[(name, put) for name in names])
        )

    def written(self, senders, before):
        """What the senders in front of a layer write more than in their own run. [1, T, D]"""
        total = 0
        for layer, head in senders:
            if layer < before:
                name = get_act_name("z", layer)
                change = (self.other[name] - self.own[name])[:, :, head]
                total = total + change @ self.model.W_O[layer, head]
        return total

    def direct(self, senders, receivers, inputs) -> list[float]:
        first = min(layer for layer, _ in senders)

        def add(values, hook):
            for layer, head in receivers:
                if layer == hook.layer() and layer > first:
                    values[:, :, head] += self.written(senders, layer)
            return values

        names = {f"blocks.{layer}.hook_{i}_input" for i in inputs for layer, _ in receivers}
        self.model.set_use_split_qkv_input(True)
        logits = self.model.run_with_hooks(self.receiving, fwd_hooks=[(n, add) for n in names])
        self.model.set_use_split_qkv_input(False)
        return self.difference(logits)

    def to_logits(self, definition, sender) -> list[float]:
        if definition == "through-mlps":
            return self.difference(self.heard_through_mlps([sender], [])[0])
        name = get_act_name("resid_post", self.layers - 1)
        return self.difference(
            self.model.run_with_hooks(
                self.receiving,
                fwd_hooks=[(name, lambda x, hook: x + self.written([sender], self.layers))],
            )
        )
