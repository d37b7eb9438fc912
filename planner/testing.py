"""Testing: what a user's own tests of plans need; public, so that their CI and ours use the same. Not a fixture plugin."""
