"""How much memory a run will take, has free, and has held. What may lie on the host instead is ``on_host``'s."""
