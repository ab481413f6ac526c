#!/usr/bin/env bash
# Trains on ranks in network namespaces, whose links delay and lose packets where the kernel has
# `sch_netem`. The result must equal that of one process. Then a link goes down: the run must end by its
# stall timer, and resume with the same bits. Needs root, iproute2, Open MPI, and a `gim` built with
# `--features mpi`.
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
  for i in 0 1 2; do ip netns pids "$name-$i" 2>/dev/null | xargs -r kill -9; done
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
  if ! ip netns exec "$name-$i" tc qdisc add dev eth0 root netem delay "$delay" loss "$loss" 2>/dev/null; then
    # A narrow link with a short queue drops packets, too.
    delay=no loss="that of 100 Mb/s"
    ip netns exec "$name-$i" tc qdisc add dev eth0 root tbf rate 100mbit burst 32kb latency 5ms
  fi
done
# mpirun, outside, starts its daemons in the namespaces instead of on other machines: "HOST COMMAND …".
cat > "$scratch/enter.sh" <<EOF
#!/usr/bin/env bash
host=\$1; shift
exec ip netns exec $name-\$((\${host##*.} - 1)) unshare --uts bash -c "hostname node\${host##*.}; \$*"
EOF
chmod +x "$scratch/enter.sh"
cd "$scratch"
settings=(network.width=16 network.context=8 train.batch=4 train.steps=80 train.log_every=2 train.checkpoint_every=4
  train.stall_seconds=5)
train=(train audio-quick)
for setting in "${settings[@]}"; do train+=(--set "$setting"); done
on_ranks() {
  exec mpirun --allow-run-as-root --bind-to none -n 3 --host 10.77.0.1,10.77.0.2,10.77.0.3 \
    --mca plm_rsh_agent "$scratch/enter.sh" --mca pml ob1 --mca btl tcp,self \
    --mca btl_tcp_if_include 10.77.0.0/24 --mca oob_tcp_if_include 10.77.0.0/24 --wdir "$scratch" \
    "$gim" --quiet --threads 1 "$@"
}
same() {
  diff -r whole/checkpoints "$1/checkpoints"
  diff <(cut -d, -f1-5 whole/train.csv) <(cut -d, -f1-5 "$1/train.csv")
}
"$gim" --quiet "${train[@]}" --out whole
(on_ranks "${train[@]}" --out slow)
same slow
echo "3 ranks, delay $delay, loss $loss: the bits of one process"

on_ranks "${train[@]}" --out cut 2> said & ranks=$!
until [ -d cut/checkpoints/step-00000008 ]; do sleep 0.05; kill -0 "$ranks"; done
ip link set "v$$-2" down
begin=$SECONDS
# The daemon of mpirun stays in its namespace, and mpirun waits for it.
while pgrep -f -- "^$gim .*--out cut" >/dev/null && [ $((SECONDS - begin)) -lt 60 ]; do sleep 0.2; done
[ $((SECONDS - begin)) -lt 60 ] || { echo "the run survived its link" >&2; exit 1; }
[ "$(grep -c '^gim: rank' said)" -ge 2 ] || { cat said >&2; exit 1; }
grep '^gim: rank' said
echo "all ranks ended $((SECONDS - begin)) s after the link"
kill -9 "$ranks"; wait "$ranks" 2>/dev/null || true
for i in 0 1 2; do ip netns pids "$name-$i" | xargs -r kill -9; done
"$gim" --quiet train --resume cut
same cut
echo "resumed in one process: the same bits"
