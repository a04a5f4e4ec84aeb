"""Networks and convolutions of March 2021."""
