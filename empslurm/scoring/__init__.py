"""Score texts with the adapters of finished cells, and publish them; `scorer.Scorer` is the library's door."""
