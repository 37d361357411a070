"""Hosts and addresses: how they are written, which are anybody's, what a flow's `hosts` grant. Pure."""
