"""Names of random streams: numbers folded into a key, into which rounds or client ids are folded as well.

Rounds and client ids are below 2**31 and the names are not, so that no two streams of one key can meet. The parts of a
split key, and the numbers drawn with a key, are also told apart by small numbers, so that named streams cannot meet
them either. Any key may therefore have named streams; beside them it may have small numbers folded in, or be split, or
be used for one draw, but no two of these. ``tests/contract/test_keys.py`` checks this.
"""

START = 0x8000_0001  # of the run's key: the common start of all models
STATE = 0x8000_0002  # of the run's key: what an algorithm draws for its own state
SCORE_BATCH = 0x8000_0003  # of a round's key: the batches that PLayer-FL scores on
RANDOM_PREFIX = 0x8000_0004  # of a round's key: PLayer-FL's random control
UNSEEN = 0x8000_0005  # of the run's key: local training of clients that never took part
TEAMS = 0x8000_0006  # of the run's key: the local phase whose updates decide on teams
COINS = 0x8000_0007  # of a round's key: whether L2GD trains or mixes
NEIGHBOURS = 0x8000_0008  # of a round's key: the models that FedFomo sends to a client
OPTIMIZER = 0x8000_000A  # of a client's key: the random numbers of its optimiser
SERVER_OPTIMIZER = 0x8000_000B  # of a round's key: those of the server's optimiser
ATTACK = 0x8000_0009  # of a client's key: the noise of its poison; of the run's seed: which clients are bad
BLOCKS = 0x8000_000C  # of a round's key: the blocks that FedTLU's random control updates
TEAM_ROUNDS = 0x8000_000D  # of a round's key: the keys of its team rounds, into which clients are folded again
PARTICIPATION = 0x8000_000E  # of a round's key: the teams that take part; of a team round's: the devices
RETAINED = 0x8000_000F  # of the key of an algorithm's state: the layers that stay with a client at random
HEAD = 0x8000_0010  # of a round's key: FedRep's first phase, of the heads
LATER_BATCHES = 0x8000_0011  # of a client's key: the orders of a step's second batch and on; of a step's: their dropout
FAULTS = 0x8000_0013  # of a round's key: which clients drop out, do less work, or return broken numbers
PRIVACY = 0x8000_0014  # of a round's key: the noise of differential privacy
KEPT_LAYERS = 0x8000_0015  # of a round's key: the layers that each client sends in FedLP
MERGE = 0x8000_0018  # of a round's key: the examples on which a client of FedALA learns its weights, and their dropout
FINISH = 0x8000_0012  # of the key of the round that would be next: the last local phase
