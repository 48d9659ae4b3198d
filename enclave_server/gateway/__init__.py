"""The resources, and what decides about opened requests and paces their answers."""
