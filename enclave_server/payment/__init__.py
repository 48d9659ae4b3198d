"""What a request is paid with: tokens that nobody can tie to their purchase, each spent once."""
