#!/usr/bin/env bash
# Trains on ranks in network namespaces, with a link between them that delays and loses packets. The
# result must equal that of one process. Then the link goes down: the run must end by its stall timer,
# and resume with the same bits. Needs root, iproute2 with tc, Open MPI, and a `gim` built with `--features mpi`.
#
#   scripts/netns.sh [path/to/gim] [delay] [loss]
set -euo pipefail
cd "$(dirname "$0")/.."
gim=$(realpath "${1:-target/release/gim}")
delay=${2:-5ms}
loss=${3:-1%}
scratch=$(mktemp -d)
name=gim$$
bridge=br$$
clean() {
  for i in 0 1 2; do ip netns del "$name-$i" 2>/dev/null || true; done
  ip link del "$bridge" 2>/dev/null || true
  rm -rf "$scratch"
}
trap clean EXIT
ip link add "$bridge" type bridge
ip link set "$bridge" up
ip addr add 10.77.0.254/24 dev "$bridge"
for i in 0 1 2; do
  ip netns add "$name-$i"
  ip link add "v$$-$i" type veth peer name eth0 netns "$name-$i"
  ip link set "v$$-$i" master "$bridge" up
  ip -n "$name-$i" link set lo up
  ip -n "$name-$i" link set eth0 up
  ip -n "$name-$i" addr add "10.77.0.$((i + 1))/24" dev eth0
  ip netns exec "$name-$i" tc qdisc add dev eth0 root netem delay "$delay" loss "$loss"
done
# Each rank in its own namespace; mpirun, outside, reaches them over the bridge.
cat > "$scratch/rank.sh" <<EOF
#!/usr/bin/env bash
exec ip netns exec $name-\$OMPI_COMM_WORLD_RANK "\$@"
EOF
chmod +x "$scratch/rank.sh"
cd "$scratch"
settings=(network.width=16 network.context=8 train.batch=4 train.steps=200 train.log_every=2 train.checkpoint_every=4
  train.stall_seconds=5)
train=(train audio-quick)
for setting in "${settings[@]}"; do train+=(--set "$setting"); done
on_ranks() {
  mpirun --allow-run-as-root --oversubscribe --bind-to none -n 3 --mca btl tcp,self --mca pml ob1 \
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 \
    ./rank.sh "$gim" --quiet --threads 1 "$@"
}
same() {
  diff -r whole/checkpoints "$1/checkpoints"
  diff <(cut -d, -f1-5 whole/train.csv) <(cut -d, -f1-5 "$1/train.csv")
}
"$gim" --quiet "${train[@]}" --out whole
on_ranks "${train[@]}" --out slow
same slow
echo "3 ranks, $delay of delay and $loss of loss: the bits of one process"

on_ranks "${train[@]}" --out cut 2> said & ranks=$!
until [ -d cut/checkpoints/step-00000008 ]; do sleep 0.05; kill -0 "$ranks"; done
ip link set "v$$-2" down
begin=$SECONDS
if wait "$ranks"; then echo "the run survived its link" >&2; exit 1; fi
grep '^gim: rank' said
echo "ended $((SECONDS - begin)) s after the link"
"$gim" --quiet train --resume cut
same cut
echo "resumed in one process: the same bits"
