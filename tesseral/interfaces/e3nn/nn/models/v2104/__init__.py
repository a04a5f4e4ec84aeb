"""Networks and convolutions of April 2021."""
