"""What policies mean: which verdict a packet gets, and because of which rule. Knows no table of any kernel."""
