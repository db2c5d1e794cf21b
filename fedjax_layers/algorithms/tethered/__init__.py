"""A model of each client's own, tied to a shared one by a penalty, a distance or a mixture."""
