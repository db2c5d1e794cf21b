"""Where arrays lie and how many clients are computed at once: the mesh, and the width of the client axis."""
