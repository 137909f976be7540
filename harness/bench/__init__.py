"""`make bench`: the sweep engine beside the tools a user would pick instead, timed in one interleaved run.

One worker process per contender; the parent hands out turns over pipes, so that every contender is measured
under the same weather. Importing this does not import torch.
"""
