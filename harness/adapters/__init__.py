"""Adapters: trained low-rank updates of a model's weights, as edits.

values      recipes, and which adapters are on where: rows of a table. No torch
items       which prompts are for training and which are held out. No torch
training    one adapter, trained on a copy of the base
artifacts   trained adapters, kept in the user's cache by what they are made of
updates     what an adapter adds to the weights: norms, truncation, merges, random ones like it
weights     the set of updates that a row needs, and the one model that carries them in turn
two_models  the base and that model side by side, read out
measuring   the effects of a list of such rows on a draw of prompts
"""
