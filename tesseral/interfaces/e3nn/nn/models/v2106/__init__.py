"""Networks and convolutions of June 2021."""
