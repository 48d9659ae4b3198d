"""What Amazon's APIs have in common: signed requests, framed events, named exceptions."""
