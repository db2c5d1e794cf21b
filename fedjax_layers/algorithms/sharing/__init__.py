"""Per layer, shared or not: FedAvg and what keeps some layers with the clients, by a fixed rule or by scores."""
