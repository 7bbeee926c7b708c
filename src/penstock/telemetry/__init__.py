"""What a run tells while it goes on: events, and what listens to them."""
