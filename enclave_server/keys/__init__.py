"""The gateway's keys in time, and the evidence for them."""
