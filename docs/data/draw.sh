#!/usr/bin/env bash
# The pictures of docs/data.md. The data folder: FEDJAX_LAYERS_DATA.
set -euo pipefail
cd "$(dirname "$0")"
show() { fedjax-layers data show "$@" > /dev/null; }
show fashion_mnist --partition dirichlet --alpha 0.1 --clients 20 --plot fashion_mnist_dirichlet.png
show mnist --split all --partition permfl --clients 40 --test-fraction 0.25 --val-fraction 0 --plot mnist_permfl.png
show cifar10 --split all --partition pfedla_2 --clients 10 --plot cifar10_pfedla_2.png
show heart --plot heart_natural.png
show ud_english_ewt --natural genre --plot ud_english_ewt_genre.png
show uci_har --plot uci_har_subject.png
show digits --partition two_level --clients 12 --teams 3 --team-alpha 0.1 --client-alpha 5 --min-size 5 --plot digits_two_level.png
