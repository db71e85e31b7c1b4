"""The largest numbers that docs/format.md lets a cache have."""

VERSIONS = (1, 2, 3, 4, 5)

ARRAY_BYTES = 1 << 31
"""Of one array, as float32."""

MANIFEST_BYTES = 64 << 20
PLAN_BYTES = 16 << 20
PROMPT_BYTES = 1 << 30

HOOKS = 65_536
DIMENSIONS = 8
SCORE_WIDTH = 65_536
"""K of derived attention scores."""

PROMPTS = 1 << 31
TOKENS = 1 << 24
"""T of one prompt."""

TOTAL = (1 << 61) - 1
"""Sums in the manifest."""

EXPANSION = 256
"""Packed bytes for each stored one: more than LZ4 can make of them."""

RECIPE_STEPS = 4_096
U32 = (1 << 32) - 1
