"""Causal tracing by whole forward passes of Hugging Face's GPT-2, as Meng et al. 2022 define it."""

import numpy as np
import torch


class Tracer:
    """A pass has a clean row and so many rows whose subject's token embeddings have noise: deviation
    times numpy.random.RandomState(seed).randn(samples, positions, D). In the noised rows some
    activations at one position are those of the clean row."""

    def __init__(self, model, samples: int, deviation: float, window: int, seed: int = 1):
        self.model, self.samples, self.deviation = model, samples, deviation
        self.window, self.seed = window, seed
        self.layers = model.config.n_layer

    def noise(self, subject) -> np.ndarray:
        """[samples, positions, D], without the deviation."""
        shape = self.samples, subject[1] - subject[0], self.model.config.n_embd
        return np.random.RandomState(self.seed).randn(*shape)

    def module(self, name: str, layer: int):
        block = self.model.transformer.h[layer]
        return {"resid_post": block, "mlp_out": block.mlp, "attn_out": block.attn}[name]

    @torch.no_grad()
    def probabilities(
        self, tokens, subject=None, restored=(), position=None, held=None
    ) -> torch.Tensor:
        """[1 + samples, V], or [1, V] without a subject.

        restored: modules. held: outputs by module that the position keeps in noised rows."""
        handles = []
        batch = torch.tensor(tokens)[None].repeat(1 if subject is None else 1 + self.samples, 1)
        if subject is not None:
            noise = self.deviation * torch.from_numpy(self.noise(subject))

            def corrupt(_, __, output):
                output[1:, subject[0] : subject[1]] += noise
                return output

            handles.append(self.model.transformer.wte.register_forward_hook(corrupt))

        def restore(_, __, output):
            rows = output[0] if isinstance(output, tuple) else output
            rows[1:, position] = rows[:1, position].clone()
            return output

        def hold(module, _, output):
            rows = output[0] if isinstance(output, tuple) else output
            rows[1:, position] = held[module][1:, position]
            return output

        handles += [module.register_forward_hook(restore) for module in restored]
        handles += [module.register_forward_hook(hold) for module in held or {}]
        try:
            return torch.softmax(self.model(batch).logits[:, -1], dim=-1)
        finally:
            for handle in handles:
                handle.remove()

    def outputs(self, name: str, tokens, subject) -> dict:
        """What all modules of a name give in noised runs, by module: [1 + samples, T, D]."""
        found = {}

        def keep(module, _, output):
            found[module] = (output[0] if isinstance(output, tuple) else output).clone()

        modules = [self.module(name, layer) for layer in range(self.layers)]
        handles = [module.register_forward_hook(keep) for module in modules]
        self.probabilities(tokens, subject)
        for handle in handles:
            handle.remove()
        return found

    def severed(self, name: str, tokens, subject, answer: int) -> np.ndarray:
        """[T, L]: the same with the output of a block restored, but what all modules of a name write at
        that position held at what they write without that."""
        held = self.outputs(name, tokens, subject)
        table = np.zeros((len(tokens), self.layers), np.float32)
        for position in range(len(tokens)):
            for layer in range(self.layers):
                module = self.module("resid_post", layer)
                found = self.probabilities(tokens, subject, [module], position, held)
                table[position, layer] = found[1:, answer].mean()
        return table

    def baselines(self, tokens, subject) -> tuple[int, float, float]:
        """The clean run's most probable token, its probability, and that with noise."""
        clean = self.probabilities(tokens)[0]
        answer = int(clean.argmax())
        noised = self.probabilities(tokens, subject)[1:, answer].mean()
        return answer, float(clean[answer]), float(noised)

    def scores(self, name: str, tokens, subject, answer: int) -> np.ndarray:
        """[T, L]: the answer's mean probability with the output of a block's part at that position
        restored; of mlp_out and attn_out those of a window of blocks."""
        table = np.zeros((len(tokens), self.layers), np.float32)
        for position in range(len(tokens)):
            for layer in range(self.layers):
                first = layer - self.window // 2
                window = range(max(0, first), min(self.layers, first + self.window))
                chosen = [layer] if name == "resid_post" else window
                modules = [self.module(name, number) for number in chosen]
                found = self.probabilities(tokens, subject, modules, position)
                table[position, layer] = found[1:, answer].mean()
        return table
