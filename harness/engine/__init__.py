"""The sweep engine: many edits over a batch of prompts in one pass over the layers.

sweep           every probe over every prompt: groups, resuming, halving when memory runs out. Start here
climb           the one pass over the layers that a group makes
forest          which rows are computed: the prompts' token trie, and suffixes of it for edits of chosen positions
editing         what an edit writes, given a block's unedited activations
fused           the fast blocks, for Llama, Qwen2 and Gemma 3
plain           the blocks that call the model's own modules: any architecture, and the fast ones' reference
blocks          a model taken apart: one block's forward pass with its named activations
architectures   where each architecture keeps its norms, operator, MLP and output projection
memory          what a pass needs, and how work is cut to fit a budget
readout         from final residuals to metrics, streamed over the vocabulary
metrics         what is read off a next-token distribution
naive           the obvious way, with hooks: the oracle of all of the above
parity          refuses a model whose baseline differs from transformers' own forward pass
attribution     gradient attribution of heads, for a screen
screen          which probes a screen measures
"""
