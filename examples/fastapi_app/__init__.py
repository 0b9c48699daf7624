"""A FastAPI application that knows nothing of spica, and runs on it by the switch `spica.compat`."""
