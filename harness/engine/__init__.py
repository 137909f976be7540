"""The sweep engine: many edits over a batch of prompts in one pass over the layers.

architectures   where each architecture keeps its norms, operator, MLP and output projection
blocks          one block's forward pass with its named activations, calling the model's own modules
metrics         what is read off a next-token distribution
sweep           the one-pass sweep
naive           the obvious way, with hooks: the engine's oracle
parity          refuses a model whose baseline differs from transformers' own forward pass
"""
