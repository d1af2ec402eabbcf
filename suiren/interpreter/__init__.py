"""The NumPy tier: what every primitive operator means, written with NumPy alone."""
