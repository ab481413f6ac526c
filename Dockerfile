# docker build -t gim .
# docker run --rm -v "$PWD:/work" gim train audio-quick --out /work/run
FROM rust:1-bookworm AS build
RUN apt-get update && apt-get install -y --no-install-recommends libhdf5-dev libopenblas-dev pkg-config \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /gim
COPY . .
# The program is built for the processor of the machine that builds the image.
RUN cargo build --release --locked -p gim-cli

FROM debian:bookworm-slim
RUN apt-get update && apt-get install -y --no-install-recommends libhdf5-103-1 libopenblas0-pthread \
    && rm -rf /var/lib/apt/lists/*
COPY --from=build /gim/target/release/gim /usr/local/bin/gim
WORKDIR /work
ENTRYPOINT ["gim"]
