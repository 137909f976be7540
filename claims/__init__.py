"""The claims: one module a chapter of the atlas, each holding its cards and their tests."""
