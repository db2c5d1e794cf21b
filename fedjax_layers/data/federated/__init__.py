"""From one data set to the clients' data: owners and splits of examples, checks, packing, and the partition file."""
