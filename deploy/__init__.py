"""Deploying: what runs Muster elsewhere than on a bare server."""
