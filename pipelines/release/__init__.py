"""What a run has made, ready for others: the trained weights with a card, and the Hub on request."""
